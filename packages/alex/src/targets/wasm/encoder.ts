// Encodes WebAssembly binary modules: LEB128 numbers, sections, function bodies and the name section, with SIMD128,
// relaxed SIMD and threads. Written from the WebAssembly core specification 3.0, chapter 5 (binary format), and the
// threads proposal. Opcode tables are in `opcodes.ts`.
// Left out: everything that compiled programs do not need (tables, globals, data segments, exceptions, garbage
// collection), and validation, which the engine does when it compiles the module.

import { invariant } from "@fidelity/units";

/** Value types by their binary code. */
export const VALUE = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const;
export type ValueType = (typeof VALUE)[keyof typeof VALUE];

const SECTION = { custom: 0, type: 1, import: 2, function: 3, export: 7, code: 10 } as const;
const EMPTY_BLOCK = 0x40;
const scratchView = new DataView(new ArrayBuffer(8));

/** A growing run of bytes with the encodings of the binary format. */
export class ByteSink {
  #bytes = new Uint8Array(256);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  #reserve(sizeBytes: number): void {
    if (this.#length + sizeBytes <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + sizeBytes));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  bytes(values: ArrayLike<number>): void {
    this.#reserve(values.length);
    this.#bytes.set(values, this.#length);
    this.#length += values.length;
  }

  /** Unsigned LEB128 of an integer in [0, 2^32). */
  u32(value: number): void {
    invariant(Number.isInteger(value) && value >= 0 && value < 2 ** 32, `${value} is not an unsigned 32-bit number`);
    let rest = value;
    while (rest >= 0x80) {
      this.byte((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    this.byte(rest);
  }

  /** Signed LEB128 of a 32-bit integer; unsigned ones are taken by their bits. */
  i32(value: number): void {
    invariant(Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 32, `${value} is not a 32-bit number`);
    let rest = value | 0;
    for (;;) {
      const low = rest & 0x7f;
      rest >>= 7;
      if ((rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0)) return this.byte(low);
      this.byte(low | 0x80);
    }
  }

  f32(value: number): void {
    scratchView.setFloat32(0, value, true);
    this.bytes(new Uint8Array(scratchView.buffer, 0, 4));
  }

  f64(value: number): void {
    scratchView.setFloat64(0, value, true);
    this.bytes(new Uint8Array(scratchView.buffer, 0, 8));
  }

  name(text: string): void {
    const utf8 = new TextEncoder().encode(text);
    this.u32(utf8.length);
    this.bytes(utf8);
  }

  /** Another sink with its length before it. */
  sized(content: ByteSink): void {
    this.u32(content.length);
    this.bytes(content.view());
  }

  /** The bytes so far; valid until the next write. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}

/** One function's locals and code. Locals are numbered after the parameters. */
export class FunctionBody {
  readonly code = new ByteSink();
  readonly #parameterCount: number;
  readonly #locals: ValueType[] = [];

  constructor(parameterCount: number) {
    this.#parameterCount = parameterCount;
  }

  local(type: ValueType): number {
    this.#locals.push(type);
    return this.#parameterCount + this.#locals.length - 1;
  }

  /** An instruction without immediates, or the opcode of one with. */
  op(opcode: number): this {
    if (opcode < 0x100) {
      this.code.byte(opcode);
    } else {
      this.code.byte(opcode >>> 12);
      this.code.u32(opcode & 0xfff);
    }
    return this;
  }

  get(local: number): this {
    this.code.byte(0x20);
    this.code.u32(local);
    return this;
  }

  set(local: number): this {
    this.code.byte(0x21);
    this.code.u32(local);
    return this;
  }

  tee(local: number): this {
    this.code.byte(0x22);
    this.code.u32(local);
    return this;
  }

  i32(value: number): this {
    this.code.byte(0x41);
    this.code.i32(value);
    return this;
  }

  /** An i64 constant that fits 32 bits, signed. */
  i64(value: number): this {
    this.code.byte(0x42);
    this.code.i32(value);
    return this;
  }

  f32(value: number): this {
    this.code.byte(0x43);
    this.code.f32(value);
    return this;
  }

  f64(value: number): this {
    this.code.byte(0x44);
    this.code.f64(value);
    return this;
  }

  /** A load, store or atomic: opcode, log2 of the alignment, constant offset. */
  memory(opcode: number, alignLog2: number, offsetBytes: number): this {
    this.op(opcode);
    this.code.u32(alignLog2);
    this.code.u32(offsetBytes);
    return this;
  }

  /** Lane numbers and other single-byte immediates. */
  immediates(...values: readonly number[]): this {
    this.code.bytes(values);
    return this;
  }

  call(functionIndex: number): this {
    this.code.byte(0x10);
    this.code.u32(functionIndex);
    return this;
  }

  return(): this {
    return this.immediates(0x0f);
  }

  drop(): this {
    return this.immediates(0x1a);
  }

  block(): this {
    return this.immediates(0x02, EMPTY_BLOCK);
  }

  loop(): this {
    return this.immediates(0x03, EMPTY_BLOCK);
  }

  if(): this {
    return this.immediates(0x04, EMPTY_BLOCK);
  }

  else(): this {
    return this.immediates(0x05);
  }

  end(): this {
    return this.immediates(0x0b);
  }

  br(depth: number): this {
    this.code.byte(0x0c);
    this.code.u32(depth);
    return this;
  }

  brIf(depth: number): this {
    this.code.byte(0x0d);
    this.code.u32(depth);
    return this;
  }

  /** Takes a number below `depths.length` and branches to the depth at that place; larger numbers take the last. */
  brTable(depths: readonly number[]): this {
    invariant(depths.length > 0, "a branch table has at least one target");
    this.code.byte(0x0e);
    this.code.u32(depths.length - 1);
    for (const depth of depths) this.code.u32(depth);
    return this;
  }

  /** The encoded body: local declarations in runs of one type, then the code. */
  encode(): ByteSink {
    const runs: { count: number; readonly type: ValueType }[] = [];
    for (const type of this.#locals) {
      const last = runs.at(-1);
      if (last?.type === type) last.count++;
      else runs.push({ count: 1, type });
    }
    const sink = new ByteSink();
    sink.u32(runs.length);
    for (const run of runs) {
      sink.u32(run.count);
      sink.byte(run.type);
    }
    sink.bytes(this.code.view());
    sink.byte(0x0b);
    return sink;
  }
}

interface Declared {
  readonly name: string;
  readonly type: number;
  readonly body: FunctionBody;
}

/** One module: an imported shared memory, functions, exports. */
export class ModuleBuilder {
  readonly #types: string[] = [];
  readonly #typeBytes: ByteSink[] = [];
  readonly #functions: Declared[] = [];
  readonly #exports: { readonly name: string; readonly index: number }[] = [];
  readonly #maximumPages: number;

  /** `maximumPages` bounds the maximum of the memory that may be imported as env.memory. */
  constructor(maximumPages: number) {
    this.#maximumPages = maximumPages;
  }

  #type(parameters: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${parameters.join()}:${results.join()}`;
    const known = this.#types.indexOf(key);
    if (known >= 0) return known;
    const sink = new ByteSink();
    sink.byte(0x60);
    for (const list of [parameters, results]) {
      sink.u32(list.length);
      sink.bytes(list);
    }
    this.#typeBytes.push(sink);
    return this.#types.push(key) - 1;
  }

  /** Declares a function; its body is filled through the returned object. */
  function(
    name: string,
    parameters: readonly ValueType[],
    results: readonly ValueType[],
  ): { readonly index: number; readonly body: FunctionBody } {
    const body = new FunctionBody(parameters.length);
    const index = this.#functions.push({ name, type: this.#type(parameters, results), body }) - 1;
    return { index, body };
  }

  export(name: string, functionIndex: number): void {
    this.#exports.push({ name, index: functionIndex });
  }

  encode(): Uint8Array {
    const module = new ByteSink();
    module.bytes([0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
    const section = (id: number, fill: (sink: ByteSink) => void): void => {
      const content = new ByteSink();
      fill(content);
      module.byte(id);
      module.sized(content);
    };
    section(SECTION.type, (sink) => {
      sink.u32(this.#typeBytes.length);
      for (const type of this.#typeBytes) sink.bytes(type.view());
    });
    section(SECTION.import, (sink) => {
      sink.u32(1);
      sink.name("env");
      sink.name("memory");
      sink.bytes([0x02, 0x03]);
      sink.u32(1);
      sink.u32(this.#maximumPages);
    });
    section(SECTION.function, (sink) => {
      sink.u32(this.#functions.length);
      for (const declared of this.#functions) sink.u32(declared.type);
    });
    section(SECTION.export, (sink) => {
      sink.u32(this.#exports.length);
      for (const exported of this.#exports) {
        sink.name(exported.name);
        sink.byte(0x00);
        sink.u32(exported.index);
      }
    });
    section(SECTION.code, (sink) => {
      sink.u32(this.#functions.length);
      for (const declared of this.#functions) sink.sized(declared.body.encode());
    });
    section(SECTION.custom, (sink) => this.#nameSection(sink));
    return module.view().slice();
  }

  /** Function names, so that profilers and stack traces show kernels by name. */
  #nameSection(sink: ByteSink): void {
    const names = new ByteSink();
    names.u32(this.#functions.length);
    this.#functions.forEach((declared, index) => {
      names.u32(index);
      names.name(declared.name);
    });
    sink.name("name");
    sink.byte(1);
    sink.sized(names);
  }
}

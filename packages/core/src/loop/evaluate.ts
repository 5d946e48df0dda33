// A slow interpreter of the loop IR over a plain buffer: what every target's output is compared with. It does one lane
// at a time in JavaScript numbers; float32 results are rounded after each operation, and `fma` rounds twice. Left out:
// wide floats, speed, threads (chunks run in order), and traps beyond DataView's for addresses outside the memory.

import { InternalError, invariant } from "@fidelity/units";
import { TILE, formatLoopType } from "./ir.ts";
import type {
  BinaryOp,
  Block,
  Kernel,
  LoopInst,
  LoopKind,
  LoopType,
  LoopValue,
  MemoryKind,
  TileInst,
  UnaryOp,
} from "./ir.ts";
import type { BufferArgument, KernelCall, Program, ScheduleItem } from "./program.ts";

type Lanes = readonly number[];
type ValueInst = Extract<LoopInst, { readonly result: LoopValue }>;

/** Bytes of one element in memory; masks and wide floats have none. */
export function kindBytes(kind: LoopKind): number {
  return KIND_BYTES[kind];
}

const KIND_BYTES: Readonly<Record<LoopKind, number>> = {
  index: 4,
  i8: 1,
  i16: 2,
  i32: 4,
  f32: 4,
  f64: 8,
  f80: 0,
  f128: 0,
  mask: 0,
};

/** Runs one chunk of a kernel. Addresses are byte offsets into `memory`. */
export function evaluateKernel(
  kernel: Kernel,
  memory: ArrayBufferLike,
  chunk: number,
  scratch: number,
  buffers: readonly number[],
): void {
  new KernelEvaluator(new DataView(memory), kernel).run([chunk, scratch, ...buffers]);
}

/**
 * Runs a program's schedule, chunks in order, as a team of one member.
 * @param bindings addresses of the bound buffers, by slot
 */
export function evaluateProgram(
  program: Program,
  memory: ArrayBufferLike,
  bindings: readonly number[],
  arena: number,
  scratch: number,
): void {
  const address = (argument: BufferArgument, counters: readonly number[]): number => {
    const { placement } = program.buffers[argument.buffer];
    const base = placement.kind === "arena" ? arena + placement.offsetBytes : bindings[placement.slot];
    const moved = argument.strideBytes?.reduce((sum, stride, depth) => sum + stride * counters[depth], 0) ?? 0;
    return base + argument.offsetBytes + moved;
  };
  const runCall = (call: KernelCall, counters: readonly number[]): void => {
    const buffers = call.args.map((argument) => address(argument, counters));
    for (let chunk = 0; chunk < call.chunks; chunk++) {
      evaluateKernel(program.kernels[call.kernel], memory, chunk, scratch, buffers);
    }
  };
  const runItems = (items: readonly ScheduleItem[], counters: readonly number[]): void => {
    for (const item of items) {
      if (item.kind === "loop") runLoop(item, counters);
      else for (const call of item.calls) runCall(call, counters);
    }
  };
  const view = new DataView(memory);
  const runLoop = ({ count, limit, items }: LoopItem, counters: readonly number[]): void => {
    const limited = (): number => (limit === undefined ? count : view.getUint32(address(limit.cell, counters), true));
    const skipped = limit?.keeps === "last" ? Math.max(0, count - limited()) : 0;
    for (let i = skipped; i < count; i++) {
      if (limit?.keeps === "first" && i >= limited()) return;
      runItems(items, [...counters, i]);
    }
  };
  runItems(program.schedule, []);
}

type LoopItem = Extract<ScheduleItem, { readonly kind: "loop" }>;

class KernelEvaluator {
  readonly #memory: DataView;
  readonly #kernel: Kernel;
  readonly #values: Lanes[];
  readonly #tiles = Array.from({ length: TILE.count }, () => new Int8Array(TILE.rows * TILE.rowBytes));

  constructor(memory: DataView, kernel: Kernel) {
    this.#memory = memory;
    this.#kernel = kernel;
    this.#values = new Array<Lanes>(kernel.valueCount);
  }

  run(args: readonly number[]): void {
    const { body } = this.#kernel;
    invariant(args.length === body.args.length, `${this.#kernel.name} takes ${body.args.length} arguments`);
    body.args.forEach((argument, index) => this.#set(argument, [args[index]]));
    this.#block(body);
  }

  #get(value: LoopValue): Lanes {
    const lanes = this.#values[value.id];
    invariant(lanes !== undefined, `value ${value.id} of ${this.#kernel.name} is used before it is defined`);
    return lanes;
  }

  #set(value: LoopValue, lanes: Lanes): void {
    this.#values[value.id] = lanes;
  }

  #block(block: Block): readonly Lanes[] {
    for (const inst of block.insts) this.#inst(inst);
    return block.yields.map((value) => this.#get(value));
  }

  #inst(inst: LoopInst): void {
    if (inst.op === "store") {
      this.#store(inst.value, this.#get(inst.address)[0] + inst.offset, inst.memory);
    } else if (inst.op === "prefetch") {
      this.#get(inst.address);
    } else if (inst.op === "for") {
      const high = this.#get(inst.high)[0];
      let carried = inst.inits.map((init) => this.#get(init));
      for (let iv = this.#get(inst.low)[0]; iv < high; iv += inst.step) {
        [[iv], ...carried].forEach((lanes, index) => this.#set(inst.body.args[index], lanes));
        carried = [...this.#block(inst.body)];
      }
      inst.results.forEach((result, index) => this.#set(result, carried[index]));
    } else if (inst.op === "if") {
      const yielded = this.#block(this.#get(inst.condition)[0] === 1 ? inst.then : inst.else);
      inst.results.forEach((result, index) => this.#set(result, yielded[index]));
    } else if ("result" in inst) {
      this.#set(inst.result, this.#value(inst));
    } else {
      this.#tile(inst);
    }
  }

  #value(inst: ValueInst): Lanes {
    const { type } = inst.result;
    const wrap = (lane: number): number => wrapLane(type.kind, lane);
    const each = (lane: (i: number) => number): Lanes => Array.from({ length: type.lanes }, (_, i) => lane(i));
    switch (inst.op) {
      case "const":
        return each(() => wrap(inst.value));
      case "fma": {
        const [a, b, c] = [this.#get(inst.a), this.#get(inst.b), this.#get(inst.c)];
        return each((i) => wrap(wrap(a[i] * b[i]) + c[i]));
      }
      case "select": {
        const [mask, a, b] = [this.#get(inst.mask), this.#get(inst.a), this.#get(inst.b)];
        return each((i) => (mask[mask.length === 1 ? 0 : i] === 1 ? a[i] : b[i]));
      }
      case "convert": {
        const truncates = isFloat(inst.a.type.kind) && !isFloat(type.kind);
        return this.#get(inst.a).map(truncates ? saturateToInt32 : wrap);
      }
      case "bitcast":
        return reinterpret(inst.a.type, this.#get(inst.a), type);
      case "splat":
        return each(() => this.#get(inst.a)[0]);
      case "extract":
        return [this.#get(inst.a)[inst.lane]];
      case "insert":
        return this.#get(inst.a).with(inst.lane, this.#get(inst.b)[0]);
      case "shuffle": {
        const both = [...this.#get(inst.a), ...this.#get(inst.b)];
        return inst.lanes.map((lane) => both[lane]);
      }
      case "dot4": {
        const [a, b, c] = [this.#get(inst.a), this.#get(inst.b), this.#get(inst.c)];
        return each((i) => wrap([0, 1, 2, 3].reduce((sum, j) => sum + a[4 * i + j] * (b[4 * i + j] & 0xff), c[i])));
      }
      case "dot2": {
        const [a, b] = [this.#get(inst.a), this.#get(inst.b)];
        return each((i) => wrap(a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1]));
      }
      case "lookup":
        return this.#get(inst.a).map((index) => wrap(inst.table[index & (inst.table.length - 1)]));
      case "permute":
        return this.#get(inst.b).map((index) => this.#get(inst.a)[index & (type.lanes - 1)]);
      case "narrow":
        return [...this.#get(inst.a), ...this.#get(inst.b)].map((lane) => saturateLane(type.kind, lane));
      case "widen": {
        const lanes = this.#get(inst.a).slice(inst.half === "low" ? 0 : type.lanes);
        const unsigned = !inst.signed && !isFloat(type.kind);
        return each((i) => (unsigned ? lanes[i] & (2 ** (8 * kindBytes(inst.a.type.kind)) - 1) : lanes[i]));
      }
      case "load":
        return this.#load(type, this.#get(inst.address)[0] + inst.offset, inst.memory);
      case "load_splat": {
        const address = this.#get(inst.address)[0] + inst.offset;
        return each(() => readCell(this.#memory, address, type.kind));
      }
      case "neg":
      case "abs":
      case "sqrt":
      case "floor":
      case "nearest":
      case "not":
        return this.#get(inst.a).map((lane) => wrap(unary(inst.op, type.kind, lane)));
      default: {
        const b = this.#get(inst.b);
        const binary = BINARY[inst.op];
        return this.#get(inst.a).map((lane, i) => wrap(binary(lane, b[b.length === 1 ? 0 : i], inst.a.type.kind)));
      }
    }
  }

  #load(type: LoopType, address: number, memory?: MemoryKind): Lanes {
    const cell = memory ?? type.kind;
    const step = memory === undefined ? kindBytes(type.kind) : memoryKindBytes(memory);
    return Array.from({ length: type.lanes }, (_, i) => readCell(this.#memory, address + i * step, cell));
  }

  /** Matrix registers are bytes, as in memory. */
  #tile(inst: TileInst): void {
    if (inst.op === "tile_zero") {
      this.#tiles[inst.tile].fill(0);
    } else if (inst.op === "tile_multiply") {
      multiplyTiles(this.#tiles[inst.sums], this.#tiles[inst.left], this.#tiles[inst.right]);
    } else {
      const at = this.#get(inst.address)[0] + inst.offset;
      for (let i = 0; i < TILE.rows * TILE.rowBytes; i++) {
        const cell = at + Math.floor(i / TILE.rowBytes) * inst.stride + (i % TILE.rowBytes);
        if (inst.op === "tile_store") this.#memory.setInt8(cell, this.#tiles[inst.tile][i]);
        else this.#tiles[inst.tile][i] = this.#memory.getInt8(cell);
      }
    }
  }

  #store(value: LoopValue, address: number, memory?: MemoryKind): void {
    const cell = memory ?? value.type.kind;
    const step = memory === undefined ? kindBytes(value.type.kind) : memoryKindBytes(memory);
    this.#get(value).forEach((lane, i) => writeCell(this.#memory, address + i * step, cell, lane));
  }
}

/** Bytes of one narrow memory cell. */
export function memoryKindBytes(memory: MemoryKind): number {
  return memory === "i8" || memory === "u8" ? 1 : 2;
}

function isFloat(kind: LoopKind): boolean {
  return kind === "f32" || kind === "f64";
}

/** A result brought into the range and precision of its kind. */
function wrapLane(kind: LoopKind, value: number): number {
  switch (kind) {
    case "index":
      return value >>> 0;
    case "i8":
      return (value << 24) >> 24;
    case "i16":
      return (value << 16) >> 16;
    case "i32":
      return value | 0;
    case "f32":
      return Math.fround(value);
    case "f64":
      return value;
    case "mask":
      return value === 0 ? 0 : 1;
    case "f80":
    case "f128":
      throw new InternalError(`${kind} has no arithmetic in JavaScript`);
  }
}

function saturateToInt32(value: number): number {
  return Number.isNaN(value) ? 0 : Math.trunc(Math.min(Math.max(value, -(2 ** 31)), 2 ** 31 - 1));
}

function saturateLane(kind: LoopKind, value: number): number {
  if (isFloat(kind)) return wrapLane(kind, value);
  const limit = 2 ** (8 * kindBytes(kind) - 1);
  return Math.min(Math.max(value, -limit), limit - 1);
}

function roundHalfEven(value: number): number {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest !== 0.5) return rest < 0.5 ? (Object.is(value, -0) ? -0 : down) : down === -1 ? -0 : down + 1;
  return down % 2 === 0 ? down : down === -1 ? -0 : down + 1;
}

function unary(op: UnaryOp, kind: LoopKind, value: number): number {
  switch (op) {
    case "neg":
      return -value;
    case "abs":
      return Math.abs(value);
    case "sqrt":
      return Math.sqrt(value);
    case "floor":
      return Math.floor(value);
    case "nearest":
      return Number.isFinite(value) ? roundHalfEven(value) : value;
    case "not":
      return kind === "mask" ? 1 - value : ~value;
  }
}

function scale(a: number, b: number): number {
  if (Math.abs(b) === Infinity && Number.isNaN(a)) return 2 ** b;
  return a * 2 ** (Number.isFinite(b) ? Math.min(Math.max(b, -1023), 1023) : b);
}

type LaneOperation = (a: number, b: number, kind: LoopKind) => number;

const laneBits = (kind: LoopKind): number => 8 * kindBytes(kind);
const mask = (condition: boolean): number => (condition ? 1 : 0);

const BINARY: Readonly<Record<BinaryOp, LaneOperation>> = {
  add: (a, b) => a + b,
  add_sat: (a, b) => Math.min(Math.max(a + b, -0x8000), 0x7fff),
  average: (a, b) => ((a & 0xff) + (b & 0xff) + 1) >> 1,
  sub: (a, b) => a - b,
  mul: (a, b, kind) => (isFloat(kind) ? a * b : Math.imul(a, b)),
  div: (a, b, kind) => (isFloat(kind) ? a / b : Math.trunc(a / b)),
  rem: (a, b) => a % b,
  scale,
  min: (a, b) => Math.min(a, b),
  max: (a, b) => Math.max(a, b),
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b, kind) => a << (b & (laneBits(kind) - 1)),
  shr_s: (a, b, kind) => a >> (b & (laneBits(kind) - 1)),
  shr_u: (a, b, kind) => (a & (2 ** laneBits(kind) - 1)) >>> (b & (laneBits(kind) - 1)),
  eq: (a, b) => mask(a === b),
  ne: (a, b) => mask(a !== b),
  lt: (a, b) => mask(a < b),
  le: (a, b) => mask(a <= b),
  gt: (a, b) => mask(a > b),
  ge: (a, b) => mask(a >= b),
};

function readCell(view: DataView, address: number, cell: LoopKind | MemoryKind): number {
  switch (cell) {
    case "i8":
      return view.getInt8(address);
    case "u8":
      return view.getUint8(address);
    case "i16":
      return view.getInt16(address, true);
    case "u16":
      return view.getUint16(address, true);
    case "i32":
      return view.getInt32(address, true);
    case "index":
      return view.getUint32(address, true);
    case "f16":
      return view.getFloat16(address, true);
    case "f32":
      return view.getFloat32(address, true);
    case "f64":
      return view.getFloat64(address, true);
    case "mask":
    case "f80":
    case "f128":
      throw new InternalError(`${cell} is not stored in memory`);
  }
}

function writeCell(view: DataView, address: number, cell: LoopKind | MemoryKind, value: number): void {
  switch (cell) {
    case "i8":
    case "u8":
      return view.setInt8(address, value);
    case "i16":
    case "u16":
      return view.setInt16(address, value, true);
    case "i32":
    case "index":
      return view.setInt32(address, value, true);
    case "f16":
      return view.setFloat16(address, value, true);
    case "f32":
      return view.setFloat32(address, value, true);
    case "f64":
      return view.setFloat64(address, value, true);
    case "mask":
    case "f80":
    case "f128":
      throw new InternalError(`${cell} is not stored in memory`);
  }
}

/** The sums are i32; the bytes of `left` are signed, those of `right` unsigned. */
function multiplyTiles(sums: Int8Array, left: Int8Array, right: Int8Array): void {
  const cells = new Int32Array(sums.buffer);
  for (let i = 0; i < TILE.rows; i++) {
    for (let j = 0; j < 16; j++) {
      for (let byte = 0; byte < TILE.rowBytes; byte++) {
        const weight = right[Math.floor(byte / 4) * TILE.rowBytes + 4 * j + (byte % 4)] & 0xff;
        cells[16 * i + j] += left[i * TILE.rowBytes + byte] * weight;
      }
    }
  }
}

function reinterpret(from: LoopType, lanes: Lanes, to: LoopType): Lanes {
  const sizeBytes = kindBytes(from.kind) * from.lanes;
  const expected = kindBytes(to.kind) * to.lanes;
  invariant(sizeBytes === expected, `bitcast from ${formatLoopType(from)} to ${formatLoopType(to)}`);
  const view = new DataView(new ArrayBuffer(sizeBytes));
  lanes.forEach((lane, i) => writeCell(view, i * kindBytes(from.kind), from.kind, lane));
  return Array.from({ length: to.lanes }, (_, i) => readCell(view, i * kindBytes(to.kind), to.kind));
}

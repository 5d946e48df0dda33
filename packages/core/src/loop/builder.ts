// Builds kernels: one method an instruction, folding what is constant on the way so that generators can be written
// plainly (multiply by a stride of 1, add an offset of 0) without leaving traces in the code.

import { invariant } from "@fidelity/units";
import { INDEX, I32, loopType, formatLoopType } from "./ir.ts";
import { float32OfHalf, halfOfFloat32 } from "./half.ts";
import type { BinaryOp, Block, Kernel, LoopInst, LoopType, LoopValue, MemoryKind, UnaryOp } from "./ir.ts";

/** What a generator may pass for an `index` operand. */
export type IndexLike = LoopValue | number;

type Carried = readonly LoopValue[];

/** What a target has instructions for, of what is put together from others elsewhere: as in `VectorTarget`. */
export interface KernelFeatures {
  /** Memory cells of f16. */
  readonly halves?: boolean;
  /** `scale` of vectors. */
  readonly scales?: boolean;
}

/** Collects the instructions of one kernel. Use `buildKernel`. */
export class KernelBuilder {
  #nextId = 0;
  #insts: LoopInst[] = [];
  readonly #constants = new Map<LoopValue, number>();
  #scratchBytes = 0;
  readonly #features: KernelFeatures;
  readonly chunk: LoopValue = this.#fresh(INDEX);
  readonly scratch: LoopValue = this.#fresh(INDEX);

  constructor(features: KernelFeatures = {}) {
    this.#features = features;
  }

  /** Whether there is a `scale` of values of a type. */
  scales({ kind, lanes }: LoopType): boolean {
    return this.#features.scales === true && kind === "f32" && lanes >= 4;
  }

  /** Reserves bytes of the member's scratch memory, 64-byte aligned, and gives their address. */
  allocateScratch(sizeBytes: number): LoopValue {
    const offset = this.#scratchBytes;
    this.#scratchBytes += Math.ceil(sizeBytes / 64) * 64;
    return this.add(this.scratch, this.index(offset));
  }

  #fresh(type: LoopType): LoopValue {
    return { type, id: this.#nextId++ };
  }

  #push(inst: LoopInst & { readonly result: LoopValue }): LoopValue {
    this.#insts.push(inst);
    return inst.result;
  }

  /** A constant; vectors repeat the value in every lane. */
  constant(type: LoopType, value: number): LoopValue {
    const result = this.#push({ op: "const", value, result: this.#fresh(type) });
    this.#constants.set(result, value);
    return result;
  }

  index(value: IndexLike): LoopValue {
    return typeof value === "number" ? this.constant(INDEX, value) : value;
  }

  i32(value: number): LoopValue {
    return this.constant(I32, value);
  }

  unary(op: UnaryOp, a: LoopValue): LoopValue {
    return this.#push({ op, a, result: this.#fresh(a.type) });
  }

  binary(op: BinaryOp, a: LoopValue, b: LoopValue): LoopValue {
    const shift = op === "shl" || op === "shr_s" || op === "shr_u";
    invariant(
      shift ? b.type === I32 : a.type === b.type,
      `${op} of ${formatLoopType(a.type)} and ${formatLoopType(b.type)}`,
    );
    const folded = a.type.kind === "index" ? this.#foldIndex(op, a, b) : undefined;
    if (folded !== undefined) return folded;
    const compares = op === "eq" || op === "ne" || op === "lt" || op === "le" || op === "gt" || op === "ge";
    const type = compares ? loopType("mask", a.type.lanes) : a.type;
    return this.#push({ op, a, b, result: this.#fresh(type) });
  }

  #foldIndex(op: BinaryOp, a: LoopValue, b: LoopValue): LoopValue | undefined {
    const x = this.#constants.get(a);
    const y = this.#constants.get(b);
    if (x !== undefined && y !== undefined) {
      if (op === "add") return this.index(x + y);
      if (op === "sub") return this.index(x - y);
      if (op === "mul") return this.index(x * y);
      if (op === "div") return this.index(Math.floor(x / y));
      if (op === "rem") return this.index(x % y);
      if (op === "min") return this.index(Math.min(x, y));
      if (op === "max") return this.index(Math.max(x, y));
    }
    if (op === "add" && x === 0) return b;
    if ((op === "add" || op === "sub") && y === 0) return a;
    if (op === "mul" && x === 1) return b;
    if ((op === "mul" || op === "div") && y === 1) return a;
    if (op === "mul" && (x === 0 || y === 0)) return this.index(0);
    if (op === "rem" && y === 1) return this.index(0);
    return undefined;
  }

  add(a: LoopValue, b: LoopValue): LoopValue {
    return this.binary("add", a, b);
  }
  sub(a: LoopValue, b: LoopValue): LoopValue {
    return this.binary("sub", a, b);
  }
  mul(a: LoopValue, b: LoopValue): LoopValue {
    return this.binary("mul", a, b);
  }
  div(a: LoopValue, b: LoopValue): LoopValue {
    return this.binary("div", a, b);
  }
  rem(a: LoopValue, b: LoopValue): LoopValue {
    return this.binary("rem", a, b);
  }
  min(a: LoopValue, b: LoopValue): LoopValue {
    return this.binary("min", a, b);
  }
  max(a: LoopValue, b: LoopValue): LoopValue {
    return this.binary("max", a, b);
  }
  compare(op: "eq" | "ne" | "lt" | "le" | "gt" | "ge", a: LoopValue, b: LoopValue): LoopValue {
    return this.binary(op, a, b);
  }

  /** base + index * scale, for addresses. */
  offset(base: LoopValue, index: IndexLike, scale = 1): LoopValue {
    return this.add(base, this.mul(this.index(index), this.index(scale)));
  }

  /** Bitwise shift of every lane by a constant number of bits. */
  shift(op: "shl" | "shr_s" | "shr_u", a: LoopValue, bits: number): LoopValue {
    return bits === 0 ? a : this.binary(op, a, this.i32(bits));
  }

  fma(a: LoopValue, b: LoopValue, c: LoopValue): LoopValue {
    return this.#push({ op: "fma", a, b, c, result: this.#fresh(c.type) });
  }

  select(mask: LoopValue, a: LoopValue, b: LoopValue): LoopValue {
    return this.#push({ op: "select", mask, a, b, result: this.#fresh(a.type) });
  }

  convert(type: LoopType, a: LoopValue): LoopValue {
    return a.type === type ? a : this.#push({ op: "convert", a, result: this.#fresh(type) });
  }

  bitcast(type: LoopType, a: LoopValue): LoopValue {
    return a.type === type ? a : this.#push({ op: "bitcast", a, result: this.#fresh(type) });
  }

  /** Repeats a scalar in `lanes` lanes; a scalar stays as it is for one lane. */
  splat(a: LoopValue, lanes: number): LoopValue {
    if (lanes === 1 || a.type.lanes === lanes) return a;
    return this.#push({ op: "splat", a, result: this.#fresh(loopType(a.type.kind, lanes)) });
  }

  extract(a: LoopValue, lane: number): LoopValue {
    return this.#push({ op: "extract", a, lane, result: this.#fresh(loopType(a.type.kind)) });
  }

  insert(a: LoopValue, b: LoopValue, lane: number): LoopValue {
    return this.#push({ op: "insert", a, b, lane, result: this.#fresh(a.type) });
  }

  shuffle(a: LoopValue, b: LoopValue, lanes: readonly number[]): LoopValue {
    return this.#push({ op: "shuffle", a, b, lanes, result: this.#fresh(a.type) });
  }

  dot4(a: LoopValue, b: LoopValue, c: LoopValue): LoopValue {
    return this.#push({ op: "dot4", a, b, c, result: this.#fresh(c.type) });
  }

  dot2(a: LoopValue, b: LoopValue): LoopValue {
    const kind = a.type.kind === "i16" ? "i32" : "i16";
    return this.#push({ op: "dot2", a, b, result: this.#fresh(loopType(kind, a.type.lanes / 2)) });
  }

  /** Bytes of a table, whose length is a power of two from 16 to 256, at the byte indices `a` modulo that length. */
  lookup(a: LoopValue, table: readonly number[]): LoopValue {
    return this.#push({ op: "lookup", a, table, result: this.#fresh(a.type) });
  }

  /** The lanes of `table` that `indices` name, modulo the number of lanes: both vectors of i16. */
  permute(table: LoopValue, indices: LoopValue): LoopValue {
    return this.#push({ op: "permute", a: table, b: indices, result: this.#fresh(table.type) });
  }

  narrow(a: LoopValue, b: LoopValue): LoopValue {
    const kind = a.type.kind === "f64" ? "f32" : a.type.kind === "i32" ? "i16" : "i8";
    return this.#push({ op: "narrow", a, b, result: this.#fresh(loopType(kind, a.type.lanes * 2)) });
  }

  widen(a: LoopValue, half: "low" | "high", signed = true): LoopValue {
    const kind = a.type.kind === "f32" ? "f64" : a.type.kind === "i8" ? "i16" : "i32";
    return this.#push({ op: "widen", a, half, signed, result: this.#fresh(loopType(kind, a.type.lanes / 2)) });
  }

  load(type: LoopType, address: LoopValue, offset = 0, memory?: MemoryKind): LoopValue {
    if (memory === "f16" && this.#features.halves !== true) {
      return float32OfHalf(this, this.load(loopType("i32", type.lanes), address, offset, "u16"));
    }
    return this.#push({ op: "load", address, offset, ...(memory && { memory }), result: this.#fresh(type) });
  }

  loadSplat(type: LoopType, address: LoopValue, offset = 0): LoopValue {
    if (type.lanes === 1) return this.load(type, address, offset);
    return this.#push({ op: "load_splat", address, offset, result: this.#fresh(type) });
  }

  store(value: LoopValue, address: LoopValue, offset = 0, memory?: MemoryKind): void {
    if (memory === "f16" && this.#features.halves !== true) {
      return this.store(halfOfFloat32(this, value), address, offset, "u16");
    }
    this.#insts.push({ op: "store", address, offset, ...(memory && { memory }), value });
  }

  /** Stores whole vectors past the caches. The address must be a multiple of the vector's size. */
  storeNontemporal(value: LoopValue, address: LoopValue, offset = 0): void {
    this.#insts.push({ op: "store", address, offset, nontemporal: true, value });
  }

  prefetch(address: LoopValue, offset = 0, cache: 1 | 2 = 1): void {
    this.#insts.push({ op: "prefetch", address, offset, cache });
  }

  tileZero(tile: number): void {
    this.#insts.push({ op: "tile_zero", tile });
  }

  /** Loads 16 rows of 64 bytes, `stride` bytes apart, into a matrix register. */
  tileLoad(tile: number, address: LoopValue, offset: number, stride: number): void {
    this.#insts.push({ op: "tile_load", tile, address, offset, stride });
  }

  tileStore(tile: number, address: LoopValue, offset: number, stride: number): void {
    this.#insts.push({ op: "tile_store", tile, address, offset, stride });
  }

  /** Adds to the i32 sums of one matrix register the product of two others, signed bytes and unsigned ones. */
  tileMultiply(sums: number, left: number, right: number): void {
    this.#insts.push({ op: "tile_multiply", sums, left, right });
  }

  /** A counted loop with carried values; gives their values after the last iteration. */
  for(
    low: IndexLike,
    high: IndexLike,
    step: number,
    inits: Carried,
    body: (iv: LoopValue, carried: Carried) => Carried,
  ): Carried {
    const lowValue = this.index(low);
    const highValue = this.index(high);
    const iv = this.#fresh(INDEX);
    const args = inits.map((init) => this.#fresh(init.type));
    const block = this.#block([iv, ...args], () => body(iv, args));
    const results = inits.map((init) => this.#fresh(init.type));
    this.#insts.push({ op: "for", low: lowValue, high: highValue, step, inits, body: block, results });
    return results;
  }

  /** A counted loop that carries nothing. */
  loop(low: IndexLike, high: IndexLike, step: number, body: (iv: LoopValue) => void): void {
    this.for(low, high, step, [], (iv) => {
      body(iv);
      return [];
    });
  }

  /** Both branches give values of the same types. */
  if(condition: LoopValue, then: () => Carried, otherwise: () => Carried = () => []): Carried {
    const thenBlock = this.#block([], then);
    const elseBlock = this.#block([], otherwise);
    const results = thenBlock.yields.map((value) => this.#fresh(value.type));
    this.#insts.push({ op: "if", condition, then: thenBlock, else: elseBlock, results });
    return results;
  }

  #block(args: Carried, fill: () => Carried): Block {
    const outer = this.#insts;
    this.#insts = [];
    const yields = fill();
    const block = { args, insts: this.#insts, yields };
    this.#insts = outer;
    return block;
  }

  /** @internal Used by `buildKernel`. */
  finish(name: string, buffers: readonly LoopValue[]): Kernel {
    return {
      name,
      bufferCount: buffers.length,
      scratchBytes: this.#scratchBytes,
      body: { args: [this.chunk, this.scratch, ...buffers], insts: this.#insts, yields: [] },
      valueCount: this.#nextId,
    };
  }

  /** @internal Used by `buildKernel`. */
  bufferArgument(): LoopValue {
    return this.#fresh(INDEX);
  }
}

/**
 * Builds a kernel over `bufferCount` buffers. `generate` receives the builder and the base address of each buffer, and
 * does the work of chunk `k.chunk`.
 */
export function buildKernel(
  name: string,
  bufferCount: number,
  generate: (k: KernelBuilder, buffers: readonly LoopValue[]) => void,
  features: KernelFeatures = {},
): Kernel {
  const k = new KernelBuilder(features);
  const buffers = Array.from({ length: bufferCount }, () => k.bufferArgument());
  generate(k, buffers);
  return k.finish(name, buffers);
}

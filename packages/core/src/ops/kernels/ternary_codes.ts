// What the kernels of ternary_linear share: where operands lie, the codes of a block of weights as vectors of bytes,
// and what turns integer sums into results.
//
// A block is 16 rows, and a group of it 64 bytes: a word of 32 bits for each row, whose four bytes hold the codes of
// four columns in each plane (storage.ts). So four activations, repeated in every word, meet four codes of each of 16
// rows in one instruction (dot4), plane by plane.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, I32, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { LowerContext } from "../../op.ts";
import type { Q8Layout, TernaryLayout } from "../../storage.ts";
import { decodeTrits } from "./trits.ts";

export const BLOCK_ROWS = 16;
export const GROUP_BYTES = 64;

export interface TernaryShapes {
  readonly context: LowerContext;
  readonly x: Q8Layout;
  readonly w: TernaryLayout;
  readonly lanes: number;
  /** Vectors that hold the words of a block's 16 rows. */
  readonly quads: number;
}

/** Base addresses; factors and sums are found through the layouts. */
export interface TernaryOperands {
  readonly x: LoopValue;
  readonly w: LoopValue;
  readonly y: LoopValue;
}

/** Codes of four columns in each word, 2^shift times too large. */
export interface CodePlane {
  readonly codes: LoopValue;
  readonly shift: number;
}

/** How far the codes of each plane are shifted, as `packedPlanes` gives them. */
export function planeShifts({ planes }: TernaryLayout): number[] {
  return planes === 4 ? [0, 2, 0, 2] : [0, 2, 4, 0, 2];
}

/** The planes of a vector of words: masked, and shifted as little as leaves every code below 64. */
export function packedPlanes(k: KernelBuilder, { context, w }: TernaryShapes, word: LoopValue): CodePlane[] {
  const { type } = word;
  const field = (value: LoopValue, shift: number): CodePlane => ({
    codes: k.binary("and", value, k.splat(k.i32((0x03030303 << shift) | 0), type.lanes)),
    shift,
  });
  if (w.planes === 4) {
    const upper = k.shift("shr_u", word, 4);
    return [field(word, 0), field(word, 2), field(upper, 0), field(upper, 2)];
  }
  const trits = decodeTrits(k, k.bitcast(loopType("i8", 4 * type.lanes), word), context.lookupEntries);
  const [triple, pair] = [trits.triple, trits.pair].map((bytes) => k.bitcast(type, bytes));
  return [field(triple!, 0), field(triple!, 2), field(triple!, 4), field(pair!, 0), field(pair!, 2)];
}

/** The planes of a vector of words as codes 0, 1, 2. */
export function codePlanes(k: KernelBuilder, { context, w }: TernaryShapes, word: LoopValue): LoopValue[] {
  const { type } = word;
  const mask = k.splat(k.i32(0x03030303), type.lanes);
  const fields = (value: LoopValue, count: number): LoopValue[] =>
    Array.from({ length: count }, (_, i) => k.binary("and", k.shift("shr_u", value, 2 * i), mask));
  if (w.planes === 4) return fields(word, 4);
  const { triple, pair } = decodeTrits(k, k.bitcast(loopType("i8", 4 * type.lanes), word), context.lookupEntries);
  return [...fields(k.bitcast(type, triple), 3), ...fields(k.bitcast(type, pair), 2)];
}

/** Adds activations times codes, four bytes to a word of each. */
export function dotWords(k: KernelBuilder, activations: LoopValue, codes: LoopValue, sum: LoopValue): LoopValue {
  const bytes = loopType("i8", sum.type.lanes * 4);
  return k.dot4(k.bitcast(bytes, activations), k.bitcast(bytes, codes), sum);
}

/** Undoes the bias of the codes, applies both scales, and writes what lies within the result. */
export function finishRow(
  k: KernelBuilder,
  { lanes, x, w }: TernaryShapes,
  operands: TernaryOperands,
  row: LoopValue,
  block: LoopValue,
  sums: readonly LoopValue[],
): void {
  const ofRow = k.offset(operands.x, row, 4);
  const bias = k.splat(k.load(I32, ofRow, x.sumsOffset), lanes);
  const scale = k.mul(k.load(F32, ofRow, x.scalesOffset), k.load(F32, operands.w, w.scaleOffset));
  const scales = k.splat(scale, lanes);
  const values = sums.map((sum) => k.mul(k.convert(loopType("f32", lanes), k.sub(sum, bias)), scales));
  const to = k.offset(k.offset(operands.y, row, w.rows * 4), block, BLOCK_ROWS * 4);
  const write = (count: number) => (): LoopValue[] => {
    values.forEach((value, quad) => storeUpTo(k, value, to, quad * lanes, count));
    return [];
  };
  const rest = w.rows % BLOCK_ROWS;
  if (rest === 0) write(BLOCK_ROWS)();
  else if (w.blocks === 1) write(rest)();
  else k.if(k.compare("eq", block, k.index(w.blocks - 1)), write(rest), write(BLOCK_ROWS));
}

/** Stores the lanes of a vector that begins at element `first` of a run of `count`. */
function storeUpTo(k: KernelBuilder, value: LoopValue, to: LoopValue, first: number, count: number): void {
  const { lanes } = value.type;
  if (first + lanes <= count) {
    k.store(value, to, first * 4);
    return;
  }
  for (let lane = 0; first + lane < count; lane++) k.store(k.extract(value, lane), to, (first + lane) * 4);
}

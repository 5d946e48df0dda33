// What the kernels of ternary_linear share: where operands lie, sums of products over the groups of a block of weights,
// and what turns them into results.
//
// A block is 16 rows, and a group of it 64 bytes: a word of 32 bits for each row, whose four bytes hold the codes of
// four columns in each plane (storage.ts). So four activations, repeated in every word, meet four codes of each of 16
// rows in one instruction (dot4), plane by plane.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, I32, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { LowerContext } from "../../op.ts";
import type { Q8Layout, TernaryLayout } from "../../storage.ts";
import { storeUpTo } from "./lanes.ts";

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

/** Adds activations times codes, four bytes to a word of each, to sums of words or of halves of words. */
export function dotWords(k: KernelBuilder, activations: LoopValue, codes: LoopValue, sum: LoopValue): LoopValue {
  const bytes = loopType("i8", codes.type.lanes * 4);
  const [a, b] = [k.bitcast(bytes, activations), k.bitcast(bytes, codes)];
  return sum.type.kind === "i16" ? k.add(sum, k.dot2(a, b)) : k.dot4(a, b, sum);
}

/** Adds the products of a group of columns to vectors of sums; of groups in a row, `turn` numbers which it is. */
export type AddGroup = (group: LoopValue, sums: readonly LoopValue[], turn: number) => readonly LoopValue[];

/**
 * Adds what `add` adds in each group of columns to `count` vectors of sums. Where dot4 is slow, these are halves of
 * words for as many groups as cannot overflow, when one adds at most `most` to a half, and are then added to words.
 * Elsewhere a turn of the loop takes `turns` groups.
 */
export function sumGroups(
  k: KernelBuilder,
  { context, w, lanes }: TernaryShapes,
  { count, most, turns }: { readonly count: number; readonly most: number; readonly turns: number },
  add: AddGroup,
): readonly LoopValue[] {
  const words = loopType("i32", lanes);
  const zeros = Array.from({ length: count }, () => k.constant(words, 0));
  if (context.dot4) {
    const rest = w.groups % turns;
    const take = (first: LoopValue, groups: number, sums: readonly LoopValue[]): readonly LoopValue[] =>
      Array.from({ length: groups }).reduce<readonly LoopValue[]>(
        (total, _, turn) => add(k.add(first, k.index(turn)), total, turn),
        sums,
      );
    const sums = k.for(0, w.groups - rest, turns, zeros, (first, carried) => take(first, turns, carried));
    return take(k.index(w.groups - rest), rest, sums);
  }
  const halves = loopType("i16", 2 * lanes);
  const strip = Math.floor(0x7fff / most);
  return k.for(0, w.groups, strip, zeros, (first, totals) => {
    const last = k.min(k.add(first, k.index(strip)), k.index(w.groups));
    const none = totals.map(() => k.constant(halves, 0));
    const sums = k.for(first, last, 1, none, (group, carried) => add(group, carried, 0));
    return totals.map((total, i) => {
      const pair = k.bitcast(words, sums[i]!);
      const [low, high] = [k.shift("shr_s", k.shift("shl", pair, 16), 16), k.shift("shr_s", pair, 16)];
      return k.add(total, k.add(low, high));
    });
  });
}

/** The most that a half of a word takes from two products of activations and bytes up to `code`. */
export function halfMost(code: number): number {
  return 2 * 128 * code;
}

/**
 * Undoes the bias of the codes, and what they have in `excess` of 0, 1, 2; applies both scales, and writes what lies
 * within the result.
 */
export function finishRow(
  k: KernelBuilder,
  { lanes, x, w }: TernaryShapes,
  operands: TernaryOperands,
  row: LoopValue,
  block: LoopValue,
  sums: readonly LoopValue[],
  excess = 0,
): void {
  const ofRow = k.offset(operands.x, row, 4);
  const sum = k.load(I32, ofRow, x.sumsOffset);
  const bias = k.splat(excess === 0 ? sum : k.mul(sum, k.i32(1 + excess)), lanes);
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

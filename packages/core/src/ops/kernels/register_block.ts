// The innermost loop of every dense product: a few rows times a few vectors of columns, all sums in registers while the
// inner dimension runs. Each step reads the vectors once and one element of every row, repeated in all lanes.
// After Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).

import type { KernelBuilder } from "../../loop/builder.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import type { VectorTarget } from "../../op.ts";
import type { PanelCells } from "./gemm_pack.ts";
import { DEFAULT_REGISTERS } from "../../op.ts";

/** Where the operands of a register block lie, in bytes. */
export interface BlockOperands {
  /** Element of row 0 and step 0, and the way to the next row and the next step. */
  readonly left: LoopValue;
  readonly leftRowBytes: number;
  readonly leftStepBytes: number;
  /** The vectors of step 0, side by side, and the way to those of the next step. */
  readonly right: LoopValue;
  readonly rightStepBytes: number;
  /** Steps that the elements of `left` are asked for ahead, where each step is in another line of the cache. */
  readonly leftAhead?: number;
  /** What else each turn of the loop does, by its number. */
  readonly eachTurn?: (turn: LoopValue) => void;
}

/** The vectors of a register block. */
export interface BlockColumns {
  readonly type: LoopType;
  readonly count: number;
  /** Adds the product of an element, repeated in all lanes, and a vector to a sum; a multiply-add unless said. */
  readonly multiply?: (element: LoopValue, vector: LoopValue, sum: LoopValue) => LoopValue;
  /** How the elements of vectors are stored, where that is not as they are in registers. */
  readonly cells?: PanelCells;
}

/** Steps that one turn of the loop takes. */
export const UNROLL = 4;

/**
 * Adds to `sums`, row by row, the products of `depth` steps. Where the number of steps is known only at run time, those
 * left over by whole turns are taken one at a time.
 */
export function multiplyBlock(
  k: KernelBuilder,
  operands: BlockOperands,
  rows: number,
  columns: BlockColumns,
  depth: number | LoopValue,
  sums: readonly LoopValue[],
): readonly LoopValue[] {
  const { leftStepBytes, rightStepBytes } = operands;
  const turn = (from: readonly LoopValue[], end: number | LoopValue, start: number | LoopValue, steps: number) =>
    k.for(start, end, steps, from, (step, [left, right, ...partial]) => {
      operands.eachTurn?.(k.div(step, k.index(steps)));
      return [
        k.offset(left!, steps, leftStepBytes),
        k.offset(right!, steps, rightStepBytes),
        ...takeSteps(k, { ...operands, left: left!, right: right! }, rows, columns, partial, steps),
      ];
    });
  const inits = [operands.left, operands.right, ...sums];
  if (typeof depth !== "number") {
    const whole = k.sub(depth, k.rem(depth, k.index(UNROLL)));
    return turn(turn(inits, whole, 0, UNROLL), depth, whole, 1).slice(2);
  }
  const whole = depth - (depth % UNROLL);
  const [left, right, ...totals] = whole > 0 ? turn(inits, whole, 0, UNROLL) : inits;
  return takeSteps(k, { ...operands, left: left!, right: right! }, rows, columns, totals, depth - whole);
}

function takeSteps(
  k: KernelBuilder,
  operands: BlockOperands,
  rows: number,
  { type, count, cells, multiply = (element, vector, sum) => k.fma(element, vector, sum) }: BlockColumns,
  sums: readonly LoopValue[],
  steps: number,
): LoopValue[] {
  const { left, leftRowBytes, leftStepBytes, right, rightStepBytes, leftAhead } = operands;
  const vectorBytes = type.lanes * (cells?.bytes ?? (type.kind === "f64" ? 8 : 4));
  const load = cells?.load ?? ((_k, columns, address, offset) => k.load(columns, address, offset));
  const next = [...sums];
  for (let step = 0; step < steps; step++) {
    const vectors = Array.from({ length: count }, (_, v) =>
      load(k, type, right, step * rightStepBytes + v * vectorBytes),
    );
    if (leftAhead !== undefined) k.prefetch(left, (step + leftAhead) * leftStepBytes);
    for (let row = 0; row < rows; row++) {
      const element = k.loadSplat(type, left, row * leftRowBytes + step * leftStepBytes);
      vectors.forEach((vector, v) => (next[row * count + v] = multiply(element, vector, next[row * count + v]!)));
    }
  }
  return next;
}

/** A block of accumulators. */
export interface RegisterBlock {
  readonly rows: number;
  readonly vectors: number;
}

/**
 * Blocks of the accumulators of a product that leave room for the vectors of a step and one element. The first is the
 * fastest where both operands are near; higher and wider ones read less for every multiply-add.
 */
export function registerBlocks(
  lanes: number,
  { joinsVectors, registers = DEFAULT_REGISTERS }: VectorTarget,
): RegisterBlock[] {
  const block = (rows: number, vectors: number): RegisterBlock => ({ rows, vectors });
  // Two joined vectors are one register.
  if (joinsVectors) return [block(4, 4), block(6, 4), block(8, 2)];
  if (registers >= 32) return [block(8, 2), block(8, 3), block(12, 2), block(6, 4)];
  return lanes >= 8 ? [block(6, 2), block(4, 3), block(4, 2)] : [block(4, 2), block(6, 2), block(4, 3)];
}

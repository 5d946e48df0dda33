// Small pieces that kernels share: reductions across the lanes of vectors, and the split of a row into vectors and a
// scalar rest.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, loopType } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";

/** Combines all lanes of a vector into one scalar, halving each time. */
export function foldLanes(
  k: KernelBuilder,
  vector: LoopValue,
  combine: (a: LoopValue, b: LoopValue) => LoopValue,
): LoopValue {
  let folded = vector;
  const { lanes } = vector.type;
  for (let half = lanes / 2; half >= 1; half /= 2) {
    const upper = k.shuffle(
      folded,
      folded,
      Array.from({ length: lanes }, (_, lane) => (lane + half) % lanes),
    );
    folded = combine(folded, upper);
  }
  return lanes === 1 ? vector : k.extract(folded, 0);
}

/** The sum over the lanes of each of as many vectors as they have lanes, as one vector. */
export function sumEach(k: KernelBuilder, vectors: readonly LoopValue[]): LoopValue {
  let level = vectors;
  // Each vector holds one group of lanes per original vector; a level halves the groups and doubles their number.
  for (let width = vectors[0]!.type.lanes; width > 1; width /= 2) {
    const next: LoopValue[] = [];
    for (let i = 0; i < level.length; i += 2) next.push(addHalves(k, level[i]!, level[i + 1]!, width));
    level = next;
  }
  return level[0]!;
}

/** Adds the upper half of every group of `width` lanes to the lower; the groups of a, then those of b. */
function addHalves(k: KernelBuilder, a: LoopValue, b: LoopValue, width: number): LoopValue {
  const lower: number[] = [];
  for (let lane = 0; lane < 2 * a.type.lanes; lane++) if (lane % width < width / 2) lower.push(lane);
  return k.add(
    k.shuffle(a, b, lower),
    k.shuffle(
      a,
      b,
      lower.map((lane) => lane + width / 2),
    ),
  );
}

/** The numbers 0, 1, 2, ... in i32 lanes. */
export function laneIndices(k: KernelBuilder, lanes: number): LoopValue {
  let indices = k.splat(k.i32(0), lanes);
  for (let lane = 1; lane < lanes; lane++) indices = k.insert(indices, k.i32(lane), lane);
  return indices;
}

/** `count` neighbouring values of one type, from byte `offset` of a row. */
export interface RowPiece {
  readonly type: LoopType;
  readonly count: number;
  readonly offset: number;
}

/** Splits a row of float32 columns into pieces of at most `vectors` vectors, and one of scalars for the rest. */
export function rowPieces(columns: number, lanes: number, vectors: number): RowPiece[] {
  const pieces: RowPiece[] = [];
  const whole = Math.floor(columns / lanes);
  for (let first = 0; first < whole; first += vectors) {
    const count = Math.min(vectors, whole - first);
    pieces.push({ type: loopType("f32", lanes), count, offset: first * lanes * 4 });
  }
  if (columns % lanes > 0) pieces.push({ type: F32, count: columns % lanes, offset: whole * lanes * 4 });
  return pieces;
}

/** Byte offsets of the values of a piece within its row. */
export function pieceOffsets({ type, count, offset }: RowPiece): number[] {
  return Array.from({ length: count }, (_, i) => offset + i * type.lanes * 4);
}

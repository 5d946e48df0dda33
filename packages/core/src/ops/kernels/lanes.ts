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

/** Stores the lanes of a vector of 4-byte elements that begins at element `first` of a run of `count`. */
export function storeUpTo(k: KernelBuilder, value: LoopValue, to: LoopValue, first: number, count: number): void {
  const { lanes } = value.type;
  if (first + lanes <= count) {
    k.store(value, to, first * 4);
    return;
  }
  for (let lane = 0; first + lane < count; lane++) k.store(k.extract(value, lane), to, (first + lane) * 4);
}

/** The larger of two numbers where it does not matter which one comes out when one is NaN: cheaper than the maximum. */
export function largerOf(k: KernelBuilder, a: LoopValue, b: LoopValue): LoopValue {
  return k.select(k.compare("gt", a, b), a, b);
}

/** The sum over the lanes of each of as many vectors as they have lanes, as one vector. */
export function sumEach(k: KernelBuilder, vectors: readonly LoopValue[]): LoopValue {
  return reduceEach(k, vectors, (a, b) => k.add(a, b));
}

/** All lanes of each vector combined: lane i of the result is that of vector i. At most as many vectors as lanes. */
export function reduceEach(
  k: KernelBuilder,
  vectors: readonly LoopValue[],
  combine: (a: LoopValue, b: LoopValue) => LoopValue,
): LoopValue {
  const tree = new LaneTree(k, combine);
  for (const vector of vectors) tree.push(vector);
  return tree.result();
}

/**
 * All lanes of each of some vectors combined, vector by vector as they are computed, so that few of them wait in
 * registers: lane i of the result is that of vector i. At most as many vectors as lanes.
 */
export class LaneTree {
  readonly #k: KernelBuilder;
  readonly #combine: (a: LoopValue, b: LoopValue) => LoopValue;
  /** Each holds one group of `width` lanes per original vector; a level halves the groups and doubles their number. */
  readonly #waiting: { readonly vector: LoopValue; readonly width: number }[] = [];

  constructor(k: KernelBuilder, combine: (a: LoopValue, b: LoopValue) => LoopValue) {
    this.#k = k;
    this.#combine = combine;
  }

  push(vector: LoopValue): void {
    this.#waiting.push({ vector, width: vector.type.lanes });
    while (this.#waiting.length > 1 && this.#waiting.at(-1)!.width === this.#waiting.at(-2)!.width) this.#join();
  }

  result(): LoopValue {
    // What is missing is made up for by what is there.
    while (this.#waiting.length > 1 || this.#waiting[0]!.width > 1) {
      if (this.#waiting.at(-2)?.width !== this.#waiting.at(-1)!.width) this.#waiting.push(this.#waiting.at(-1)!);
      this.#join();
    }
    return this.#waiting[0]!.vector;
  }

  #join(): void {
    const [a, b] = this.#waiting.splice(-2) as [{ vector: LoopValue; width: number }, { vector: LoopValue }];
    const vector = combineHalves(this.#k, a.vector, b.vector, a.width, this.#combine);
    this.#waiting.push({ vector, width: a.width / 2 });
  }
}

/** Combines the upper half of every group of `width` lanes with the lower; the groups of a, then those of b. */
function combineHalves(
  k: KernelBuilder,
  a: LoopValue,
  b: LoopValue,
  width: number,
  combine: (a: LoopValue, b: LoopValue) => LoopValue,
): LoopValue {
  const lower: number[] = [];
  for (let lane = 0; lane < 2 * a.type.lanes; lane++) if (lane % width < width / 2) lower.push(lane);
  return combine(
    k.shuffle(a, b, lower),
    k.shuffle(
      a,
      b,
      lower.map((lane) => lane + width / 2),
    ),
  );
}

/**
 * The transpose of a square: lane i of result j is lane j of vector i. Squares of four are exchanged by interleaving,
 * which engines and processors know; larger squares then exchange their blocks of four, and of eight.
 */
export function transposeSquare(k: KernelBuilder, vectors: readonly LoopValue[]): LoopValue[] {
  const { lanes } = vectors[0]!.type;
  if (lanes === 2) return exchangeBlocks(k, vectors, 1);
  let rows = vectors.flatMap((_, i) => (i % 4 === 0 ? transposeFours(k, vectors.slice(i, i + 4)) : []));
  for (let block = 4; block < lanes; block *= 2) rows = exchangeBlocks(k, rows, block);
  return rows;
}

/** Four vectors: every group of four lanes is a square of its own. */
function transposeFours(k: KernelBuilder, [a, b, c, d]: readonly LoopValue[]): LoopValue[] {
  const { lanes } = a!.type;
  const inGroups = (picks: readonly number[]): number[] =>
    Array.from({ length: lanes }, (_, lane) => {
      const pick = picks[lane % 4]!;
      return lane - (lane % 4) + (pick < 4 ? pick : pick - 4 + lanes);
    });
  const [low, high] = [inGroups([0, 4, 1, 5]), inGroups([2, 6, 3, 7])];
  const ab = [k.shuffle(a!, b!, low), k.shuffle(a!, b!, high)];
  const cd = [k.shuffle(c!, d!, low), k.shuffle(c!, d!, high)];
  const [first, second] = [inGroups([0, 1, 4, 5]), inGroups([2, 3, 6, 7])];
  return ab.flatMap((half, i) => [k.shuffle(half, cd[i]!, first), k.shuffle(half, cd[i]!, second)]);
}

/** Exchanges the blocks off the diagonal of every square of two by two blocks of `block` rows and lanes. */
function exchangeBlocks(k: KernelBuilder, rows: readonly LoopValue[], block: number): LoopValue[] {
  const { lanes } = rows[0]!.type;
  const upper = Array.from({ length: lanes }, (_, lane) => ((lane & block) === 0 ? lane : lanes + (lane ^ block)));
  const lower = Array.from({ length: lanes }, (_, lane) => ((lane & block) === 0 ? lane ^ block : lanes + lane));
  return rows.map((row, i) =>
    (i & block) === 0 ? k.shuffle(row, rows[i ^ block]!, upper) : k.shuffle(rows[i ^ block]!, row, lower),
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

/**
 * Splits a row of float32 columns into pieces of at most `vectors` vectors; the rest goes to vectors of half the lanes,
 * and so on down to four, and then to scalars.
 */
export function rowPieces(columns: number, lanes: number, vectors: number): RowPiece[] {
  const pieces: RowPiece[] = [];
  let done = 0;
  for (const width of laneWidths(lanes)) {
    const type = width === 1 ? F32 : loopType("f32", width);
    while (columns - done >= width) {
      const count = Math.min(width === 1 ? 3 : vectors, Math.floor((columns - done) / width));
      pieces.push({ type, count, offset: done * 4 });
      done += count * width;
    }
  }
  return pieces;
}

/** Widths of vectors for the rests of rows: halves of the lanes down to four (or two of two), then one. */
export function laneWidths(lanes: number): number[] {
  const widths: number[] = [];
  for (let width = lanes; width >= Math.min(4, lanes) && width > 1; width /= 2) widths.push(width);
  return [...widths, 1];
}

/** Byte offsets of the values of a piece within its row. */
export function pieceOffsets({ type, count, offset }: RowPiece): number[] {
  return Array.from({ length: count }, (_, i) => offset + i * type.lanes * 4);
}

// attention for few queries, which is what decoding asks for: bound by reading the cache, so that keys and values are
// read in place, once for a few heads of a group. A chunk is some heads of one key head of one sequence; their scores
// with all visible keys go to scratch, as many keys a step as a vector has lanes; then the exponentials; then the
// weighted sum of the values.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, I32, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { expOf, logOf } from "../../loop/math.ts";
import type { LowerContext } from "../../op.ts";
import { roundUp } from "../../storage.ts";
import type { AttentionAttrs, AttentionDims } from "../attention.ts";
import { headBase, headStrides, loadPosition } from "./attention_blocks.ts";
import { foldLanes, laneIndices, largerOf, pieceOffsets, rowPieces, sumEach } from "./lanes.ts";

/** Heads that share a reading of keys and values. */
const HEADS = 4;
/** Below every score; its exponential is 0. */
const MASKED = -1e30;
/** Vectors of head elements whose products are unrolled. */
const UNROLLED_VECTORS = 16;

/** Some heads of a group and one query: addresses of their first rows, and scratch [heads, capacity in vectors]. */
interface Heads {
  readonly dims: AttentionDims;
  readonly scale: number;
  readonly lanes: number;
  readonly accumulators: number;
  readonly q: LoopValue;
  readonly keys: LoopValue;
  readonly values: LoopValue;
  readonly o: LoopValue;
  readonly lse: LoopValue;
  /** Number of keys that the query sees. */
  readonly visible: LoopValue;
  readonly scores: LoopValue;
  readonly scoresStrideBytes: number;
}

export function lowerAttentionRows(context: LowerContext, { scale }: AttentionAttrs, dims: AttentionDims): void {
  const { batch, time, heads, size, capacity, keyHeads, groupSize } = dims;
  const { lanes } = context;
  const strides = headStrides(dims);
  const together = Math.min(HEADS, groupSize);
  const sets = Math.ceil(groupSize / together);
  const inputs = [0, 1, 2, 3].map((i) => context.input(i));
  const buffers = [...inputs, context.result(0), context.result(1)];
  const work = 4 * batch * heads * time * capacity * size;
  context.call("attention_rows", batch * keyHeads * sets, work, buffers, (k, bases) => {
    const [qBase, kBase, vBase, positionAt, oBase, lseBase] = bases as readonly LoopValue[];
    const set = k.rem(k.chunk, k.index(sets));
    const ofBatch = k.div(k.chunk, k.index(sets));
    const [sequence, keyHead] = [k.div(ofBatch, k.index(keyHeads)), k.rem(ofBatch, k.index(keyHeads))];
    const first = k.add(k.mul(keyHead, k.index(groupSize)), k.mul(set, k.index(together)));
    const position = loadPosition(k, positionAt!);
    const scoresStrideBytes = roundUp(capacity, lanes) * 4;
    const scores = k.allocateScratch(together * scoresStrideBytes);
    const rows = (height: number): void =>
      k.loop(0, time, 1, (t) => {
        const ofQueries = (base: LoopValue): LoopValue =>
          k.offset(headBase(k, base, sequence, first, time, strides.query, size), t, strides.query);
        attendRow(k, height, {
          dims,
          scale,
          lanes,
          accumulators: context.registers / 2,
          q: ofQueries(qBase!),
          keys: headBase(k, kBase!, sequence, keyHead, capacity, strides.key, size),
          values: headBase(k, vBase!, sequence, keyHead, capacity, strides.key, size),
          o: ofQueries(oBase!),
          lse: k.offset(k.offset(lseBase!, k.add(k.mul(sequence, k.index(heads)), first), time * 4), t, 4),
          visible: k.min(k.add(k.add(position, t), k.index(1)), k.index(capacity)),
          scores,
          scoresStrideBytes,
        });
      });
    const rest = groupSize % together;
    const run = (height: number) => (): readonly LoopValue[] => {
      rows(height);
      return [];
    };
    if (rest === 0) rows(together);
    else k.if(k.compare("eq", set, k.index(sets - 1)), run(rest), run(together));
  });
}

function attendRow(k: KernelBuilder, height: number, heads: Heads): void {
  const { dims, lanes, accumulators, visible, scores, scoresStrideBytes } = heads;
  const { size, time } = dims;
  const largest = writeScores(k, height, heads);
  const totals = exponentials(k, heads, largest);
  const inverses = totals.map((total) => k.div(k.constant(F32, 1), total));
  const rows = {
    rows: heads.values,
    rowStrideBytes: headStrides(dims).key,
    weights: scores,
    weightStrideBytes: 4,
    sumStrideBytes: scoresStrideBytes,
    count: visible,
    size,
  };
  sumRows(k, rows, height, lanes, accumulators, (value, i, offset) => {
    k.store(k.mul(value, k.splat(inverses[i]!, value.type.lanes)), heads.o, i * size * 4 + offset);
  });
  totals.forEach((total, i) => k.store(k.add(largest[i]!, logOf(k, total)), heads.lse, i * time * 4));
}

/** Writes the scores of each head with the visible keys, and gives the largest of each. */
function writeScores(k: KernelBuilder, height: number, heads: Heads): LoopValue[] {
  const { dims, lanes, scores, scoresStrideBytes, scale, visible } = heads;
  const strideBytes = headStrides(dims).key;
  const type = loopType("f32", lanes);
  const [factor, masked] = [k.splat(k.constant(F32, scale), lanes), k.constant(type, MASKED)];
  const scoresOf = (key: LoopValue, rows: readonly RowAddress[]): LoopValue[] =>
    Array.from({ length: height }, (_, i) => {
      const q = k.add(heads.q, k.index(i * dims.size * 4));
      return k.mul(dotRows(k, q, 0, 1, rows, dims.size)[0]!, factor);
    });
  const store = (key: LoopValue, values: readonly LoopValue[]): void =>
    values.forEach((value, i) => k.store(value, k.offset(scores, key, 4), i * scoresStrideBytes));
  const whole = k.sub(visible, k.rem(visible, k.index(lanes)));
  const inits = Array.from({ length: height }, () => masked);
  const maxima = k.for(0, whole, lanes, inits, (key, carried) => {
    const base = k.offset(heads.keys, key, strideBytes);
    const values = scoresOf(
      key,
      Array.from({ length: lanes }, (_, lane) => ({ base, offset: lane * strideBytes })),
    );
    store(key, values);
    return carried.map((max, i) => largerOf(k, max, values[i]!));
  });
  // The last keys are fewer than the lanes: those behind the last visible one repeat it, and count for nothing.
  const last = k.sub(visible, k.index(1));
  const lane = laneIndices(k, lanes);
  const totals = k.for(whole, visible, lanes, maxima, (key, carried) => {
    const rows = Array.from({ length: lanes }, (_, i) => {
      return { base: k.offset(heads.keys, k.min(k.add(key, k.index(i)), last), strideBytes), offset: 0 };
    });
    const seen = k.compare(
      "le",
      k.add(lane, k.splat(k.convert(I32, key), lanes)),
      k.splat(k.convert(I32, last), lanes),
    );
    const values = scoresOf(key, rows).map((value) => k.select(seen, value, masked));
    store(key, values);
    return carried.map((max, i) => largerOf(k, max, values[i]!));
  });
  return totals.map((max) => foldLanes(k, max, (a, b) => largerOf(k, a, b)));
}

/** Replaces scores by exp(score - largest), and gives the sum for each head. */
function exponentials(k: KernelBuilder, heads: Heads, largest: readonly LoopValue[]): LoopValue[] {
  const { lanes, scores, scoresStrideBytes, visible } = heads;
  const type = loopType("f32", lanes);
  const shifts = largest.map((value) => k.splat(value, lanes));
  const zeros = shifts.map(() => k.constant(type, 0));
  const totals = k.for(0, visible, lanes, zeros, (key, carried) => {
    const at = k.offset(scores, key, 4);
    return carried.map((total, i) => {
      const weight = expOf(k, k.sub(k.load(type, at, i * scoresStrideBytes), shifts[i]!));
      k.store(weight, at, i * scoresStrideBytes);
      return k.add(total, weight);
    });
  });
  return totals.map((total) => foldLanes(k, total, (a, b) => k.add(a, b)));
}

/** Where a row begins. */
interface RowAddress {
  readonly base: LoopValue;
  readonly offset: number;
}

/**
 * Dot products of rows of `size` floats: result i, lane j is left row i by right row j; as many right rows as lanes.
 * Left row i is at `left` + i * `leftStrideBytes`.
 */
function dotRows(
  k: KernelBuilder,
  left: LoopValue,
  leftStrideBytes: number,
  height: number,
  right: readonly RowAddress[],
  size: number,
): LoopValue[] {
  const lanes = right.length;
  const type = loopType("f32", lanes);
  const whole = size - (size % lanes);
  const zeros = Array.from({ length: height * lanes }, () => k.constant(type, 0));
  const step = (sums: readonly LoopValue[], d: LoopValue, offset: number): LoopValue[] => {
    const leftAt = k.add(left, d);
    const rows = Array.from({ length: height }, (_, i) => k.load(type, leftAt, i * leftStrideBytes + offset));
    const next = [...sums];
    right.forEach((address, j) => {
      const other = k.load(type, k.add(address.base, d), address.offset + offset);
      rows.forEach((row, i) => (next[i * lanes + j] = k.fma(row, other, next[i * lanes + j]!)));
    });
    return next;
  };
  const bytes = lanes * 4;
  const unrolled = UNROLLED_VECTORS * bytes;
  const looped = whole * 4 - ((whole * 4) % unrolled);
  const body = (sums: readonly LoopValue[], d: LoopValue, length: number): readonly LoopValue[] => {
    let next = sums;
    for (let offset = 0; offset < length; offset += bytes) next = step(next, d, offset);
    return next;
  };
  let sums: readonly LoopValue[] = zeros;
  if (looped > unrolled) sums = k.for(0, looped, unrolled, sums, (d, carried) => body(carried, d, unrolled));
  else if (looped > 0) sums = body(sums, k.index(0), unrolled);
  sums = body(sums, k.index(looped), whole * 4 - looped);
  const products = zeros.flatMap((_, i) => (i % lanes === 0 ? [sumEach(k, sums.slice(i, i + lanes))] : []));
  return addLastColumns(k, products, left, leftStrideBytes, right, whole, size);
}

/** Adds the columns from `first` to `size`, fewer than a vector, one at a time. */
function addLastColumns(
  k: KernelBuilder,
  products: readonly LoopValue[],
  left: LoopValue,
  leftStrideBytes: number,
  right: readonly RowAddress[],
  first: number,
  size: number,
): LoopValue[] {
  const type = loopType("f32", right.length);
  let sums = [...products];
  for (let column = first; column < size; column++) {
    let others = k.constant(type, 0);
    right.forEach(({ base, offset }, j) => (others = k.insert(others, k.load(F32, base, offset + column * 4), j)));
    sums = sums.map((sum, i) => k.fma(k.loadSplat(type, left, i * leftStrideBytes + column * 4), others, sum));
  }
  return sums;
}

/** Rows to sum up, and where their weights lie. */
interface WeightedRows {
  /** Row 0; row s is `rowStrideBytes` * s further. */
  readonly rows: LoopValue;
  readonly rowStrideBytes: number;
  /** Weight 0 of sum 0; weights of row s are `weightStrideBytes` * s further, of sum i `sumStrideBytes` * i. */
  readonly weights: LoopValue;
  readonly weightStrideBytes: number;
  readonly sumStrideBytes: number;
  readonly count: LoopValue;
  readonly size: number;
}

/**
 * For each of `height` sums, the sum over rows of weight times row, a few vectors at a time: `use` gets sum i of the
 * elements at a byte offset of the row.
 */
function sumRows(
  k: KernelBuilder,
  input: WeightedRows,
  height: number,
  lanes: number,
  accumulators: number,
  use: (value: LoopValue, i: number, offset: number) => void,
): void {
  const { rows, rowStrideBytes, weights, weightStrideBytes, sumStrideBytes, count, size } = input;
  for (const piece of rowPieces(size, lanes, Math.max(1, Math.floor(accumulators / height)))) {
    const offsets = pieceOffsets(piece);
    const zeros = Array.from({ length: height * offsets.length }, () => k.constant(piece.type, 0));
    const end = k.mul(count, k.index(weightStrideBytes));
    const sums = k.for(0, end, weightStrideBytes, [rows, ...zeros], (at, [row, ...carried]) => {
      const values = offsets.map((offset) => k.load(piece.type, row!, offset));
      const weightAt = k.add(weights, at);
      const next: LoopValue[] = [k.add(row!, k.index(rowStrideBytes))];
      for (let i = 0; i < height; i++) {
        const weight = k.loadSplat(piece.type, weightAt, i * sumStrideBytes);
        values.forEach((value, v) => next.push(k.fma(weight, value, carried[i * offsets.length + v]!)));
      }
      return next;
    });
    for (let i = 0; i < height; i++) {
      offsets.forEach((offset, v) => use(sums[1 + i * offsets.length + v]!, i, offset));
    }
  }
}

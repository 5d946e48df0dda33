// The two products that attention and its reverse pass are made of, in register blocks over rows that lie apart in
// memory: dot products of a few rows with a few others, and sums of rows by weights that lie in scratch.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, I32, INDEX, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { AttentionDims } from "../attention.ts";
import { pieceOffsets, rowPieces, sumEach } from "./lanes.ts";

/** Vectors of head elements whose products are unrolled. */
const UNROLLED_VECTORS = 16;

/** Byte strides from one time step to the next. */
export interface HeadStrides {
  readonly query: number;
  readonly key: number;
}

export function headStrides({ heads, keyHeads, size }: AttentionDims): HeadStrides {
  return { query: heads * size * 4, key: keyHeads * size * 4 };
}

/** The address of time step 0 of a head in [batch, steps, heads, size]. */
export function headBase(
  k: KernelBuilder,
  base: LoopValue,
  batch: LoopValue,
  head: LoopValue,
  steps: number,
  strideBytes: number,
  size: number,
): LoopValue {
  return k.offset(k.offset(base, batch, steps * strideBytes), head, size * 4);
}

/** The run-time position, at least 0. */
export function loadPosition(k: KernelBuilder, position: LoopValue): LoopValue {
  return k.convert(INDEX, k.max(k.load(I32, position), k.i32(0)));
}

/** Addresses of the rows of as many keys as a vector has lanes, from `key` on; those beyond the last repeat it. */
export function keyRows(
  k: KernelBuilder,
  base: LoopValue,
  key: LoopValue,
  last: LoopValue,
  strideBytes: number,
  lanes: number,
): LoopValue[] {
  return Array.from({ length: lanes }, (_, lane) =>
    k.offset(base, lane === 0 ? key : k.min(k.add(key, k.index(lane)), last), strideBytes),
  );
}

/**
 * Dot products of rows of `size` floats: result i, lane j is left row i by right row j; as many right rows as lanes.
 * Left row i is at `left` + i * `leftStrideBytes`.
 */
export function dotRows(
  k: KernelBuilder,
  left: LoopValue,
  leftStrideBytes: number,
  height: number,
  right: readonly LoopValue[],
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
      const other = k.load(type, k.add(address, d), offset);
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
  right: readonly LoopValue[],
  first: number,
  size: number,
): LoopValue[] {
  const type = loopType("f32", right.length);
  let sums = [...products];
  for (let column = first; column < size; column++) {
    let others = k.loadSplat(type, right[0]!, column * 4);
    for (let j = 1; j < right.length; j++) others = k.insert(others, k.load(F32, right[j]!, column * 4), j);
    sums = sums.map((sum, i) => k.fma(k.loadSplat(type, left, i * leftStrideBytes + column * 4), others, sum));
  }
  return sums;
}

/** Rows to sum up, and where their weights lie. */
export interface WeightedRows {
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
export function sumRows(
  k: KernelBuilder,
  input: WeightedRows,
  height: number,
  lanes: number,
  use: (value: LoopValue, i: number, offset: number) => void,
): void {
  const { rows, rowStrideBytes, weights, weightStrideBytes, sumStrideBytes, count, size } = input;
  // Eight sums in registers.
  for (const piece of rowPieces(size, lanes, Math.max(1, Math.floor(8 / height)))) {
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

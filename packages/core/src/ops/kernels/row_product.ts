// A single row times a matrix, y[n] = x[k] B: what one-token decoding does with every dense weight. It is bound by
// reading B once, so it packs nothing: rows of a transposed B are dotted with x, rows of a plain B are scaled and
// added.

import type { LowerContext } from "../../op.ts";
import type { KernelBuilder } from "../../loop/builder.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import { elementLoopType } from "../loop-types.ts";
import type { MatmulDims } from "../matmul.ts";
import { foldLanes } from "./lanes.ts";

/** Outputs that one step computes together, sharing each load of x. */
const OUTPUTS = 4;

export function lowerRowProduct(context: LowerContext, dims: MatmulDims, transposeB: boolean): void {
  const { dtype } = context.node.inputs[0]!;
  const bytes = dtype === "f64" ? 8 : 4;
  const vector = elementLoopType(dtype, (context.lanes * 4) / bytes);
  const scalar = elementLoopType(dtype, 1);
  const step = transposeB ? OUTPUTS : vector.lanes * OUTPUTS;
  const chunkColumns = Math.max(step, Math.ceil(16384 / dims.k / step) * step);
  const perBatch = Math.ceil(dims.n / chunkColumns);
  const buffers = [context.input(0), context.input(1), context.result(0)];
  context.call("row_product", dims.batch * perBatch, 2 * dims.batch * dims.n * dims.k, buffers, (k, [x, b, y]) => {
    const batch = k.div(k.chunk, k.index(perBatch));
    const first = k.mul(k.rem(k.chunk, k.index(perBatch)), k.index(chunkColumns));
    const end = k.min(k.index(dims.n), k.add(first, k.index(chunkColumns)));
    const row: RowProduct = {
      k,
      dims,
      bytes,
      vector,
      scalar,
      x: k.offset(x!, batch, dims.k * bytes),
      b: k.offset(b!, batch, dims.k * dims.n * bytes),
      y: k.offset(y!, batch, dims.n * bytes),
    };
    const body = transposeB ? dotRows : addRows;
    const whole = k.sub(end, k.rem(k.sub(end, first), k.index(step)));
    k.loop(first, whole, step, (column) => body(row, column, OUTPUTS));
    k.loop(whole, end, 1, (column) => (transposeB ? dotRows(row, column, 1) : addScalarColumn(row, column)));
  });
}

interface RowProduct {
  readonly k: KernelBuilder;
  readonly dims: MatmulDims;
  readonly bytes: number;
  readonly vector: LoopType;
  readonly scalar: LoopType;
  readonly x: LoopValue;
  readonly b: LoopValue;
  readonly y: LoopValue;
}

/** `count` dot products of x with rows of B [n, k], two accumulators each. */
function dotRows({ k, dims, bytes, vector, scalar, x, b, y }: RowProduct, column: LoopValue, count: number): void {
  const vectorBytes = vector.lanes * bytes;
  const rowBytes = dims.k * bytes;
  const rows = k.offset(b, column, rowBytes);
  const stepVectors = 2;
  const step = stepVectors * vector.lanes;
  const whole = Math.floor(dims.k / step) * step;
  const zeros = Array.from({ length: count * stepVectors }, () => k.constant(vector, 0));
  const sums = k.for(0, whole, step, zeros, (l, partial) => {
    const xAt = k.offset(x, l, bytes);
    const bAt = k.offset(rows, l, bytes);
    const left = Array.from({ length: stepVectors }, (_, v) => k.load(vector, xAt, v * vectorBytes));
    return partial.map((sum, i) => {
      const v = i % stepVectors;
      return k.fma(left[v]!, k.load(vector, bAt, Math.floor(i / stepVectors) * rowBytes + v * vectorBytes), sum);
    });
  });
  for (let r = 0; r < count; r++) {
    let total = foldLanes(k, k.add(sums[r * stepVectors]!, sums[r * stepVectors + 1]!), (a, b) => k.add(a, b));
    for (let l = whole; l < dims.k; l++) {
      total = k.add(total, k.mul(k.load(scalar, x, l * bytes), k.load(scalar, rows, r * rowBytes + l * bytes)));
    }
    k.store(total, k.offset(y, column, bytes), r * bytes);
  }
}

/** `count` vectors of outputs: rows of B [k, n] scaled by elements of x and added. */
function addRows({ k, dims, bytes, vector, x, b, y }: RowProduct, column: LoopValue, count: number): void {
  const vectorBytes = vector.lanes * bytes;
  const zeros = Array.from({ length: count }, () => k.constant(vector, 0));
  const start = [x, k.offset(b, column, bytes), ...zeros];
  const [, , ...sums] = k.for(0, dims.k, 1, start, (_l, [xAt, bAt, ...partial]) => {
    const left = k.loadSplat(vector, xAt!);
    return [
      k.offset(xAt!, 1, bytes),
      k.offset(bAt!, 1, dims.n * bytes),
      ...partial.map((sum, v) => k.fma(left, k.load(vector, bAt!, v * vectorBytes), sum)),
    ];
  });
  sums.forEach((sum, v) => k.store(sum, k.offset(y, column, bytes), v * vectorBytes));
}

/** One output of the plain form, for columns left over. */
function addScalarColumn({ k, dims, bytes, scalar, x, b, y }: RowProduct, column: LoopValue): void {
  const start = [x, k.offset(b, column, bytes), k.constant(scalar, 0)];
  const [, , sum] = k.for(0, dims.k, 1, start, (_l, [xAt, bAt, partial]) => [
    k.offset(xAt!, 1, bytes),
    k.offset(bAt!, 1, dims.n * bytes),
    k.add(partial!, k.mul(k.load(scalar, xAt!), k.load(scalar, bAt!))),
  ]);
  k.store(sum!, k.offset(y, column, bytes));
}

// quantize_activations as loops: each row is read twice, once for its largest magnitude and once to be rounded; the
// second time it comes from the cache. Magnitudes are compared as integers: the bits of non-negative floats are ordered
// like the floats, and an integer maximum is one instruction everywhere.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, I32, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { LowerContext, TailRow } from "../../op.ts";
import { q8Layout } from "../../storage.ts";
import { QUANTIZE_FLOOR } from "../quantize_activations.ts";
import { foldLanes } from "./lanes.ts";

const MAGNITUDE_BITS = 0x7fffffff;

export function lowerQuantizeActivations(context: LowerContext): void {
  const { rows, columns } = q8Layout(context.node.results[0]!.shape);
  const rowsPerChunk = Math.max(1, Math.floor(context.chunkElements / columns));
  const chunks = Math.ceil(rows / rowsPerChunk);
  const buffers = [context.input(0), context.result(0)];
  context.call("quantize_activations", chunks, 4 * rows * columns, buffers, (k, [x, q]) => {
    const first = k.mul(k.chunk, k.index(rowsPerChunk));
    const last = k.min(k.add(first, k.index(rowsPerChunk)), k.index(rows));
    k.loop(first, last, 1, (row) => {
      const values = k.offset(x!, row, columns * 4);
      quantizeTail(k, { type: context.node.results[0]!.type, result: q!, index: row, values, lanes: context.lanes });
    });
  });
}

/** One row: its largest magnitude, its codes, and what goes with them. */
export function quantizeTail(k: KernelBuilder, { type, result, index, values, ...row }: TailRow): void {
  const { columns, rowBytes, scalesOffset, sumsOffset } = q8Layout(type.shape);
  // A step is four vectors, and short rows are of narrow ones.
  const lanes = Math.min(row.lanes, Math.max(4, 2 ** Math.floor(Math.log2(columns / 4))));
  const codes = k.offset(result, index, rowBytes);
  const largest = k.max(largestMagnitude(k, values, columns, lanes), k.constant(F32, QUANTIZE_FLOOR));
  const scale = k.div(k.constant(F32, 127), largest);
  const sum = quantizeRow(k, values, codes, scale, columns, lanes);
  for (let column = columns; column < rowBytes; column++) k.store(k.i32(0), codes, column, "i8");
  k.store(k.div(largest, k.constant(F32, 127)), k.offset(result, index, 4), scalesOffset);
  k.store(sum, k.offset(result, index, 4), sumsOffset);
}

function largestMagnitude(k: KernelBuilder, values: LoopValue, columns: number, lanes: number): LoopValue {
  const type = loopType("i32", lanes);
  const magnitude = k.splat(k.i32(MAGNITUDE_BITS), lanes);
  const step = 4 * lanes;
  const whole = columns - (columns % step);
  const zeros = Array.from({ length: 4 }, () => k.constant(type, 0));
  const maxima = k.for(0, whole, step, zeros, (column, carried) => {
    const at = k.offset(values, column, 4);
    return carried.map((max, i) => k.max(max, k.binary("and", k.load(type, at, i * lanes * 4), magnitude)));
  });
  const folded = k.max(k.max(maxima[0]!, maxima[1]!), k.max(maxima[2]!, maxima[3]!));
  const ofVectors = foldLanes(k, folded, (a, b) => k.max(a, b));
  const [bits] = k.for(whole, columns, 1, [ofVectors], (column, [max]) => [
    k.max(max!, k.binary("and", k.load(I32, k.offset(values, column, 4)), k.i32(MAGNITUDE_BITS))),
  ]);
  return k.bitcast(F32, bits!);
}

/** Writes the codes of a row and gives their sum. */
function quantizeRow(
  k: KernelBuilder,
  values: LoopValue,
  codes: LoopValue,
  scale: LoopValue,
  columns: number,
  lanes: number,
): LoopValue {
  const step = 4 * lanes;
  const whole = columns - (columns % step);
  const round = (scaled: LoopValue): LoopValue =>
    k.convert(loopType("i32", scaled.type.lanes), k.unary("nearest", scaled));
  const scales = k.splat(scale, lanes);
  const zero = k.constant(loopType("i32", lanes), 0);
  const [sums] = k.for(0, whole, step, [zero], (column, [sum]) => {
    const at = k.offset(values, column, 4);
    const rounded = [0, 1, 2, 3].map((i) => round(k.mul(k.load(loopType("f32", lanes), at, i * lanes * 4), scales)));
    const [a, b, c, d] = rounded as [LoopValue, LoopValue, LoopValue, LoopValue];
    // Both steps saturate, which is the clip to -128..127.
    k.store(k.narrow(k.narrow(a, b), k.narrow(c, d)), k.add(codes, column));
    return [k.add(sum!, k.add(k.add(a, b), k.add(c, d)))];
  });
  const [total] = k.for(whole, columns, 1, [foldLanes(k, sums!, (a, b) => k.add(a, b))], (column, [sum]) => {
    const code = round(k.mul(k.load(F32, k.offset(values, column, 4)), scale));
    k.store(code, k.add(codes, column), 0, "i8");
    return [k.add(sum!, code)];
  });
  return total!;
}

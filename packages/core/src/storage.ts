// How a tensor of each dtype lies in memory. Plain dtypes are dense and row-major. Two are packed:
//
// q8 [rows..., columns]: int8 codes, each row padded with zeros to a multiple of 16 columns; then one float32 scale a
// row (value = code * scale); then one int32 a row, the sum of its codes, which undoes the +1 bias of ternary codes.
//
// ternary [rows, columns]: blocks of 16 rows; for each 16 columns 64 bytes: the 32-bit lane r is row r of the block,
// and bits 2p, 2p+1 of its byte j hold column 16i + 4p + j, as weight + 1. Rows and columns are padded with weight 0
// (code 1). Then one float32 scale (value = weight * scale), padded to 64 bytes.

import type { TensorType } from "./graph.ts";
import { DTYPES } from "./dtype.ts";

/** Rounds `value` up to a multiple of `step`. */
export function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** Number of rows when a shape is seen as [rows, last axis]. */
export function rowCount(shape: readonly number[]): number {
  return elementCount(shape.slice(0, -1));
}

/** Byte offsets within a q8 tensor. */
export interface Q8Layout {
  readonly rows: number;
  readonly columns: number;
  /** Bytes from one row of codes to the next. */
  readonly rowBytes: number;
  readonly scalesOffset: number;
  readonly sumsOffset: number;
  readonly sizeBytes: number;
}

export function q8Layout(shape: readonly number[]): Q8Layout {
  const rows = rowCount(shape);
  const columns = shape[shape.length - 1] ?? 1;
  const rowBytes = roundUp(columns, 16);
  const scalesOffset = roundUp(rows * rowBytes, 64);
  const sumsOffset = scalesOffset + roundUp(rows * 4, 64);
  return { rows, columns, rowBytes, scalesOffset, sumsOffset, sizeBytes: sumsOffset + roundUp(rows * 4, 64) };
}

/** Byte offsets within a ternary tensor. */
export interface TernaryLayout {
  readonly rows: number;
  readonly columns: number;
  /** Blocks of 16 rows, and groups of 16 columns in each. */
  readonly blocks: number;
  readonly groups: number;
  readonly blockBytes: number;
  readonly scaleOffset: number;
  readonly sizeBytes: number;
}

export function ternaryLayout(shape: readonly number[]): TernaryLayout {
  const [rows = 1, columns = 1] = shape;
  const blocks = Math.ceil(rows / 16);
  const groups = Math.ceil(columns / 16);
  const blockBytes = groups * 64;
  const scaleOffset = blocks * blockBytes;
  return { rows, columns, blocks, groups, blockBytes, scaleOffset, sizeBytes: scaleOffset + 64 };
}

/** Bytes that a tensor of this type takes. */
export function storageBytes(type: TensorType): number {
  if (type.dtype === "q8") return q8Layout(type.shape).sizeBytes;
  if (type.dtype === "ternary") return ternaryLayout(type.shape).sizeBytes;
  return elementCount(type.shape) * (DTYPES[type.dtype].elementBytes ?? 0);
}

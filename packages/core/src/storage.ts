// How a tensor of each dtype lies in memory. Plain dtypes are dense and row-major. Five are packed:
//
// q8 [rows..., columns]: int8 codes, each row padded with zeros to a multiple of 16 columns; then one float32 scale a
// row (value = code * scale); then one int32 a row, the sum of its codes, which undoes the +1 bias of ternary codes.
//
// ternary [rows, columns]: blocks of 16 rows; for each 16 columns 64 bytes: the 32-bit lane r is row r of the block,
// and bits 2p, 2p+1 of its byte j hold column 16i + 4p + j, as weight + 1. Rows and columns are padded with weight 0
// (code 1). Then one float32 scale (value = weight * scale), padded to 64 bytes.
//
// ternary5 [rows, columns]: the same with 20 columns in 64 bytes: byte j of a lane holds columns 20i + 4p + j, p < 5,
// in the code of BAREWire's `ternary-1.6bit` (see `tritsByte`). What is beyond the matrix has code 0, since activations
// of another row may meet it.
//
// q8_0, q4_0 [rows..., columns]: blocks of 32 columns of a row, row after row: 32 int8 codes, or 16 bytes of which byte
// j has the code of column j in its lower four bits and that of column j + 16 in the upper ones, both in two's
// complement. Then one float16 scale a block, row after row (value = code * scale). GGUF has the same numbers with each
// scale before its codes; apart, both are read in whole aligned vectors.

import type { TensorType } from "./graph.ts";
import { DTYPES, isBlocked, isTernary } from "./dtype.ts";
import type { BlockDtype, TernaryDtype } from "./dtype.ts";

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
  /** Blocks of 16 rows, and groups of 64 bytes in each. */
  readonly blocks: number;
  readonly groups: number;
  /** Columns of a group, and runs of four columns in it: the bit planes of `ternary`, the trits of `ternary5`. */
  readonly groupColumns: number;
  readonly planes: number;
  readonly blockBytes: number;
  readonly scaleOffset: number;
  readonly sizeBytes: number;
}

export function ternaryLayout(shape: readonly number[], dtype: TernaryDtype = "ternary"): TernaryLayout {
  const [rows = 1, columns = 1] = shape;
  const blocks = Math.ceil(rows / 16);
  const planes = dtype === "ternary" ? 4 : 5;
  const groupColumns = 4 * planes;
  const groups = Math.ceil(columns / groupColumns);
  const blockBytes = groups * 64;
  const scaleOffset = blocks * blockBytes;
  return {
    rows,
    columns,
    blocks,
    groups,
    groupColumns,
    planes,
    blockBytes,
    scaleOffset,
    sizeBytes: scaleOffset + 64,
  };
}

/**
 * Five codes of 0..2, t0 + 3 t1 + 9 t2 + 27 t3 + 81 t4, as a byte: the fraction value / 243 in 256ths, rounded up.
 * Three times the byte is 256 t4 and, below 256, the byte of the other four codes, but for rounding: additions tell one
 * code after another. llama.cpp's TQ1_0 has the same idea.
 */
export function tritsByte(value: number): number {
  return Math.ceil((value * 256) / 243);
}

/** The codes that a byte stands for, as `tritsByte` takes them; meaningless for the 13 bytes that it never gives. */
export function tritsValue(byte: number): number {
  return Math.floor((byte * 243) / 256);
}

/** Columns of a block that have one scale. */
export const BLOCK_COLUMNS = 32;

/** Byte offsets within a tensor of blocks. */
export interface BlockLayout {
  readonly rows: number;
  readonly columns: number;
  /** Blocks of a row; the last one is padded with codes of 0. */
  readonly blocks: number;
  /** Bytes of the codes of a block, and of a row. */
  readonly blockBytes: number;
  readonly rowBytes: number;
  readonly scalesOffset: number;
  readonly sizeBytes: number;
}

export function blockLayout(shape: readonly number[], dtype: BlockDtype): BlockLayout {
  const rows = rowCount(shape);
  const columns = shape[shape.length - 1] ?? 1;
  const blocks = Math.ceil(columns / BLOCK_COLUMNS);
  const blockBytes = dtype === "q8_0" ? BLOCK_COLUMNS : BLOCK_COLUMNS / 2;
  const rowBytes = blocks * blockBytes;
  const scalesOffset = roundUp(rows * rowBytes, 64);
  const sizeBytes = scalesOffset + roundUp(rows * blocks * 2, 64);
  return { rows, columns, blocks, blockBytes, rowBytes, scalesOffset, sizeBytes };
}

/** Bytes that a tensor of this type takes. */
export function storageBytes(type: TensorType): number {
  if (type.dtype === "q8") return q8Layout(type.shape).sizeBytes;
  if (isTernary(type.dtype)) return ternaryLayout(type.shape, type.dtype).sizeBytes;
  if (isBlocked(type.dtype)) return blockLayout(type.shape, type.dtype).sizeBytes;
  return elementCount(type.shape) * (DTYPES[type.dtype].elementBytes ?? 0);
}

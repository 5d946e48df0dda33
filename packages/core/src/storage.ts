// How a tensor of each dtype lies in memory. Plain dtypes are dense and row-major. Others are packed:
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
// q8_0, q4_0, q4_k, q5_k, q6_k [rows..., columns]: the numbers of GGUF's blocks of these names (`BLOCK_FORMATS`), for
// 16 rows at a time, so that four activations meet four codes of each of them at once. A band of 16 rows is records of
// 64 columns, two blocks, or of 256, one block; a record is what codes are multiplied with, [16] of each number, padded
// to 64 bytes, and then the codes of its groups of 32 columns. Those lie in lines of 64 bytes, of which the 32-bit lane
// r belongs to row r of the band. A plane of p of a code's bits has p lines: bits q to q + p of byte j of line l are
// those of column 4 (8 l + q) / p + j of the group. Codes are not negative in memory: 128 is added in q8_0, 8 in q4_0,
// 32 in q6_k. All bits of rows and columns beyond the matrix are 0, their scales as well.

import type { TensorType } from "./graph.ts";
import { DTYPES, isBlocked, isTernary } from "./dtype.ts";
import type { BlockDtype, TernaryDtype } from "./dtype.ts";

/** Rounds `value` up to a multiple of `step`. */
export function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

export function elementCount(shape: readonly number[]): number {
  let count = 1;
  for (let i = 0; i < shape.length; i++) count *= shape[i]!;
  return count;
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

/** How the numbers of a dtype of blocks are made: scale (code - centre), or scale code - minimum. */
export interface BlockFormat {
  /** Columns of a block, as files have them, and of a record. */
  readonly blockColumns: 32 | 256;
  readonly recordColumns: 64 | 256;
  /** Columns that share a scale. */
  readonly scaleColumns: 16 | 32;
  /** Bits of a code, plane by plane, the lowest ones first. */
  readonly planes: readonly number[];
  readonly centre: number;
  /**
   * Scales are float16 numbers, or, nested, products of a float16 number of the block and an 8-bit one; and so are
   * minima, where there are any.
   */
  readonly nested: boolean;
  readonly minima: boolean;
}

const SMALL_BLOCK = { blockColumns: 32, recordColumns: 64, scaleColumns: 32, nested: false, minima: false } as const;
const K_BLOCK = { blockColumns: 256, recordColumns: 256, scaleColumns: 32, nested: true, minima: true } as const;

export const BLOCK_FORMATS: Readonly<Record<BlockDtype, BlockFormat>> = {
  q8_0: { ...SMALL_BLOCK, planes: [8], centre: 128 },
  q4_0: { ...SMALL_BLOCK, planes: [4], centre: 8 },
  q4_k: { ...K_BLOCK, planes: [4], centre: 0 },
  q5_k: { ...K_BLOCK, planes: [4, 1], centre: 0 },
  q6_k: { ...K_BLOCK, scaleColumns: 16, minima: false, planes: [4, 2], centre: 32 },
};

/** Rows of a band, and bytes of a line. */
export const BAND_ROWS = 16;
export const LINE_BYTES = 64;
/** Columns of a group. */
export const GROUP_COLUMNS = 32;

/** Byte offsets within a tensor of blocks. */
export interface BlockLayout extends BlockFormat {
  readonly rows: number;
  readonly columns: number;
  /** Blocks and groups of a row, and records. */
  readonly blocks: number;
  readonly groups: number;
  readonly records: number;
  /** Within a record: scales [blocks or their parts][16], minima alike, the 8-bit parts of both, and codes. */
  readonly minimaOffset: number;
  readonly scalePartsOffset: number;
  readonly minimumPartsOffset: number;
  readonly codesOffset: number;
  readonly groupBytes: number;
  readonly recordBytes: number;
  readonly bandBytes: number;
  readonly sizeBytes: number;
}

export function blockLayout(shape: readonly number[], dtype: BlockDtype): BlockLayout {
  const format = BLOCK_FORMATS[dtype];
  const { blockColumns, recordColumns, scaleColumns, planes, nested, minima } = format;
  const rows = rowCount(shape);
  const columns = shape[shape.length - 1] ?? 1;
  const records = Math.ceil(columns / recordColumns);
  const halvesBytes = (nested ? 1 : recordColumns / scaleColumns) * BAND_ROWS * 2;
  const partsBytes = nested ? (recordColumns / scaleColumns) * BAND_ROWS : 0;
  const minimaOffset = halvesBytes;
  const scalePartsOffset = minimaOffset + (minima ? halvesBytes : 0);
  const minimumPartsOffset = scalePartsOffset + partsBytes;
  const codesOffset = roundUp(minimumPartsOffset + (minima ? partsBytes : 0), LINE_BYTES);
  const groupBytes = planes.reduce((sum, bits) => sum + bits, 0) * LINE_BYTES;
  const recordBytes = codesOffset + (recordColumns / GROUP_COLUMNS) * groupBytes;
  const bandBytes = records * recordBytes;
  return {
    ...format,
    rows,
    columns,
    blocks: Math.ceil(columns / blockColumns),
    groups: Math.ceil(columns / GROUP_COLUMNS),
    records,
    minimaOffset,
    scalePartsOffset,
    minimumPartsOffset,
    codesOffset,
    groupBytes,
    recordBytes,
    bandBytes,
    sizeBytes: Math.ceil(rows / BAND_ROWS) * bandBytes,
  };
}

/** Bytes that a tensor of this type takes. */
export function storageBytes(type: TensorType): number {
  if (type.dtype === "q8") return q8Layout(type.shape).sizeBytes;
  if (isTernary(type.dtype)) return ternaryLayout(type.shape, type.dtype).sizeBytes;
  if (isBlocked(type.dtype)) return blockLayout(type.shape, type.dtype).sizeBytes;
  return elementCount(type.shape) * (DTYPES[type.dtype].elementBytes ?? 0);
}

// Matrices of q8_0 and q4_0 as loops: their rows as float32, for embeddings and for the panels of a large product, and
// the product of a few rows with one, which is bound by reading it: codes become float32 in registers, are multiplied
// and added block by block, and each block's sum is scaled once.

import type { BlockDtype } from "../../dtype.ts";
import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { LowerContext } from "../../op.ts";
import type { BlockLayout } from "../../storage.ts";
import { BLOCK_COLUMNS, blockLayout } from "../../storage.ts";
import type { MatmulDims } from "../matmul.ts";
import { clampedIndex } from "../strided.ts";
import { laneWidths, reduceEach } from "./lanes.ts";

/** A matrix of blocks, and lanes of the vectors that its codes become. */
export interface BlockMatrix extends BlockLayout {
  readonly dtype: BlockDtype;
  readonly lanes: number;
}

export function blockMatrix(context: LowerContext, shape: readonly number[], dtype: BlockDtype): BlockMatrix {
  return { ...blockLayout(shape, dtype), dtype, lanes: Math.min(16, context.lanes) };
}

/** The codes of a block as float32 vectors, in the order of its columns. */
function loadCodes(k: KernelBuilder, { dtype, lanes }: BlockMatrix, address: LoopValue, offset: number): LoopValue[] {
  const codes = dtype === "q8_0" ? loadBytes(k, lanes, address, offset) : loadNibbles(k, lanes, address, offset);
  return codes.map((code) => k.convert(loopType("f32", lanes), code));
}

function loadBytes(k: KernelBuilder, lanes: number, address: LoopValue, offset: number): LoopValue[] {
  if (lanes === 4) return loadPairs(k, address, offset, BLOCK_COLUMNS).flatMap((pair) => halves(k, pair));
  return loadWords(k, lanes, address, offset, BLOCK_COLUMNS);
}

/** The codes in the lower four bits of each byte, then those in the upper ones. */
function loadNibbles(k: KernelBuilder, lanes: number, address: LoopValue, offset: number): LoopValue[] {
  const bytes = BLOCK_COLUMNS / 2;
  const words = lanes === 4 ? loadPairs(k, address, offset, bytes) : loadWords(k, lanes, address, offset, bytes);
  const above = lanes === 4 ? 12 : 28;
  const low = words.map((word) => k.shift("shr_s", k.shift("shl", word, above), above));
  const codes = [...low, ...words.map((word) => k.shift("shr_s", word, 4))];
  return lanes === 4 ? codes.flatMap((code) => halves(k, code)) : codes;
}

/** Signed bytes as i32. */
function loadWords(k: KernelBuilder, lanes: number, address: LoopValue, offset: number, count: number): LoopValue[] {
  const type = loopType("i32", lanes);
  return Array.from({ length: count / lanes }, (_, i) => k.load(type, address, offset + i * lanes, "i8"));
}

/** Signed bytes as i16, eight at a time: four would be as many loads again. */
function loadPairs(k: KernelBuilder, address: LoopValue, offset: number, count: number): LoopValue[] {
  const type = loopType("i16", 8);
  return Array.from({ length: count / 8 }, (_, i) => k.load(type, address, offset + i * 8, "i8"));
}

function halves(k: KernelBuilder, vector: LoopValue): LoopValue[] {
  return [k.widen(vector, "low"), k.widen(vector, "high")];
}

/** Writes `count` blocks as float32 to `to`; their codes and their scales are at these addresses. */
export function unpackBlocks(
  k: KernelBuilder,
  matrix: BlockMatrix,
  codes: LoopValue,
  scales: LoopValue,
  count: number,
  to: LoopValue,
): void {
  k.loop(0, count, 1, (block) => {
    const scale = k.splat(k.load(F32, k.offset(scales, block, 2), 0, "f16"), matrix.lanes);
    const target = k.offset(to, block, BLOCK_COLUMNS * 4);
    const vectors = loadCodes(k, matrix, k.offset(codes, block, matrix.blockBytes), 0);
    vectors.forEach((vector, i) => k.store(k.mul(vector, scale), target, i * matrix.lanes * 4));
  });
}

/** Writes one row, from block `first` on, as float32. */
export function unpackRow(
  k: KernelBuilder,
  matrix: BlockMatrix,
  base: LoopValue,
  row: LoopValue,
  to: LoopValue,
  part: { readonly first: LoopValue; readonly count: number } = { first: k.index(0), count: matrix.blocks },
): void {
  const codes = k.offset(k.offset(base, row, matrix.rowBytes), part.first, matrix.blockBytes);
  const scales = k.offset(k.offset(k.add(base, k.index(matrix.scalesOffset)), row, matrix.blocks * 2), part.first, 2);
  unpackBlocks(k, matrix, codes, scales, part.count, to);
}

/** `dequantize` of a tensor of blocks. */
export function dequantizeBlocks(context: LowerContext, dtype: BlockDtype): void {
  const matrix = blockMatrix(context, context.node.inputs[0]!.shape, dtype);
  const { rows, columns } = matrix;
  const perChunk = Math.max(1, Math.floor(context.chunkElements / columns));
  const buffers = [context.input(0), context.result(0)];
  context.call(`dequantize_${dtype}`, Math.ceil(rows / perChunk), 2 * rows * columns, buffers, (k, [x, y]) => {
    const first = k.mul(k.chunk, k.index(perChunk));
    const end = k.min(k.add(first, k.index(perChunk)), k.index(rows));
    k.loop(first, end, 1, (row) => unpackRow(k, matrix, x!, row, k.offset(y!, row, columns * 4)));
  });
}

/** `gather` of rows of a matrix of blocks, as float32. */
export function gatherBlocks(context: LowerContext, dtype: BlockDtype, ids: number): void {
  const matrix = blockMatrix(context, context.node.inputs[0]!.shape, dtype);
  const { rows, columns } = matrix;
  const perChunk = Math.max(1, Math.floor(context.chunkElements / columns));
  const buffers = [context.input(0), context.input(1), context.result(0)];
  context.call(`gather_${dtype}`, Math.ceil(ids / perChunk), 2 * ids * columns, buffers, (k, [table, idsAt, y]) => {
    const first = k.mul(k.chunk, k.index(perChunk));
    k.loop(first, k.min(k.add(first, k.index(perChunk)), k.index(ids)), 1, (i) => {
      const row = clampedIndex(k, k.offset(idsAt!, i, 4), rows - 1);
      unpackRow(k, matrix, table!, row, k.offset(y!, i, columns * 4));
    });
  });
}

/** Weights of a chunk of a row product, about. */
const CHUNK_WEIGHTS = 32768;
/** Sums that are added to side by side, so that none waits for the one before. */
const SUMS = 4;

/** A few rows x[m, k] times the rows of a matrix of blocks [n, k]. A chunk is some of those. */
export function lowerBlockRowProduct(context: LowerContext, dims: MatmulDims, dtype: BlockDtype): void {
  const { m, n, k: inner } = dims;
  const matrix = blockMatrix(context, context.node.inputs[1]!.shape, dtype);
  const perChunk = Math.max(1, Math.floor(CHUNK_WEIGHTS / inner));
  const buffers = [context.input(0), context.input(1), context.result(0)];
  context.call("block_rows", Math.ceil(n / perChunk), 2 * m * n * inner, buffers, (k, [x, w, y]) => {
    const scales = k.allocateScratch(matrix.blocks * 4);
    const first = k.mul(k.chunk, k.index(perChunk));
    k.loop(first, k.min(k.add(first, k.index(perChunk)), k.index(n)), 1, (row) => {
      widenScales(k, matrix, k.offset(k.add(w!, k.index(matrix.scalesOffset)), row, matrix.blocks * 2), scales);
      const sums = dotBlocks(k, matrix, m, { x: x!, codes: k.offset(w!, row, matrix.rowBytes), scales });
      sums.forEach((sum, r) => k.store(sum, k.offset(y!, row, 4), r * n * 4));
    });
  });
}

/** The scales of a row as float32 [blocks]. */
function widenScales(k: KernelBuilder, { blocks, lanes }: BlockMatrix, from: LoopValue, to: LoopValue): void {
  let done = 0;
  for (const width of laneWidths(lanes)) {
    const end = blocks - ((blocks - done) % width);
    k.loop(done, end, width, (block) => {
      k.store(k.load(loopType("f32", width), k.offset(from, block, 2), 0, "f16"), k.offset(to, block, 4));
    });
    done = end;
  }
}

interface BlockRow {
  readonly x: LoopValue;
  readonly codes: LoopValue;
  readonly scales: LoopValue;
}

/** The products of one row with `m` rows of x, as scalars. */
function dotBlocks(k: KernelBuilder, matrix: BlockMatrix, m: number, at: BlockRow): LoopValue[] {
  const { blocks, lanes } = matrix;
  const together = Math.max(1, Math.floor(SUMS / m));
  const whole = blocks - (blocks % together);
  const type = loopType("f32", lanes);
  const zeros = Array.from({ length: m * together }, () => k.constant(type, 0));
  const partial = k.for(0, whole, together, zeros, (block, sums) => addBlocks(k, matrix, at, block, sums, together));
  const joined = Array.from({ length: m }, (_, r) => {
    const parts = Array.from({ length: together }, (_u, u) => partial[u * m + r]!);
    return parts.reduce((sum, part) => k.add(sum, part));
  });
  const sums = k.for(whole, blocks, 1, joined, (block, carried) => addBlocks(k, matrix, at, block, carried, 1));
  const totals = reduceEach(k, sums, (a, b) => k.add(a, b));
  return sums.map((_, r) => k.extract(totals, r));
}

/** Adds the products of `count` blocks to sums [count][m]. */
function addBlocks(
  k: KernelBuilder,
  matrix: BlockMatrix,
  { x, codes, scales }: BlockRow,
  block: LoopValue,
  sums: readonly LoopValue[],
  count: number,
): LoopValue[] {
  const { lanes, blockBytes, blocks } = matrix;
  const m = sums.length / count;
  const type = loopType("f32", lanes);
  const [codesAt, scalesAt] = [k.offset(codes, block, blockBytes), k.offset(scales, block, 4)];
  const xAt = k.offset(x, block, BLOCK_COLUMNS * 4);
  return Array.from({ length: count }, (_, u) => {
    const weights = loadCodes(k, matrix, codesAt, u * blockBytes);
    const scale = k.loadSplat(type, scalesAt, u * 4);
    return Array.from({ length: m }, (_r, r) => {
      const offset = (r * blocks + u) * BLOCK_COLUMNS * 4;
      const factor = (i: number): LoopValue => k.load(type, xAt, offset + i * lanes * 4);
      const dot = weights.slice(1).reduce((sum, w, i) => k.fma(w, factor(i + 1), sum), k.mul(weights[0]!, factor(0)));
      return k.fma(dot, scale, sums[u * m + r]!);
    });
  }).flat();
}

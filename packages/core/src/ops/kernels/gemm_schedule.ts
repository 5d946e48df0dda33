// How a matrix product is cut: its block of registers, its chunks, and who packs what. The first schedule of a product
// goes by rules that measurements gave (the kernels' and the training benches); the others are for the tuner. After
// Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).

import type { VectorTarget } from "../../op.ts";
import { DEFAULT_REGISTERS } from "../../op.ts";
import type { MatmulDims } from "../matmul.ts";
import { registerBlocks } from "./register_block.ts";

/** The blocking of a product. */
export type GemmSchedule = {
  /** Rows and vectors of the register block. */
  readonly rows: number;
  readonly vectors: number;
  /** Rows and columns of a chunk. */
  readonly chunkRows: number;
  readonly chunkColumns: number;
  /** Whether chunks pack their rows of A. */
  readonly packA: boolean;
  /** Whether B is packed before all chunks, and not by each of them. */
  readonly shareB: boolean;
};

/**
 * Chunks that a product is cut into where its size allows it, so that a few threads share the work evenly, and rows of
 * one at least. A transposed A is an activation of a weight's gradient: many tokens by a few rows, and every chunk
 * passes all of B through its cache, so there are fewer and higher ones.
 */
const CHUNKS = 8;
const CHUNK_ROWS_MIN = 32;
const TRANSPOSED_CHUNKS = 4;
const TRANSPOSED_CHUNK_ROWS_MIN = 64;
/** Rows of a chunk at most, so that its packed rows stay in the second cache. */
const CHUNK_ROWS_MAX = 256;
/**
 * Columns of a chunk at most: rows of A are packed for each chunk of columns, and its results lie in a near cache when
 * the next block of the inner dimension adds to them.
 */
const CHUNK_COLUMNS_MAX = 2048;
/** The same of chunks that pack their own columns. So many rows at most pay for packing, all of them in one chunk. */
const OWN_COLUMNS_MAX = 128;
const OWN_ROWS_MAX = 512;
/** Chunks of columns that are enough to share the work without cutting rows. */
const OWN_CHUNKS_MIN = 4;
/** Steps of the inner dimension that are summed by themselves: a panel of that depth stays in the first cache. */
const INNER_STEPS = 256;
/** Up to so many are one block: the rest would pass the result once more for few of them. */
const INNER_STEPS_MAX = 384;
/**
 * The gradient of a small weight: few rows and columns, many tokens. Its operands come from far and are used little, so
 * that packing one of them before all chunks passes it three times. Chunks of one panel pack that panel while they
 * multiply, all rows in one chunk, in blocks so short that lines of A that lie a power of two apart stay in the first
 * cache until the next rows want the rest of them.
 */
const SMALL_ROWS_MAX = OWN_ROWS_MAX;
const SMALL_COLUMNS_MAX = 1024;
const SMALL_STEPS_MIN = 1024;
const SMALL_INNER_STEPS = 96;
const SMALL_CHUNK_COLUMNS = 64;
const SMALL_CHUNKS = 2;

/**
 * Schedules that are worth a try. The first goes by rules that measurements gave (the kernels' bench); the others are
 * blocks of registers with lower and higher chunks, and other places of packing. `narrowA`: A has to be packed.
 */
export function gemmSchedules(
  dims: MatmulDims,
  lanes: number,
  target: VectorTarget,
  transposeA: boolean,
  narrowA = false,
): readonly GemmSchedule[] {
  const blocks = registerBlocks(lanes, target);
  const hasMany = hasManyRegisters(target);
  const isSmall = isSmallGradient(dims, target, transposeA);
  // Both operands of a weight's gradient come from far: wider blocks read less of them for each multiply-add.
  const usual = isSmall ? blocks[3]! : transposeA && hasMany ? blocks[1]! : blocks[0]!;
  const mayShare = dims.batch === 1 && dims.m > 64;
  // What each chunk packs for itself comes from memory while it multiplies; what is shared is written there and read.
  const columnChunks = Math.ceil(dims.n / OWN_COLUMNS_MAX);
  const shares = mayShare && !isSmall && (transposeA || dims.m > OWN_ROWS_MAX || columnChunks < OWN_CHUNKS_MIN);
  // Packed rows pay where each is read often, and lie far apart in place.
  const packs = narrowA || (hasMany && !isSmall && dims.n >= 512 && (transposeA || (shares && dims.k >= 1024)));
  const schedules = [usual, ...blocks].flatMap((block) => {
    const at = (scale: number, packA: boolean, shareB: boolean): GemmSchedule => ({
      ...block,
      ...chunkOf(dims, lanes * block.vectors, block.rows, { transposeA, isSmall, shareB, scale }),
      packA,
      shareB,
    });
    const others = [at(1, packs, false), at(2, packs, false), at(1, packs, mayShare)];
    return [
      at(1, packs, shares),
      at(0.5, packs, shares),
      at(2, packs, shares),
      at(1, narrowA || !packs, shares),
      ...others,
    ];
  });
  return [...new Map(schedules.map((schedule) => [JSON.stringify(schedule), schedule])).values()];
}

function hasManyRegisters({ registers = DEFAULT_REGISTERS }: VectorTarget): boolean {
  return registers >= 32;
}

function isSmallGradient({ m, n, k, batch }: MatmulDims, target: VectorTarget, transposeA: boolean): boolean {
  const isSmall = batch === 1 && m <= SMALL_ROWS_MAX && n <= SMALL_COLUMNS_MAX && k >= SMALL_STEPS_MIN;
  return isSmall && transposeA && hasManyRegisters(target);
}

/**
 * Steps of the inner dimension that are summed by themselves before they are added to the result, and packed at once.
 * No schedule changes it, for it says in which order numbers are added.
 */
export function innerSteps(dims: MatmulDims, target: VectorTarget, transposeA: boolean): number {
  if (isSmallGradient(dims, target, transposeA)) return SMALL_INNER_STEPS;
  return dims.k <= INNER_STEPS_MAX ? dims.k : INNER_STEPS;
}

interface ChunkOptions {
  readonly transposeA: boolean;
  readonly isSmall: boolean;
  readonly shareB: boolean;
  readonly scale: number;
}

/** Rows and columns of a chunk: `scale` times the usual rows. */
function chunkOf(
  { m, n, batch }: MatmulDims,
  width: number,
  rows: number,
  { transposeA, isSmall, shareB, scale }: ChunkOptions,
): { readonly chunkRows: number; readonly chunkColumns: number } {
  // With B packed once, chunks may be narrow in rows; otherwise a chunk of few rows spends its time on packing.
  const ownColumnsMax = isSmall ? SMALL_CHUNK_COLUMNS : OWN_COLUMNS_MAX;
  const [rowsMax, columnsMax] = shareB ? [CHUNK_ROWS_MAX, CHUNK_COLUMNS_MAX] : [OWN_ROWS_MAX, ownColumnsMax];
  const chunkColumns = Math.min(roundTo(n, width), roundTo(columnsMax, width));
  const columnChunks = Math.ceil(n / chunkColumns) * batch;
  const chunks = isSmall ? SMALL_CHUNKS : transposeA ? TRANSPOSED_CHUNKS : CHUNKS;
  const wanted = Math.max(1, Math.ceil(chunks / columnChunks));
  const leastRows = transposeA ? TRANSPOSED_CHUNK_ROWS_MIN : CHUNK_ROWS_MIN;
  const usual = Math.max(leastRows, Math.min(rowsMax, Math.ceil(m / wanted)));
  return { chunkRows: roundTo(Math.min(scale * usual, m), rows), chunkColumns };
}

/** The least multiple of `step` that is no less than `value`. */
export function roundTo(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

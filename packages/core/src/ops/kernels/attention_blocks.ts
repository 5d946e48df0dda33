// What the kernels of attention and of its reverse pass share: where heads lie, how large blocks are, and the packing
// of keys and values into panels [size][keys of a panel], from which scores of several keys come in one vector, and
// small heads that share a chunk.

import type { KernelBuilder } from "../../loop/builder.ts";
import { I32, INDEX, loopType } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import type { BufferHandle, LowerContext } from "../../op.ts";
import type { AttentionDims } from "../attention.ts";
import type { AttentionMask } from "./attention_mask.ts";
import { alignDown, firstOfKeys, limitOf } from "./attention_mask.ts";
import { cellBytes, loadElement } from "../cells.ts";
import type { PanelCells } from "./gemm_pack.ts";
import { packPanel } from "./gemm_pack.ts";
import { pieceOffsets, rowPieces } from "./lanes.ts";
import { clampedIndex } from "../strided.ts";

/** Byte strides from one time step to the next. */
export interface HeadStrides {
  readonly query: number;
  readonly key: number;
  readonly value: number;
  readonly output: number;
}

export function headStrides({ heads, keyHeads, size, valueSize, cache }: AttentionDims): HeadStrides {
  const bytes = cellBytes(cache);
  return {
    query: heads * size * 4,
    key: keyHeads * size * bytes,
    value: keyHeads * valueSize * bytes,
    output: heads * valueSize * 4,
  };
}

/** How keys and values are read where they are not stored as float32. */
export function cacheCells({ cache }: AttentionDims): PanelCells | undefined {
  if (cache === "f32") return undefined;
  return {
    bytes: cellBytes(cache),
    load: (k, type, address, offset) => loadElement(k, cache, type.lanes, address, offset),
  };
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

/** That of a sequence: the same for all of them, or each its own where there are pages. */
export function positionOf(
  k: KernelBuilder,
  { paged }: AttentionDims,
  positions: LoopValue,
  sequence: LoopValue,
): LoopValue {
  return loadPosition(k, paged === undefined ? positions : k.offset(positions, sequence, 4));
}

/**
 * The row of [rows, heads, size] in which position 0 of the sequence would lie if all of its keys lay like `key`, whose
 * page is found in `table`: negative numbers of rows are fine.
 */
export function firstRow(
  k: KernelBuilder,
  { paged, capacity }: AttentionDims,
  table: LoopValue | undefined,
  sequence: LoopValue,
  key: LoopValue,
): LoopValue {
  if (paged === undefined || table === undefined) return k.mul(sequence, k.index(capacity));
  const { pages, pageSize } = paged;
  const number = k.div(key, k.index(pageSize));
  const entry = k.add(k.mul(sequence, k.index(capacity / pageSize)), number);
  return k.mul(k.sub(clampedIndex(k, k.offset(table, entry, 4), pages - 1), number), k.index(pageSize));
}

/** The largest multiple of `width` keys, by a power of two, that a page can be cut into, up to `keys`. */
export function keysWithinPage({ paged }: AttentionDims, keys: number, width: number): number {
  return paged === undefined ? keys : Math.min(width * 2 ** Math.floor(Math.log2(keys / width)), paged.pageSize);
}

/** How attention over blocks of queries and keys is cut up. */
export interface AttentionSchedule {
  /** Queries, and vectors of keys or of head elements, of a register block. */
  readonly rows: number;
  readonly vectors: number;
  /** Queries of a block, a multiple of `rows`, and keys of one, a multiple of a panel's. */
  readonly queryBlock: number;
  readonly keyBlock: number;
}

/**
 * Blocks of up to `keys` keys such that they and their values stay in `cacheBytes` while the queries of a block go over
 * them.
 */
export function chooseAttentionSchedule(
  dims: AttentionDims,
  { lanes, joinsVectors, registers }: LowerContext,
  queries: number,
  keys: number,
  cacheBytes: number,
): AttentionSchedule {
  const { time, size, valueSize } = dims;
  const rows = registers >= 32 ? Math.min(8, lanes) : 4;
  const vectors = joinsVectors || (registers >= 32 && rows < 8) ? 4 : 2;
  const width = vectors * lanes;
  const fitting = Math.floor(cacheBytes / (4 * (size + valueSize)));
  const keyBlock = Math.max(1, Math.min(Math.floor(fitting / width), Math.floor(keys / width))) * width;
  const ofPage = keysWithinPage(dims, keyBlock, width);
  return { rows, vectors, keyBlock: ofPage, queryBlock: Math.min(queries, Math.ceil(time / rows) * rows) };
}

/** Panels of a head's keys or values. */
export interface HeadPanels {
  /** [batch, key heads, panels, size, width]. */
  readonly buffer: BufferHandle;
  /** Keys of a panel. */
  readonly width: number;
  readonly headBytes: number;
}

/** Panels that one chunk packs. */
const PANELS_PER_CHUNK = 8;

/** Packs the visible keys or values, of `size` elements, of all heads; those that nobody sees stay unset. */
export function packHeads(
  context: LowerContext,
  dims: AttentionDims,
  mask: AttentionMask,
  rows: BufferHandle,
  size: number,
  [position, ...table]: readonly BufferHandle[],
  width: number,
): HeadPanels {
  const { batch, keyHeads, capacity } = dims;
  const panels = Math.ceil(capacity / width);
  const headBytes = panels * width * size * 4;
  const buffer = context.temporary(batch * keyHeads * headBytes);
  const perHead = Math.ceil(panels / PANELS_PER_CHUNK);
  const work = batch * keyHeads * capacity * size;
  context.call("attention_pack", batch * keyHeads * perHead, work, [rows, buffer, position!, ...table], (k, bases) => {
    const [from, to, positionAt, tableAt] = bases as readonly [LoopValue, LoopValue, LoopValue, LoopValue?];
    const head = k.div(k.chunk, k.index(perHead));
    const [sequence, keyHead] = [k.div(head, k.index(keyHeads)), k.rem(head, k.index(keyHeads))];
    const first = k.mul(k.rem(k.chunk, k.index(perHead)), k.index(PANELS_PER_CHUNK * width));
    const keys = {
      dims,
      mask,
      rows: from,
      table: tableAt,
      size,
      width,
      sequence,
      keyHead,
      position: positionOf(k, dims, positionAt, sequence),
    };
    const end = k.add(first, k.index(PANELS_PER_CHUNK * width));
    packKeys(k, loopType("f32", context.lanes), keys, first, end, k.offset(to, head, headBytes));
  });
  return { buffer, width, headBytes };
}

/** The keys or values of one head, to be packed. */
export interface HeadKeys {
  readonly dims: AttentionDims;
  readonly mask: AttentionMask;
  /** [rows, key heads, size], and the pages' table where there is one. */
  readonly rows: LoopValue;
  readonly table: LoopValue | undefined;
  readonly size: number;
  /** Keys of a panel. */
  readonly width: number;
  readonly sequence: LoopValue;
  readonly keyHead: LoopValue;
  readonly position: LoopValue;
}

/** Packs all keys or values of a head that are seen, by the chunk that alone needs them; gives their panels. */
export function packHead(k: KernelBuilder, vector: LoopType, keys: HeadKeys): LoopValue {
  const { dims, size, width } = keys;
  const to = k.allocateScratch(Math.ceil(dims.capacity / width) * width * size * 4);
  packKeys(k, vector, keys, k.index(0), k.index(dims.capacity), to);
  return to;
}

/** Packs those of the keys from one, a multiple of `width`, to before another that are seen, to the head's panels. */
function packKeys(
  k: KernelBuilder,
  vector: LoopType,
  keys: HeadKeys,
  low: LoopValue,
  high: LoopValue,
  panels: LoopValue,
): void {
  const { dims, mask, size, width, sequence, keyHead, position } = keys;
  const { time, capacity } = mask;
  const bytes = cellBytes(dims.cache);
  const strides = { element: dims.keyHeads * size * bytes, depth: bytes, cells: cacheCells(dims) };
  const visible = k.min(k.add(position, k.index(time)), k.index(capacity));
  const start = alignDown(k, firstOfKeys(k, mask, limitOf(k, mask, position, k.index(0))), width);
  const first = mask.window === undefined ? low : k.max(low, start);
  k.loop(first, k.min(high, visible), width, (key) => {
    const row = k.add(firstRow(k, dims, keys.table, sequence, key), key);
    const panel = {
      from: k.offset(k.offset(keys.rows, row, strides.element), keyHead, size * bytes),
      to: k.offset(panels, key, size * 4),
    };
    const pack = (count: number) => (): readonly LoopValue[] => {
      packPanel(k, { ...panel, strides, count, width, depth: size }, vector);
      return [];
    };
    const rest = capacity % width;
    if (rest === 0) pack(width)();
    else k.if(k.compare("le", k.add(key, k.index(width)), k.index(capacity)), pack(width), pack(rest));
  });
}

/**
 * Runs `body` for each panel of `keys` keys with the vectors of it that are needed: the last one may do with half. Its
 * carried values are those of the loop.
 */
export function eachPanel(
  k: KernelBuilder,
  keys: LoopValue,
  { vectors }: AttentionSchedule,
  lanes: number,
  inits: readonly LoopValue[],
  body: (at: LoopValue, vectors: number, carried: readonly LoopValue[]) => readonly LoopValue[],
): readonly LoopValue[] {
  return k.for(0, keys, vectors * lanes, inits, (at, carried) =>
    k.if(
      k.compare("le", k.sub(keys, at), k.index((vectors / 2) * lanes)),
      () => body(at, vectors / 2, carried),
      () => body(at, vectors, carried),
    ),
  );
}

/** Sets `rows` rows of `size` floats to zero. */
export function clearRows(
  k: KernelBuilder,
  rows: LoopValue,
  count: number | LoopValue,
  strideBytes: number,
  size: number,
  lanes: number,
): void {
  k.loop(0, count, 1, (row) => {
    const at = k.offset(rows, row, strideBytes);
    for (const piece of rowPieces(size, lanes, size)) {
      for (const offset of pieceOffsets(piece)) k.store(k.constant(piece.type, 0), at, offset);
    }
  });
}

/** Runs `body` for groups of `rows` of `count` rows; the last one is lower where `total` rows do not divide. */
export function rowGroups(
  k: KernelBuilder,
  count: LoopValue,
  total: number,
  rows: number,
  body: (row: LoopValue, rows: number) => void,
): void {
  const whole = k.sub(count, k.rem(count, k.index(rows)));
  k.loop(0, whole, rows, (row) => body(row, rows));
  if (total % rows > 0) k.loop(whole, count, rows, (row) => body(row, total % rows));
}

/** Chunks that are enough for several small heads in each. */
const MANY_CHUNKS = 16;
const LINE_BYTES = 64;

/**
 * Key heads of a chunk: several of a sequence where there are many, and so small that one with its queries is soon done
 * and the next one's, asked for meanwhile, stay in the second cache.
 */
export function headsOfChunk(dims: AttentionDims, cacheBytes: number): number {
  const { batch, time, keyHeads, groupSize, capacity, size, valueSize } = dims;
  if ((groupSize * time + capacity) * (size + valueSize) * 4 > cacheBytes / 4) return 1;
  let together = Math.min(keyHeads, Math.floor((batch * keyHeads) / MANY_CHUNKS));
  while (together > 1 && keyHeads % together > 0) together--;
  return Math.max(1, together);
}

/** Asks for rows of so many bytes that lie `ahead` bytes behind these. */
export function askForRows(
  k: KernelBuilder,
  at: LoopValue,
  rows: number,
  strideBytes: number,
  aheadBytes: number,
  rowBytes: number,
): void {
  for (let row = 0; row < rows; row++) {
    for (let line = 0; line < rowBytes; line += LINE_BYTES) k.prefetch(at, row * strideBytes + aheadBytes + line);
  }
}

// How much each step of a chunk of the generalised delta rule (delta_chunk.ts) reads of what the others wrote: the
// product of its reader with what was written, times the decays between. Within a few steps, a block, keys go through
// the decays one by one, in registers. Between blocks readers are decayed to the start of theirs, and keys to there,
// as sub-chunks of gated linear attention have it (Yang et al. 2023, arXiv 2312.06635), so that their weights are
// products alone. No decay is divided by.

import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { DeltaDims } from "../generalized_delta_rule_parts.ts";
import type { ChunkScratch, ChunkShape, KeyRows, StepRows } from "./delta_chunk.ts";
import { sumEach } from "./lanes.ts";

/** What reads states: q those after a step, a those before it. */
export type Reader = "q" | "a";
/** What is written to them: v with k, and u with b. */
export type Written = "k" | "b";

/** What of each kind of key or value written is read, [weightBytes / 4] as `weightAt` says. */
export interface Weights {
  readonly k: LoopValue;
  readonly b: LoopValue | undefined;
}

/** Steps of a block, whose weights registers hold the sums of. */
export const BLOCK = 4;
/** Bytes of the weights of two blocks: those of a, and of q, for each of the keys. */
const PAIR_BYTES = 2 * BLOCK * BLOCK * 4;

/** The steps of a block: at most `BLOCK`. */
interface Block {
  readonly first: number;
  readonly last: number;
}

/** Bytes of the weights of a chunk. */
export function weightBytes({ steps }: ChunkShape): number {
  return Math.ceil(steps / BLOCK) ** 2 * PAIR_BYTES;
}

function blocksOf({ steps }: ChunkShape): Block[] {
  const first = Array.from({ length: Math.ceil(steps / BLOCK) }, (_, i) => i * BLOCK);
  return first.map((step) => ({ first: step, last: Math.min(steps, step + BLOCK) }));
}

/** The byte offset of the weights that the block of step `t` has for what that of step `s` wrote. */
function pairAt({ steps }: ChunkShape, t: number, s: number): number {
  return (Math.floor(t / BLOCK) * Math.ceil(steps / BLOCK) + Math.floor(s / BLOCK)) * PAIR_BYTES;
}

/** The byte offset of the weight of what step `s` wrote for a reader of step `t`: s up to t for q, before it for a. */
export function weightAt(shape: ChunkShape, reader: Reader, t: number, s: number): number {
  const { dims, steps } = shape;
  const [row, column] = [t % BLOCK, s % BLOCK];
  const count = Math.min(BLOCK, steps - t + row);
  const isSecond = reader === "q" && dims.erases;
  const place =
    t - row === s - column
      ? // The sums of a, and then those of q: each a triangle, row by row.
        (isSecond ? triangle(count - 1) : 0) + triangle(reader === "q" ? row : row - 1) + column
      : ((isSecond ? count : 0) + row) * BLOCK + column;
  return pairAt(shape, t, s) + place * 4;
}

function triangle(rows: number): number {
  return (rows * (rows + 1)) / 2;
}

/** Readers, in the order of their weights. */
function readersOf({ erases }: DeltaDims, outputs: boolean): readonly Reader[] {
  return [...(erases ? (["a"] as const) : []), ...(outputs ? (["q"] as const) : [])];
}

/** Readers and steps that a block has weights for, in order. */
function within(dims: DeltaDims, { first, last }: Block, outputs: boolean): [reader: Reader, t: number, s: number][] {
  return readersOf(dims, outputs).flatMap((reader) =>
    Array.from({ length: last - first }, (_, row) => first + row).flatMap((t) =>
      Array.from({ length: t - first + (reader === "q" ? 1 : 0) }, (_, s): [Reader, number, number] => {
        return [reader, t, first + s];
      }),
    ),
  );
}

/**
 * Decays the keys of a chunk, and weighs what the readers read: entry (t, s) is the product of reader t with what was
 * written in step s, times the decays between. Without `outputs`, q is left out.
 */
export function weighKeys(
  k: KernelBuilder,
  shape: ChunkShape,
  chunk: ChunkScratch,
  keys: KeyRows,
  outputs = true,
): void {
  const readers = readersOf(shape.dims, outputs);
  for (const block of blocksOf(shape)) {
    const written = (["k", "b"] as const).filter((name) => keys[name] !== undefined);
    for (const name of written) weighWithin(k, shape, chunk, keys, block, name, outputs);
    if (block.first === 0) continue;
    for (const name of written) {
      const rows = readers.map((reader) => chunk.decayed[reader]!);
      weighAcross(k, shape, shape.keyBytes, rows, chunk.decayed[name]!, block, chunk.weights[name]!);
    }
    decayAcross(k, shape, chunk, block, readers, written);
  }
}

/** The decays of step t for the keys at a byte offset. */
export function loadDecay(
  k: KernelBuilder,
  { dims, lanes, keyBytes }: ChunkShape,
  { decays }: ChunkScratch,
  t: number,
  at: LoopValue,
): LoopValue {
  const type = loopType("f32", lanes);
  return dims.decays === 1 ? k.loadSplat(type, decays, t * 4) : k.load(type, k.add(decays, at), t * keyBytes);
}

/**
 * What the steps of a block read of its own keys, which are left in scratch as they are at its end; with k, also the
 * readers, decayed to the block's start, and the product of its decays.
 */
function weighWithin(
  k: KernelBuilder,
  shape: ChunkShape,
  chunk: ChunkScratch,
  rows: KeyRows,
  block: Block,
  written: Written,
  outputs: boolean,
): void {
  const { dims, lanes, keyBytes } = shape;
  const { first, last } = block;
  const type = loopType("f32", lanes);
  const isFirst = written === "k";
  const order = within(dims, block, outputs);
  const none = order.map(() => k.constant(type, 0));
  const sums = k.for(0, keyBytes, lanes * 4, none, (at, carried) => {
    const next = [...carried];
    const own = (of: StepRows, t: number): LoopValue => k.load(type, k.add(of.at, at), t * of.strideBytes);
    let kept: LoopValue[] = [];
    let product: LoopValue | undefined;
    const read = (reader: Reader, t: number): void => {
      const row = own(rows[reader]!, t);
      const start = order.findIndex(([name, step]) => name === reader && step === t);
      kept.forEach((key, s) => (next[start + s] = k.fma(row, key, next[start + s]!)));
      if (!isFirst) return;
      k.store(product === undefined ? row : k.mul(product, row), k.add(chunk.decayed[reader]!, at), t * keyBytes);
    };
    for (let t = first; t < last; t++) {
      if (dims.erases && (isFirst || t > first)) read("a", t);
      const decay = loadDecay(k, shape, chunk, t, at);
      kept = [...kept.map((key) => k.mul(key, decay)), own(rows[written]!, t)];
      if (isFirst) product = product === undefined ? decay : k.mul(product, decay);
      if (outputs) read("q", t);
    }
    if (isFirst) k.store(product!, k.add(first === 0 ? chunk.product : chunk.blockProduct, at));
    kept.forEach((key, s) => k.store(key, k.add(chunk.decayed[written]!, at), (first + s) * keyBytes));
    return next;
  });
  storeDots(k, sums, chunk.weights[written]!, pairAt(shape, first, first));
}

/** Takes the readers of a block to the chunk's start, and what was written before the block to its end. */
function decayAcross(
  k: KernelBuilder,
  { lanes, keyBytes }: ChunkShape,
  { decayed, product, blockProduct }: ChunkScratch,
  { first, last }: Block,
  readers: readonly Reader[],
  written: readonly Written[],
): void {
  const type = loopType("f32", lanes);
  k.loop(0, keyBytes, lanes * 4, (at) => {
    const [before, own] = [k.load(type, k.add(product, at)), k.load(type, k.add(blockProduct, at))];
    const scale = (rows: LoopValue, step: number, factor: LoopValue): void => {
      const row = k.add(rows, at);
      k.store(k.mul(k.load(type, row, step * keyBytes), factor), row, step * keyBytes);
    };
    for (const name of readers) for (let t = first; t < last; t++) scale(decayed[name]!, t, before);
    for (const name of written) for (let s = 0; s < first; s++) scale(decayed[name]!, s, own);
    k.store(k.mul(before, own), k.add(product, at));
  });
}

/** What the steps of a block read of blocks before it: products of rows of `readers` and of what was written. */
function weighAcross(
  k: KernelBuilder,
  shape: ChunkShape,
  rowBytes: number,
  readers: readonly LoopValue[],
  written: LoopValue,
  { first, last }: Block,
  to: LoopValue,
): void {
  const { lanes } = shape;
  const steps = Array.from({ length: last - first }, (_, row) => first + row);
  const rows = readers.flatMap((reader) => steps.map((t): Row => [reader, t * rowBytes]));
  for (let from = 0; from < first; from += BLOCK) {
    const keys = Array.from({ length: BLOCK }, (_, s): Row => [written, (from + s) * rowBytes]);
    for (let some = 0; some < rows.length; some += BLOCK) {
      const pairs = rows.slice(some, some + BLOCK).flatMap((row) => keys.map((key): [Row, Row] => [row, key]));
      storeProducts(k, lanes, rowBytes, pairs, to, pairAt(shape, first, from) + some * BLOCK * 4);
    }
  }
}

/** The products of what readers give and of what was written, by steps, both [steps, rows]: laid out as weights are. */
export function weighValues(
  k: KernelBuilder,
  shape: ChunkShape,
  values: Readonly<Record<Reader | Written, LoopValue | undefined>>,
  to: Weights,
): void {
  const { dims, lanes, rowBytes } = shape;
  const readers = readersOf(dims, true).map((reader) => values[reader]!);
  for (const name of ["k", "b"] as const) {
    const written = values[name];
    if (written === undefined) continue;
    for (const block of blocksOf(shape)) {
      const pairs = within(dims, block, true).map(([reader, t, s]): [Row, Row] => [
        [values[reader]!, t * rowBytes],
        [written, s * rowBytes],
      ]);
      storeProducts(k, lanes, rowBytes, pairs, to[name]!, pairAt(shape, block.first, block.first));
      weighAcross(k, shape, rowBytes, readers, written, block, to[name]!);
    }
  }
}

/** A row of some rows: their base and its byte offset. */
type Row = readonly [base: LoopValue, offset: number];

/** Stores the sums over rows of the products of pairs of rows, side by side. */
function storeProducts(
  k: KernelBuilder,
  lanes: number,
  rowBytes: number,
  pairs: readonly (readonly [Row, Row])[],
  to: LoopValue,
  offset: number,
): void {
  const type = loopType("f32", lanes);
  const none = pairs.map(() => k.constant(type, 0));
  const sums = k.for(0, rowBytes, lanes * 4, none, (at, so) => {
    const loaded = new Map<string, LoopValue>();
    const load = ([base, row]: Row): LoopValue => {
      const key = `${base.id} ${row}`;
      if (!loaded.has(key)) loaded.set(key, k.load(type, k.add(base, at), row));
      return loaded.get(key)!;
    };
    return pairs.map(([reader, key], i) => k.fma(load(reader), load(key), so[i]!));
  });
  storeDots(k, sums, to, offset);
}

/** Stores the sums over the lanes of each of some vectors side by side. */
function storeDots(k: KernelBuilder, vectors: readonly LoopValue[], to: LoopValue, offset: number): void {
  if (vectors.length === 0) return;
  const { lanes } = vectors[0]!.type;
  for (let first = 0; first < vectors.length; first += lanes) {
    k.store(sumEach(k, vectors.slice(first, first + lanes)), to, offset + first * 4);
  }
}

// The generalised delta rule a chunk of steps at a time, as products of matrices: the chunked form of DeltaNet (Yang et
// al. 2024, arXiv 2406.06484) with the decays of gated linear attention (arXiv 2312.06635). Within a chunk that begins
// with the state S, and with G_t the product of the decays of its steps up to t, element by element,
//   S_t = S G_t + sum over s <= t of (v_s k_s^T + u_s b_s^T) G_t / G_s,    u_t = S_{t-1} a_t,    o_t = S_t q_t,
// so that u and o are products of S with a_t G_{t-1} and q_t G_t, and what earlier steps of the chunk wrote, each
// weighed by one number: that of its key and the reader, with the decays between. The u of a chunk thus solve a
// triangular system. Products of decays are taken step by step and never divided by, so that they may vanish.
//
// A step costs two or four multiply-adds an element of the state, and some for each other step of the chunk; the state
// is read and written once a chunk. Backwards, the cotangent of the state is the same recurrence from the last step to
// the first with do, q, the products G b = e, a and b in the places of v, k, u, b and a; its sums need the same
// weights.
//
// States lie in scratch as [keys, rows], rows being elements of the value, and all rows of vectors are whole there:
// what is beyond an array's end is zero.

import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import type { Node } from "../../graph.ts";
import type { LowerContext } from "../../op.ts";
import { PAST_CACHES_BYTES } from "../../op.ts";
import { storageBytes } from "../../storage.ts";
import type { DeltaDims } from "../generalized_delta_rule_parts.ts";
import type { Asking } from "./delta_chunk_rows.ts";
import { asksOf } from "./delta_chunk_rows.ts";
import { sumEach } from "./lanes.ts";
import { multiplyBlock } from "./register_block.ts";
import type { RowBlocks } from "./row_states.ts";
import { cutRows } from "./row_states.ts";

/** Steps of a chunk, where there are as many: more of them weigh each other more, fewer read the state more often. */
const STEPS_MAX = 8;
/** The same where vectors have four lanes and nothing goes back: products of keys are dearer then. */
export const NARROW_STEPS = 4;
/** Rows of a state that go through a chunk together, so that they share what is computed of the keys. */
const ROWS_MAX = 64;
/** Operations of a step of an element of the state, about. */
const [OPERATIONS, ERASING_OPERATIONS] = [5, 9];
/** A register block: so many steps or keys, times vectors of rows. */
export const [BLOCK, VECTORS] = [4, 4];

/** Sizes of a chunk. */
export interface ChunkShape {
  readonly dims: DeltaDims;
  readonly lanes: number;
  readonly steps: number;
  /** Elements of a key and rows of a block, in whole vectors, and their bytes. */
  readonly keys: number;
  readonly keyBytes: number;
  readonly rows: number;
  readonly rowBytes: number;
  /** Elements of a row of weights. */
  readonly weights: number;
  /** Whether results go past the caches. */
  readonly pastCaches: boolean;
}

/** Blocks of rows for each of `matrices`. */
export function cutChunks({ batch, heads, valueSize }: DeltaDims, lanes: number): RowBlocks {
  const cut = cutRows(batch * heads, valueSize, lanes, VECTORS);
  const width = Math.min(cut.width, ROWS_MAX);
  return { ...cut, width, blocks: Math.ceil(valueSize / width) };
}

/** Operations of a step of all states. */
export function stepOperations({ batch, heads, keySize, valueSize, erases }: DeltaDims): number {
  return (erases ? ERASING_OPERATIONS : OPERATIONS) * batch * heads * keySize * valueSize;
}

/** Sizes for blocks of `rows` rows and chunks of at most `stepsMax` steps. */
export function chunkShape(
  { node, lanes }: LowerContext,
  dims: DeltaDims,
  rows: number,
  stepsMax = STEPS_MAX,
): ChunkShape {
  const whole = (count: number): number => Math.ceil(count / lanes) * lanes;
  const steps = Math.min(stepsMax, dims.time);
  const [keys, padded] = [whole(dims.keySize), whole(rows)];
  return {
    dims,
    lanes,
    steps,
    keys,
    keyBytes: keys * 4,
    rows: padded,
    rowBytes: padded * 4,
    weights: whole(steps),
    pastCaches: goesPastCaches(node, dims, lanes),
  };
}

/**
 * Whether results of whole vectors are written past the caches: they drive out what they lie beside, and after so much
 * that is read and written nothing of them would be left for whom they are for.
 */
function goesPastCaches({ inputs, results }: Node, { keySize, valueSize }: DeltaDims, lanes: number): boolean {
  const sizeBytes = [...inputs, ...results].reduce((sum, { type }) => sum + storageBytes(type), 0);
  return keySize % lanes === 0 && valueSize % lanes === 0 && sizeBytes >= PAST_CACHES_BYTES;
}

/** Rows of keys of a chunk, [steps, keys]; those of a and b where something is erased. */
export interface ChunkKeys {
  readonly q: LoopValue;
  readonly k: LoopValue;
  readonly a: LoopValue | undefined;
  readonly b: LoopValue | undefined;
}

/** The same of the whole sequence in memory, and what the decays are the exponentials of: addresses of step 0. */
export interface HeadKeys extends ChunkKeys {
  readonly decays: LoopValue;
}

/** Rows of steps, wherever they lie. */
export interface StepRows {
  readonly at: LoopValue;
  readonly strideBytes: number;
}

/** Rows of keys of a chunk's steps; those of a and b where something is erased. */
export interface KeyRows {
  readonly q: StepRows;
  readonly k: StepRows;
  readonly a: StepRows | undefined;
  readonly b: StepRows | undefined;
}

/** What one reader of states (q, of those after a step, or a, of those before it) weighs: [steps, weights]. */
export interface ReaderWeights {
  /** What k and b wrote. */
  readonly k: LoopValue;
  readonly b: LoopValue | undefined;
}

/** What a chunk knows of its keys, in scratch. */
export interface ChunkScratch {
  /** As they are, if they are staged. */
  readonly own: ChunkKeys;
  /** Factors of the state in a step, [steps, keys] or one a step. */
  readonly decays: LoopValue;
  /** Times the decays from the chunk's start to what q and a read, or from what k and b wrote to the chunk's end. */
  readonly decayed: ChunkKeys;
  /** The decays of all steps, [keys]. */
  readonly product: LoopValue;
  readonly weights: { readonly q: ReaderWeights; readonly a: ReaderWeights | undefined };
}

/** Scratch of `count` chunks; zeros, since what is beyond the ends of rows stays as it is. */
export function allocateChunks(k: KernelBuilder, shape: ChunkShape, count = 1): ChunkScratch {
  const { dims, lanes, steps, keyBytes, weights } = shape;
  const rows = (): LoopValue => zeros(k, count * steps * keyBytes, lanes);
  const keys = (): ChunkKeys => {
    const [q, key] = [rows(), rows()];
    return { q, k: key, a: dims.erases ? rows() : undefined, b: dims.erases ? rows() : undefined };
  };
  const weigh = (): ReaderWeights => {
    const square = (): LoopValue => k.allocateScratch(count * steps * weights * 4);
    return { k: square(), b: dims.erases ? square() : undefined };
  };
  return {
    own: keys(),
    decays: rows(),
    decayed: keys(),
    product: k.allocateScratch(count * keyBytes),
    weights: { q: weigh(), a: dims.erases ? weigh() : undefined },
  };
}

/** Chunk `number` of several in scratch. */
export function chunkAt(k: KernelBuilder, shape: ChunkShape, all: ChunkScratch, number: LoopValue): ChunkScratch {
  const { steps, keyBytes, weights } = shape;
  const at = (base: LoopValue, sizeBytes: number): LoopValue => k.offset(base, number, sizeBytes);
  const rows = (base: LoopValue): LoopValue => at(base, steps * keyBytes);
  const square = (base: LoopValue): LoopValue => at(base, steps * weights * 4);
  const keys = ({ q, k: key, a, b }: ChunkKeys): ChunkKeys => {
    return { q: rows(q), k: rows(key), a: a && rows(a), b: b && rows(b) };
  };
  const weigh = ({ k: key, b }: ReaderWeights): ReaderWeights => ({ k: square(key), b: b && square(b) });
  const { q, a } = all.weights;
  return {
    own: keys(all.own),
    decays: rows(all.decays),
    decayed: keys(all.decayed),
    product: at(all.product, keyBytes),
    weights: { q: weigh(q), a: a && weigh(a) },
  };
}

/** Scratch of whole vectors, filled with zeros. */
export function zeros(k: KernelBuilder, sizeBytes: number, lanes: number): LoopValue {
  const at = k.allocateScratch(sizeBytes);
  fill(k, at, sizeBytes, lanes, 0);
  return at;
}

function fill(k: KernelBuilder, at: LoopValue, sizeBytes: number, lanes: number, value: number): void {
  const type = loopType("f32", lanes);
  k.loop(0, sizeBytes, lanes * 4, (offset) => k.store(k.constant(type, value), k.add(at, offset)));
}

/** One of the places where a chunk writes: k, or b. */
type Written = "k" | "b";

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
  const { lanes, steps, keyBytes } = shape;
  const type = loopType("f32", lanes);
  fill(k, chunk.product, keyBytes, lanes, 1);
  for (let t = 0; t < steps; t++) {
    weighStep(k, shape, chunk, keys, t, "k", outputs);
    if (keys.b !== undefined) weighStep(k, shape, chunk, keys, t, "b", outputs);
    k.loop(0, keyBytes, lanes * 4, (at) => {
      const before = k.load(type, k.add(chunk.product, at));
      const after = k.mul(before, loadDecay(k, shape, chunk, t, at));
      const scale = (reader: "q" | "a", factor: LoopValue): void => {
        const [from, to] = [keys[reader], chunk.decayed[reader]];
        if (from === undefined || to === undefined) return;
        const row = k.load(type, k.add(from.at, at), t * from.strideBytes);
        k.store(k.mul(factor, row), k.add(to, at), t * keyBytes);
      };
      scale("a", before);
      if (outputs) scale("q", after);
      k.store(after, k.add(chunk.product, at));
    });
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

/** What step t reads of what was written at k, or b, before and in it; takes that through the step's decays. */
function weighStep(
  k: KernelBuilder,
  shape: ChunkShape,
  chunk: ChunkScratch,
  rows: KeyRows,
  t: number,
  written: Written,
  outputs: boolean,
): void {
  const { lanes, keyBytes, weights } = shape;
  const type = loopType("f32", lanes);
  const kept = chunk.decayed[written]!;
  const [before, after] = [rows.a === undefined ? 0 : t, outputs ? t + 1 : 0];
  const none = Array.from({ length: before + after }, () => k.constant(type, 0));
  const sums = k.for(0, keyBytes, lanes * 4, none, (at, carried) => {
    const own = (of: StepRows): LoopValue => k.load(type, k.add(of.at, at), t * of.strideBytes);
    const next = [...carried];
    const a = before > 0 ? own(rows.a!) : undefined;
    const q = outputs ? own(rows.q) : undefined;
    const decay = loadDecay(k, shape, chunk, t, at);
    for (let s = 0; s <= t; s++) {
      let key = s < t ? k.load(type, k.add(kept, at), s * keyBytes) : own(rows[written]!);
      if (s < t) {
        if (a !== undefined) next[s] = k.fma(a, key, next[s]!);
        key = k.mul(key, decay);
      }
      k.store(key, k.add(kept, at), s * keyBytes);
      if (q !== undefined) next[before + s] = k.fma(q, key, next[before + s]!);
    }
    return next;
  });
  const store = (reader: "q" | "a", dots: readonly LoopValue[]): void => {
    if (dots.length > 0) storeDots(k, dots, chunk.weights[reader]![written]!, t * weights * 4);
  };
  store("a", sums.slice(0, before));
  store("q", sums.slice(before));
}

/** Stores the sums over the lanes of each of some vectors side by side. */
export function storeDots(k: KernelBuilder, vectors: readonly LoopValue[], to: LoopValue, offset: number): void {
  const { lanes } = vectors[0]!.type;
  for (let first = 0; first < vectors.length; first += lanes) {
    k.store(sumEach(k, vectors.slice(first, first + lanes)), to, offset + first * 4);
  }
}

/** Some vectors of rows, whose first has a byte offset in a row of values. */
export interface RowGroup {
  readonly type: LoopType;
  readonly count: number;
  readonly at: LoopValue;
}

/** Takes all rows of a piece, a register block of vectors at a time. */
export function eachGroup(k: KernelBuilder, { rows, lanes }: ChunkShape, use: (group: RowGroup) => void): void {
  const type = loopType("f32", lanes);
  const vectors = rows / lanes;
  const whole = vectors - (vectors % VECTORS);
  const bytes = lanes * 4;
  if (whole > 0) k.loop(0, whole * bytes, VECTORS * bytes, (at) => use({ type, count: VECTORS, at }));
  if (whole < vectors) use({ type, count: vectors - whole, at: k.index(whole * bytes) });
}

/** What is written to the states of a chunk by its steps: rows [steps, rows], and their weights for the reader. */
export interface Source {
  readonly values: LoopValue;
  readonly weights: LoopValue;
  /** Whether a step reads what it writes itself. */
  readonly inclusive: boolean;
}

/** Reads of the states of a chunk, of all its steps. */
export interface ChunkReads {
  /** At the end where time begins: [keys, rows]. */
  readonly states: LoopValue;
  /** What reads those, decayed to there: [steps, keys]. */
  readonly readers: LoopValue;
  readonly sources: readonly Source[];
  /** Where the sums go, [steps, rows]: if `solves`, they are the values of the last source. */
  readonly to: LoopValue;
  readonly solves: boolean;
  /** Whether time runs from the last step to the first. */
  readonly backward: boolean;
}

/** For some rows of a piece: what all steps read, a register block of steps after the other. */
export function readChunk(
  k: KernelBuilder,
  shape: ChunkShape,
  group: RowGroup,
  reads: ChunkReads,
  asking?: Asking,
): void {
  const { dims, steps, keyBytes, rowBytes, weights } = shape;
  const { type, count, at } = group;
  const { readers, sources, to, solves, backward } = reads;
  const place = (turn: number): number => (backward ? steps - 1 - turn : turn);
  const vectors = Array.from({ length: count }, (_, v) => v * type.lanes * 4);
  for (let first = 0; first < steps; first += BLOCK) {
    const last = Math.min(steps, first + BLOCK);
    const start = Math.min(place(first), place(last - 1));
    const operands = {
      ...asksOf(k, asking, dims.keySize),
      left: k.add(readers, k.index(start * keyBytes)),
      leftRowBytes: keyBytes,
      leftStepBytes: 4,
      right: k.add(reads.states, at),
      rightStepBytes: rowBytes,
    };
    const none = Array.from({ length: (last - first) * count }, () => k.constant(type, 0));
    const sums = [...multiplyBlock(k, operands, last - first, { type, count }, dims.keySize, none)];
    const sumOf = (turn: number, v: number): number => (place(turn) - start) * count + v;
    const finish = (turn: number): void => {
      vectors.forEach((offset, v) => k.store(sums[sumOf(turn, v)]!, k.add(to, at), place(turn) * rowBytes + offset));
    };
    for (let source = 0; source < last; source++) {
      sources.forEach(({ values, weights: square, inclusive }, number) => {
        const solved = solves && number === sources.length - 1 && source >= first;
        if (solved) finish(source);
        const from = Math.max(first, inclusive ? source : source + 1);
        if (from >= last) return;
        const written = vectors.map((offset, v) => {
          return solved ? sums[sumOf(source, v)]! : k.load(type, k.add(values, at), place(source) * rowBytes + offset);
        });
        for (let turn = from; turn < last; turn++) {
          const [later, earlier] = backward ? [place(source), place(turn)] : [turn, source];
          const weight = k.loadSplat(type, square, (later * weights + earlier) * 4);
          written.forEach((value, v) => {
            sums[sumOf(turn, v)] = k.fma(weight, value, sums[sumOf(turn, v)]!);
          });
        }
      });
    }
    if (!solves) for (let turn = first; turn < last; turn++) finish(turn);
  }
}

/** What a chunk adds to its states: rows of values [steps, rows] times rows of keys [steps, keys]. */
export interface Outer {
  readonly values: LoopValue;
  readonly keys: LoopValue;
}

/** For some rows of a piece: the states after all steps (or before, if time runs back), from `states` to `next`. */
export function updateStates(
  k: KernelBuilder,
  { steps, keys, keyBytes, rowBytes }: ChunkShape,
  { type, count, at }: RowGroup,
  product: LoopValue,
  outers: readonly Outer[],
  states: LoopValue,
  next: LoopValue,
  asking?: Asking,
): void {
  const ask = asking?.next(k, keys / BLOCK);
  const places = Array.from({ length: BLOCK * count }, (_, i) => {
    return Math.floor(i / count) * rowBytes + (i % count) * type.lanes * 4;
  });
  k.loop(0, keys, BLOCK, (key) => {
    ask?.(k.div(key, k.index(BLOCK)));
    const row = k.offset(at, key, rowBytes);
    const factors = Array.from({ length: BLOCK }, (_, i) => k.loadSplat(type, k.offset(product, key, 4), i * 4));
    const [from, to] = [k.add(states, row), k.add(next, row)];
    let sums: readonly LoopValue[] = places.map((place, i) =>
      k.mul(factors[Math.floor(i / count)]!, k.load(type, from, place)),
    );
    for (const outer of outers) {
      const operands = {
        left: k.offset(outer.keys, key, 4),
        leftRowBytes: 4,
        leftStepBytes: keyBytes,
        right: k.add(outer.values, at),
        rightStepBytes: rowBytes,
      };
      sums = multiplyBlock(k, operands, BLOCK, { type, count }, steps, sums);
    }
    sums.forEach((sum, i) => k.store(sum, to, places[i]));
  });
}

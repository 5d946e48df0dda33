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
import type { Reader, Weights } from "./delta_chunk_weights.ts";
import { BLOCK, weightAt, weightBytes } from "./delta_chunk_weights.ts";
import { multiplyBlock } from "./register_block.ts";
import type { RowBlocks } from "./row_states.ts";
import { cutRows } from "./row_states.ts";

/** Steps of a chunk, where there are as many: more of them weigh each other more, fewer read the state more often. */
const STEPS_MAX = 8;
/** The same where weights are dear and nothing goes back: with decays of each key, or vectors of four lanes. */
const FEW_STEPS = 4;
/** Rows of a state that go through a chunk together, so that they share what is computed of the keys. */
const ROWS_MAX = 64;
/** Operations of a step of an element of the state, about. */
const [OPERATIONS, ERASING_OPERATIONS] = [5, 9];
/** Vectors of rows of a register block, for as many steps or keys as a block of weights has steps. */
export const VECTORS = 4;

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

/** Sizes for blocks of `rows` rows, of states that only go forward, or back, too. */
export function chunkShape(
  { node, lanes }: LowerContext,
  dims: DeltaDims,
  rows: number,
  goesBack: boolean,
): ChunkShape {
  const whole = (count: number): number => Math.ceil(count / lanes) * lanes;
  const isDear = !goesBack && (dims.decays > 1 || lanes < 8);
  const steps = Math.min(isDear ? FEW_STEPS : STEPS_MAX, dims.time);
  const [keys, padded] = [whole(dims.keySize), whole(rows)];
  return {
    dims,
    lanes,
    steps,
    keys,
    keyBytes: keys * 4,
    rows: padded,
    rowBytes: padded * 4,
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

/** What a chunk knows of its keys, in scratch. */
export interface ChunkScratch {
  /** As they are, if they are staged. */
  readonly own: ChunkKeys;
  /** Factors of the state in a step, [steps, keys] or one a step. */
  readonly decays: LoopValue;
  /** Times the decays from the chunk's start to what q and a read, or from what k and b wrote to the chunk's end. */
  readonly decayed: ChunkKeys;
  /** The decays of all steps, and of those of a block, [keys]. */
  readonly product: LoopValue;
  readonly blockProduct: LoopValue;
  readonly weights: Weights;
}

/** Scratch of `count` chunks; zeros, since what is beyond the ends of rows stays as it is. */
export function allocateChunks(k: KernelBuilder, shape: ChunkShape, count = 1): ChunkScratch {
  const { dims, lanes, steps, keyBytes } = shape;
  const rows = (): LoopValue => zeros(k, count * steps * keyBytes, lanes);
  const keys = (): ChunkKeys => {
    const [q, key] = [rows(), rows()];
    return { q, k: key, a: dims.erases ? rows() : undefined, b: dims.erases ? rows() : undefined };
  };
  const weights = (): LoopValue => k.allocateScratch(count * weightBytes(shape));
  return {
    own: keys(),
    decays: rows(),
    decayed: keys(),
    product: k.allocateScratch(count * keyBytes),
    blockProduct: k.allocateScratch(keyBytes),
    weights: { k: weights(), b: dims.erases ? weights() : undefined },
  };
}

/** Chunk `number` of several in scratch. */
export function chunkAt(k: KernelBuilder, shape: ChunkShape, all: ChunkScratch, number: LoopValue): ChunkScratch {
  const { steps, keyBytes } = shape;
  const at = (base: LoopValue, sizeBytes: number): LoopValue => k.offset(base, number, sizeBytes);
  const rows = (base: LoopValue): LoopValue => at(base, steps * keyBytes);
  const weights = (base: LoopValue): LoopValue => at(base, weightBytes(shape));
  const keys = ({ q, k: key, a, b }: ChunkKeys): ChunkKeys => {
    return { q: rows(q), k: rows(key), a: a && rows(a), b: b && rows(b) };
  };
  return {
    own: keys(all.own),
    decays: rows(all.decays),
    decayed: keys(all.decayed),
    product: at(all.product, keyBytes),
    blockProduct: all.blockProduct,
    weights: { k: weights(all.weights.k), b: all.weights.b && weights(all.weights.b) },
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

/** What is written to the states of a chunk by its steps: rows [steps, rows], and their weights for a reader. */
export interface Source {
  readonly values: LoopValue;
  readonly weights: LoopValue;
  readonly reader: Reader;
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
  const { dims, steps, keyBytes, rowBytes } = shape;
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
      sources.forEach(({ values, weights, reader }, number) => {
        const solved = solves && number === sources.length - 1 && source >= first;
        if (solved) finish(source);
        const from = Math.max(first, reader === "q" ? source : source + 1);
        if (from >= last) return;
        const written = vectors.map((offset, v) => {
          return solved ? sums[sumOf(source, v)]! : k.load(type, k.add(values, at), place(source) * rowBytes + offset);
        });
        for (let turn = from; turn < last; turn++) {
          const [later, earlier] = backward ? [place(source), place(turn)] : [turn, source];
          const weight = k.loadSplat(type, weights, weightAt(shape, reader, later, earlier));
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

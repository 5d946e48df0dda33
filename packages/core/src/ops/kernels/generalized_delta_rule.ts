// generalized_delta_rule as loops: a chunk is a block of rows of one head's state, and time runs inside, some steps at
// once, as delta_chunk.ts has it. A single step, which is decoding, has the elements of keys in lanes instead and
// passes over the state as it lies in memory, some rows at a time: once, or where it erases twice, reading and writing.

import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import { expOf } from "../../loop/math.ts";
import type { LowerContext } from "../../op.ts";
import type { DeltaDims } from "../generalized_delta_rule_parts.ts";
import { deltaDims } from "../generalized_delta_rule_parts.ts";
import type { ChunkReads, ChunkScratch, ChunkShape, HeadKeys, Outer, RowGroup, Source } from "./delta_chunk.ts";
import {
  allocateChunks,
  chunkShape,
  cutChunks,
  eachGroup,
  readChunk,
  stepOperations,
  updateStates,
  zeros,
} from "./delta_chunk.ts";
import { BLOCK, weighKeys } from "./delta_chunk_weights.ts";
import {
  askKeys,
  askValues,
  Asking,
  exchangeStates,
  stageKeys,
  stageValues,
  stepsOf,
  storeValues,
} from "./delta_chunk_rows.ts";
import { askRow, eachBlock, eachElement, rowsAtOnce, sharedByRows, storeRowSums, sumRows } from "./row_states.ts";

/** Rows of a state that a single step takes at once. */
const STEP_ROWS = 4;
/** How far ahead a single step asks for rows: where states are in no cache, sums wait for nothing else. */
const AHEAD_BYTES = 8192;

/** Row 0 of `size` elements of head `matrix` (of [batch, heads]) in [batch, time, heads, size]. */
export function headRow(
  k: KernelBuilder,
  base: LoopValue,
  { heads, time }: DeltaDims,
  matrix: LoopValue,
  size: number,
): LoopValue {
  const [sequence, head] = [k.div(matrix, k.index(heads)), k.rem(matrix, k.index(heads))];
  return k.offset(k.offset(base, sequence, time * heads * size * 4), head, size * 4);
}

/** The rows of a head's group in [batch, time, groups, keySize]. */
function groupRow(k: KernelBuilder, base: LoopValue, dims: DeltaDims, matrix: LoopValue): LoopValue {
  const { heads, groups, groupSize, time, keySize } = dims;
  const sequence = k.div(matrix, k.index(heads));
  const group = k.div(k.rem(matrix, k.index(heads)), k.index(groupSize));
  return k.offset(k.offset(base, sequence, time * groups * keySize * 4), group, keySize * 4);
}

/** Addresses of step 0 of one head, from the bases of q, k, the decays, a and b. */
export function headStart(
  k: KernelBuilder,
  dims: DeltaDims,
  [q, key, decays, a, b]: readonly (LoopValue | undefined)[],
  matrix: LoopValue,
): HeadKeys {
  const row = (base: LoopValue | undefined, size: number): LoopValue | undefined =>
    base && headRow(k, base, dims, matrix, size);
  return {
    q: groupRow(k, q!, dims, matrix),
    k: groupRow(k, key!, dims, matrix),
    decays: row(decays, dims.decays)!,
    a: row(a, dims.keySize),
    b: row(b, dims.keySize),
  };
}

/** Rows of a chunk's values, [steps, rows]: v, and u where something is erased. */
export interface ChunkValues {
  readonly v: LoopValue;
  readonly u: LoopValue | undefined;
}

/** What else a chunk does to some rows. */
interface RowWork {
  /** Where what q reads goes. */
  readonly outputs?: LoopValue;
  readonly asking?: Asking;
  /** Whether u is not there yet; it is not, unless this says so. */
  readonly solves?: LoopValue;
}

/** For some rows: u of a chunk's steps, what q reads if `outputs` is there, and the states after the chunk. */
export function advanceRows(
  k: KernelBuilder,
  shape: ChunkShape,
  group: RowGroup,
  { decayed, product, weights }: ChunkScratch,
  { v, u }: ChunkValues,
  states: LoopValue,
  next: LoopValue,
  { outputs, asking, solves }: RowWork = {},
): void {
  const read = (reader: "q" | "a", to: LoopValue): void => {
    const sources: Source[] = [{ values: v, weights: weights.k, reader }];
    if (u !== undefined && weights.b !== undefined) sources.push({ values: u, weights: weights.b, reader });
    const way = { solves: reader === "a", backward: false };
    const reads: ChunkReads = { states, readers: decayed[reader]!, sources, to, ...way };
    readChunk(k, shape, group, reads, asking);
  };
  if (u !== undefined) {
    const solve = (): readonly LoopValue[] => {
      read("a", u);
      return [];
    };
    if (solves === undefined) solve();
    else k.if(solves, solve);
  }
  if (outputs !== undefined) read("q", outputs);
  const outers: Outer[] = [{ values: v, keys: decayed.k }];
  if (u !== undefined && decayed.b !== undefined) outers.push({ values: u, keys: decayed.b });
  updateStates(k, shape, group, product, outers, states, next, asking);
}

export function lowerGeneralizedDeltaRule(context: LowerContext): void {
  const types = context.node.inputs.map(({ type }) => type);
  const dims = deltaDims(types, types.length === 7);
  if (dims.time === 1) lowerOneStep(context, dims);
  else lowerSequence(context, dims);
}

function lowerSequence(context: LowerContext, dims: DeltaDims): void {
  const { batch, time, heads, keySize, valueSize } = dims;
  const { lanes } = context;
  const matrices = batch * heads;
  const cut = cutChunks(dims, lanes);
  const inputs = context.node.inputs.map((_input, i) => context.input(i));
  const buffers = [...inputs, context.result(0), context.result(1)];
  const work = time * stepOperations(dims);
  context.call("generalized_delta_rule", matrices * cut.blocks, work, buffers, (k, bases) => {
    const [q, key, v, logDecay, first, a, b] = bases.slice(0, inputs.length) as readonly LoopValue[];
    const [o, last] = bases.slice(inputs.length) as readonly LoopValue[];
    eachBlock(k, cut, ({ rows, matrix, first: row }) => {
      const shape = chunkShape(context, dims, rows, false);
      const { steps, keys, rowBytes } = shape;
      const chunk = allocateChunks(k, shape);
      const states = zeros(k, keys * rowBytes, lanes);
      const valueRows = (): LoopValue => zeros(k, steps * rowBytes, lanes);
      const values: ChunkValues = { v: valueRows(), u: dims.erases ? valueRows() : undefined };
      const outputs = valueRows();
      const from = headStart(k, dims, [q, key, logDecay, a, b], matrix);
      const ofState = (base: LoopValue): LoopValue =>
        k.offset(base, k.add(k.mul(matrix, k.index(valueSize)), row), keySize * 4);
      const ofValues = (base: LoopValue) => ({
        at: k.offset(headRow(k, base, dims, matrix, valueSize), row, 4),
        count: rows,
      });
      const [valuesAt, outputsAt] = [ofValues(v!), ofValues(o!)];
      exchangeStates(k, shape, ofState(first!), states, rows, "in");
      k.loop(0, Math.ceil(time / steps), 1, (number) => {
        const range = stepsOf(k, shape, number);
        const further = k.add(range.first, k.index(steps));
        const asks = [
          ...askKeys(k, shape, from, further),
          askValues(k, shape, valuesAt, further),
          ...(shape.pastCaches ? [] : [askValues(k, shape, outputsAt, further)]),
        ];
        const keyRows = stageKeys(k, shape, range, from, chunk, { outputs: true, keeps: false });
        stageValues(k, shape, range, valuesAt, values.v);
        weighKeys(k, shape, chunk, keyRows);
        eachGroup(k, shape, (group) => {
          const asking = new Asking(asks, steps, Math.ceil(steps / BLOCK) * (dims.erases ? 2 : 1) + 1);
          advanceRows(k, shape, group, chunk, values, states, states, { outputs, asking });
        });
        storeValues(k, shape, range, outputs, outputsAt);
      });
      exchangeStates(k, shape, ofState(last!), states, rows, "out");
    });
  });
}

/** One step of all heads, as the states lie in memory: a chunk is some rows of one head. */
function lowerOneStep(context: LowerContext, dims: DeltaDims): void {
  const { batch, heads, keySize, valueSize, decays } = dims;
  const { lanes, prefetchCache } = context;
  const matrices = batch * heads;
  const rowsPerChunk = Math.min(valueSize, Math.max(1, Math.floor(context.chunkElements / keySize)));
  const blocks = Math.ceil(valueSize / rowsPerChunk);
  const inputs = context.node.inputs.map((_input, i) => context.input(i));
  const work = stepOperations(dims);
  const buffers = [...inputs, context.result(0), context.result(1)];
  context.call("generalized_delta_rule_step", matrices * blocks, work, buffers, (k, bases) => {
    const [q, key, v, logDecay, first, a, b] = bases.slice(0, inputs.length) as readonly LoopValue[];
    const [o, last] = bases.slice(inputs.length) as readonly LoopValue[];
    const matrix = k.div(k.chunk, k.index(blocks));
    const start = k.mul(k.rem(k.chunk, k.index(blocks)), k.index(rowsPerChunk));
    const end = k.min(k.add(start, k.index(rowsPerChunk)), k.index(valueSize));
    const step = headStart(k, dims, [q, key, logDecay, a, b], matrix);
    const factors = k.allocateScratch(decays * 4);
    eachElement(k, decays, lanes, (type, at) => {
      k.store(expOf(k, k.load(type, k.add(step.decays, at))), k.add(factors, at));
    });
    const decay = (type: LoopType, at: LoopValue): LoopValue => {
      return decays === 1 ? k.loadSplat(type, factors) : k.load(type, k.add(factors, at));
    };
    const rows = rowsAtOnce(valueSize, rowsPerChunk, STEP_ROWS);
    const read = dims.erases ? readBefore(k, dims, lanes, step, decay, rows) : undefined;
    k.loop(start, end, rows, (i) => {
      const element = k.add(k.mul(matrix, k.index(valueSize)), i);
      const [before, after] = [first!, last!].map((base) => {
        const at = k.offset(base, element, keySize * 4);
        return Array.from({ length: rows }, (_, row) => k.add(at, k.index(row * keySize * 4)));
      }) as [LoopValue[], LoopValue[]];
      askRow(k, before[0]!, AHEAD_BYTES / 4, rows * keySize, prefetchCache);
      const [values, outputs] = [k.offset(v!, element, 4), k.offset(o!, element, 4)];
      const reads = read?.(before, values, outputs);
      const full = loopType("f32", lanes);
      const repeat = (from: LoopValue): ((type: LoopType, row: number) => LoopValue) => {
        const wide = before.map((_row, row) => k.loadSplat(full, from, row * 4));
        return (type, row) => (type.lanes === lanes ? wide[row]! : k.loadSplat(type, from, row * 4));
      };
      const [value, ofA] = [repeat(values), reads && repeat(reads)];
      const keys = sharedByRows((type, at) => {
        const load = (of: LoopValue): LoopValue => k.load(type, k.add(of, at));
        return { w: decay(type, at), k: load(step.k), b: step.b && load(step.b), q: load(step.q) };
      });
      const advance = (type: LoopType, at: LoopValue, row: number): LoopValue => {
        const { w, k: key, b } = keys(type, at);
        const kept = k.fma(w, k.load(type, k.add(before[row]!, at)), k.mul(value(type, row), key));
        const next = ofA === undefined ? kept : k.fma(ofA(type, row), b!, kept);
        k.store(next, k.add(after[row]!, at));
        return next;
      };
      if (reads !== undefined) {
        eachElement(k, keySize, lanes, (type, at) => before.forEach((_row, row) => advance(type, at, row)));
        return;
      }
      const sums = sumRows(k, keySize, lanes, rows, (type, at, row, sum) =>
        k.fma(advance(type, at, row), keys(type, at).q, sum),
      );
      sums.forEach((sum, row) => k.store(sum, outputs, row * 4));
    });
  });
}

/**
 * Reads rows of states once, before the step: what q reads after it, S q with S = S' w + v k + (S' a) b, is what q
 * times the decays reads of S', and v and S' a times the products of k and b with q. So one sum over lanes does not
 * wait for the other. Writes what q reads to `outputs`, and says where what a reads of the rows lies.
 */
function readBefore(
  k: KernelBuilder,
  { keySize }: DeltaDims,
  lanes: number,
  { q, k: key, a, b }: HeadKeys,
  decay: (type: LoopType, at: LoopValue) => LoopValue,
  rows: number,
): (states: readonly LoopValue[], values: LoopValue, outputs: LoopValue) => LoopValue {
  const load = (type: LoopType, from: LoopValue, at: LoopValue): LoopValue => k.load(type, k.add(from, at));
  const decayed = k.allocateScratch(keySize * 4);
  eachElement(k, keySize, lanes, (type, at) => k.store(k.mul(decay(type, at), load(type, q, at)), k.add(decayed, at)));
  const [ofKey, ofB] = sumRows(k, keySize, lanes, 2, (type, at, row, sum) =>
    k.fma(load(type, row === 0 ? key : b!, at), load(type, q, at), sum),
  ) as [LoopValue, LoopValue];
  const sums = k.allocateScratch((2 * rows + lanes) * 4);
  const narrow = loopType("f32", Math.min(rows, lanes));
  const [perValue, perRead] = [ofKey, ofB].map((x) => k.splat(x, narrow.lanes)) as [LoopValue, LoopValue];
  return (states, values, outputs) => {
    const add = (type: LoopType, at: LoopValue, row: number, sum: LoopValue): LoopValue =>
      k.fma(load(type, states[row % rows]!, at), load(type, row < rows ? a! : decayed, at), sum);
    storeRowSums(k, keySize, lanes, 2 * rows, add, sums);
    for (let at = 0; at < rows * 4; at += narrow.lanes * 4) {
      const ofValues = k.fma(k.load(narrow, values, at), perValue, k.load(narrow, sums, rows * 4 + at));
      k.store(k.fma(k.load(narrow, sums, at), perRead, ofValues), outputs, at);
    }
    return sums;
  };
}

// generalized_delta_rule_grad as loops: a chunk is a block of rows of one head's state, and passes over time forwards
// once and backwards once, span by span (row_states.ts), some steps at once (delta_chunk.ts, delta_chunk_back.ts). Of
// a step back, the cotangents of what belongs to keys are sums over rows. Where all rows are in one block and no other
// head has its keys, they go where they belong; else each block of each head leaves its own, and a call adds up those
// of blocks, and of the heads that share keys, in order, so that no result depends on the number of threads.

import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import type { BufferHandle, LowerContext } from "../../op.ts";
import type { DeltaDims } from "../generalized_delta_rule_parts.ts";
import { deltaDims } from "../generalized_delta_rule_parts.ts";
import type { ChunkScratch, ChunkShape, HeadKeys, Outer, Source } from "./delta_chunk.ts";
import type { Ask, StepRange, ValueRows } from "./delta_chunk_rows.ts";
import {
  allocateChunks,
  chunkAt,
  chunkShape,
  cutChunks,
  eachGroup,
  readChunk,
  stepOperations,
  updateStates,
  zeros,
} from "./delta_chunk.ts";
import { BLOCK, weighKeys, weighValues } from "./delta_chunk_weights.ts";
import {
  askKeys,
  askValues,
  Asking,
  exchangeStates,
  stageKeys,
  stageValues,
  stepsOf,
  storeResult,
  storeValues,
} from "./delta_chunk_rows.ts";
import type { BackScratch } from "./delta_chunk_back.ts";
import { allocateBack, finishKeys, multiplyStates } from "./delta_chunk_back.ts";
import { advanceRows, headRow, headStart } from "./generalized_delta_rule.ts";
import type { RowBlocks } from "./row_states.ts";
import { eachBlock, eachElement, forthAndBack, spanOf, sumRow } from "./row_states.ts";

/** Elements that a chunk adds up of the cotangents of keys. */
const SUM_ELEMENTS = 8192;

/** The sums over rows, by their number: what they are the cotangents of, and the result that is. */
const SUMS = { q: 0, k: 1, decay: 2, a: 3, b: 4 } as const;
const RESULTS = [0, 1, 3, 5, 6] as const;

/** How sums come together. */
interface SumPlan {
  /** How many there are. */
  readonly count: number;
  /** Those that blocks leave for a call that adds them up; others go to their results. */
  readonly left: readonly number[];
  /** Bytes of one of them in [batch, time, heads, blocks, left, keys in whole vectors]. */
  readonly rowBytes: number;
}

function planSums({ groupSize, keySize, decays, erases }: DeltaDims, { blocks }: RowBlocks, lanes: number): SumPlan {
  const count = erases ? 5 : 3;
  const isWhole = blocks === 1 && groupSize === 1 && keySize % lanes === 0;
  const all = Array.from({ length: count }, (_, sum) => sum);
  const left = all.filter((sum) => !isWhole || (sum === SUMS.decay && decays === 1));
  return { count, left, rowBytes: Math.ceil(keySize / lanes) * lanes * 4 };
}

/** Where the sums of a kind go: the row of step 0, and bytes to that of the next. */
interface SumRow {
  readonly at: LoopValue;
  readonly stepBytes: number;
}

/** What a block reads and writes besides its states, and its scratch. */
interface GradBlock {
  readonly shape: ChunkShape;
  /** Chunks of a span. */
  readonly span: number;
  readonly from: HeadKeys;
  readonly values: ValueRows;
  readonly dO: ValueRows;
  readonly dv: ValueRows;
  readonly sums: readonly SumRow[];
  /** Those of a span. */
  readonly chunks: ChunkScratch;
  readonly back: BackScratch;
  /** Cotangents of the states, [keys, rows]. */
  readonly g: LoopValue;
  /** The chunks before these went forward once, and have left their u. */
  readonly solved: number;
  /** Rows of values of a chunk's steps, of v for all of a span, and of u for all; u and e where something is erased. */
  readonly rows: {
    readonly v: LoopValue;
    readonly dO: LoopValue;
    readonly dv: LoopValue;
    readonly u: LoopValue | undefined;
    readonly e: LoopValue | undefined;
  };
}

export function lowerGeneralizedDeltaRuleGrad(context: LowerContext): void {
  const types = context.node.inputs.map(({ type }) => type);
  const dims = deltaDims(types, types.length === 9);
  const { batch, time, heads, keySize, valueSize } = dims;
  const { lanes } = context;
  const matrices = batch * heads;
  const cut = cutChunks(dims, lanes);
  const plan = planSums(dims, cut, lanes);
  const inputs = types.map((_type, i) => context.input(i));
  const work = 4 * time * stepOperations(dims);
  const leftBytes = matrices * time * cut.blocks * plan.left.length * plan.rowBytes;
  const left = leftBytes > 0 ? [context.temporary(leftBytes)] : [];
  const straight = RESULTS.slice(0, plan.count).filter((_result, sum) => !plan.left.includes(sum));
  const results = [2, 4, ...straight].map((i) => context.result(i));
  const buffers = [...inputs, ...results, ...left];
  context.call("generalized_delta_rule_grad", matrices * cut.blocks, work, buffers, (k, bases) => {
    const [q, key, v, logDecay, first, a, b] = bases.slice(0, inputs.length - 2) as readonly LoopValue[];
    const [dO, dLast, dv, dFirst, ...sums] = bases.slice(inputs.length - 2) as readonly LoopValue[];
    eachBlock(k, cut, ({ rows, matrix, block, first: row }) => {
      const shape = chunkShape(context, dims, rows, true);
      const chunks = Math.ceil(time / shape.steps);
      const stateBytes = shape.keys * shape.rowBytes;
      const span = chunksOfSpan(shape);
      const ofState = (base: LoopValue): LoopValue =>
        k.offset(base, k.add(k.mul(matrix, k.index(valueSize)), row), keySize * 4);
      const ofValues = (base: LoopValue): ValueRows => {
        return { at: k.offset(headRow(k, base, dims, matrix, valueSize), row, 4), count: rows };
      };
      const own: GradBlock = {
        shape,
        span,
        from: headStart(k, dims, [q, key, logDecay, a, b], matrix),
        values: ofValues(v!),
        dO: ofValues(dO!),
        dv: ofValues(dv!),
        sums: placeSums(k, dims, cut, plan, sums, matrix, block),
        chunks: allocateChunks(k, shape, span),
        back: allocateBack(k, shape),
        g: zeros(k, stateBytes, lanes),
        solved: span * (Math.ceil(chunks / span) - 1),
        rows: allocateRows(k, shape, span, chunks),
      };
      const h = zeros(k, stateBytes, lanes);
      exchangeStates(k, shape, ofState(first!), h, rows, "in");
      exchangeStates(k, shape, ofState(dLast!), own.g, rows, "in");
      forthAndBack(k, {
        piece: { type: loopType("f32", lanes), count: shape.rows / lanes, offset: 0 },
        columns: shape.keys,
        time: chunks,
        span,
        h,
        borders: k.allocateScratch(Math.ceil(chunks / span) * stateBytes),
        history: k.allocateScratch((span + 1) * stateBytes),
        advance: (number, states, next, step) => advance(k, own, number, states, next, step),
        goBack: (number, before, step) => goBack(k, own, number, before, step),
      });
      exchangeStates(k, shape, ofState(dFirst!), own.g, rows, "out");
    });
  });
  const [buffer] = left;
  if (buffer !== undefined) addUp(context, dims, cut, plan, buffer);
}

/** Chunks of a span: beside the state before it, each keeps rows of keys and their weights, which are to be near. */
function chunksOfSpan({ dims, steps, keys, keyBytes, rowBytes }: ChunkShape): number {
  const stateBytes = keys * rowBytes;
  const keptBytes = steps * ((dims.erases ? 10 : 6) * keyBytes + rowBytes);
  return spanOf((Math.ceil(dims.time / steps) * stateBytes) / (stateBytes + keptBytes));
}

function allocateRows(
  k: KernelBuilder,
  { dims, steps, rowBytes, lanes }: ChunkShape,
  span: number,
  chunks: number,
): GradBlock["rows"] {
  const rows = (count = 1): LoopValue => zeros(k, count * steps * rowBytes, lanes);
  const [v, dO, dv] = [rows(span), rows(), rows()];
  const u = dims.erases ? k.allocateScratch(chunks * steps * rowBytes) : undefined;
  return { v, dO, dv, u, e: dims.erases ? rows() : undefined };
}

/** Where this block's sums go; `bases` are the results that get theirs, and then what is left for later. */
function placeSums(
  k: KernelBuilder,
  dims: DeltaDims,
  { blocks }: RowBlocks,
  { count, left, rowBytes }: SumPlan,
  bases: readonly LoopValue[],
  matrix: LoopValue,
  block: LoopValue,
): readonly SumRow[] {
  const { heads, keySize } = dims;
  const blockBytes = left.length * rowBytes;
  let straight = 0;
  return Array.from({ length: count }, (_, sum): SumRow => {
    const place = left.indexOf(sum);
    if (place < 0) {
      return { at: headRow(k, bases[straight++]!, dims, matrix, keySize), stepBytes: heads * keySize * 4 };
    }
    const row = headRow(k, bases.at(-1)!, dims, matrix, (blocks * blockBytes) / 4);
    const at = k.add(k.offset(row, block, blockBytes), k.index(place * rowBytes));
    return { at, stepBytes: heads * blocks * blockBytes };
  });
}

/** A chunk of a span, where the span has it: its keys, its rows of v and u. */
interface SpanChunk {
  readonly chunk: ChunkScratch;
  readonly v: LoopValue;
  readonly u: LoopValue | undefined;
}

function spanChunk(
  k: KernelBuilder,
  { shape, chunks, rows }: GradBlock,
  number: LoopValue,
  step: LoopValue,
): SpanChunk {
  const rowsAt = (base: LoopValue, at: LoopValue): LoopValue => k.offset(base, at, shape.steps * shape.rowBytes);
  return { chunk: chunkAt(k, shape, chunks, step), v: rowsAt(rows.v, step), u: rows.u && rowsAt(rows.u, number) };
}

/**
 * The states after a chunk, from those before it, and its u, unless that was left there before. With its place in a
 * span, all that its keys give is kept there, and it was asked for when time ran back through the span after it.
 */
function advance(
  k: KernelBuilder,
  own: GradBlock,
  number: LoopValue,
  states: LoopValue,
  next: LoopValue,
  step: LoopValue | undefined,
): void {
  const { shape, from, values } = own;
  const range = stepsOf(k, shape, number);
  const isKept = step !== undefined;
  const { chunk, v, u } = spanChunk(k, own, number, step ?? k.index(0));
  const keyRows = stageKeys(k, shape, range, from, chunk, { outputs: isKept, keeps: isKept });
  stageValues(k, shape, range, values, v);
  weighKeys(k, shape, chunk, keyRows, isKept);
  const further = k.add(range.first, k.index(shape.steps));
  const asks = isKept ? [] : [...askKeys(k, shape, from, further, false), askValues(k, shape, values, further)];
  eachGroup(k, shape, (group) => {
    const asking = new Asking(asks, shape.steps, (shape.dims.erases ? Math.ceil(shape.steps / BLOCK) : 0) + 1);
    const solves = isKept && u !== undefined ? k.compare("ge", number, k.index(own.solved)) : undefined;
    advanceRows(k, shape, group, chunk, { v, u }, states, next, { asking, solves });
  });
}

/** A chunk back: what the cotangents of its states give, and those of the states before it. */
function goBack(k: KernelBuilder, own: GradBlock, number: LoopValue, before: LoopValue, step: LoopValue): void {
  const { shape, back, g, rows } = own;
  const range = stepsOf(k, shape, number);
  const { chunk, v, u } = spanChunk(k, own, number, step);
  stageValues(k, shape, range, own.dO, rows.dO);
  const reads = shape.dims.erases ? 2 : 1;
  const places = Math.ceil(shape.steps / BLOCK) * reads + 2 * reads + 1;
  const asking = new Asking(asksBack(k, own, range), shape.steps, places, false);
  readBack(k, own, chunk, asking);
  storeValues(k, shape, range, rows.dv, own.dv);
  const values = { q: rows.dO, k: v, a: rows.e, b: u };
  weighValues(k, shape, values, back.weights);
  multiplyStates(k, shape, values, before, g, back, asking);
  stepBack(k, own, chunk, asking);
  finishKeys(k, shape, chunk, back);
  storeSums(k, own, range);
}

/** What the chunk before writes, and of what it reads what is not in scratch; and the keys of a chunk a span before. */
function asksBack(k: KernelBuilder, own: GradBlock, range: StepRange): Ask[] {
  const { shape, span, from, values, dO, dv, sums } = own;
  const step = k.sub(range.first, k.index(shape.steps));
  const further = k.sub(range.first, k.index(span * shape.steps));
  const read = [
    askValues(k, shape, dO, step),
    ...askKeys(k, shape, from, further),
    askValues(k, shape, values, further),
  ];
  if (shape.pastCaches) return read;
  const written = [
    askValues(k, shape, dv, step),
    ...sums.map(({ at, stepBytes }) => {
      return { at: k.offset(at, step, stepBytes), strideBytes: stepBytes, sizeBytes: shape.keyBytes };
    }),
  ];
  return read.flatMap((ask, i) => [ask, ...written.slice(i, i + 1)]);
}

/** e and dv of a chunk. */
function readBack(k: KernelBuilder, { shape, g, rows }: GradBlock, chunk: ChunkScratch, asking: Asking): void {
  const { decayed, weights } = chunk;
  const { dO, dv, e } = rows;
  eachGroup(k, shape, (group) => {
    const read = (written: "k" | "b", to: LoopValue): void => {
      const sources: Source[] = [{ values: dO, weights: weights[written]!, reader: "q" }];
      if (e !== undefined) sources.push({ values: e, weights: weights[written]!, reader: "a" });
      const way = { readers: decayed[written]!, solves: written === "b", backward: true };
      readChunk(k, shape, group, { states: g, sources, to, ...way }, asking);
    };
    if (e !== undefined) read("b", e);
    read("k", dv);
  });
}

/** The cotangents of the states before a chunk from those after it. */
function stepBack(k: KernelBuilder, { shape, g, rows }: GradBlock, chunk: ChunkScratch, asking: Asking): void {
  const { decayed, product } = chunk;
  const outers: Outer[] = [{ values: rows.dO, keys: decayed.q }];
  if (rows.e !== undefined) outers.push({ values: rows.e, keys: decayed.a! });
  eachGroup(k, shape, (group) => updateStates(k, shape, group, product, outers, g, g, asking));
}

/** Writes the cotangents of a chunk's keys and decays to the steps that there are. */
function storeSums(k: KernelBuilder, { shape, back, sums }: GradBlock, range: StepRange): void {
  const { q, k: key, decay, a, b } = back.sums;
  const type = loopType("f32", shape.lanes);
  k.loop(0, range.count, 1, (step) => {
    sums.forEach(({ at, stepBytes }, sum) => {
      const from = k.offset([q, key, decay, a, b][sum]!, step, shape.keyBytes);
      const to = k.offset(at, k.add(range.first, step), stepBytes);
      k.loop(0, shape.keyBytes, shape.lanes * 4, (offset) => {
        storeResult(k, shape, k.load(type, k.add(from, offset)), k.add(to, offset));
      });
    });
  });
}

/** Results from the sums that blocks left. A chunk is some steps of sequences. */
function addUp(context: LowerContext, dims: DeltaDims, cut: RowBlocks, plan: SumPlan, from: BufferHandle): void {
  const { batch, time, heads, groups, groupSize, keySize, decays } = dims;
  const { left, rowBytes } = plan;
  const { lanes } = context;
  const blockBytes = left.length * rowBytes;
  const stepBytes = heads * cut.blocks * blockBytes;
  const steps = Math.max(1, Math.floor((SUM_ELEMENTS * 4) / stepBytes));
  const buffers = [from, ...left.map((sum) => context.result(RESULTS[sum]!))];
  const chunks = Math.ceil((batch * time) / steps);
  const work = (batch * time * stepBytes) / 2;
  context.call("generalized_delta_rule_grad_sum", chunks, work, buffers, (k, [base, ...results]) => {
    const first = k.mul(k.chunk, k.index(steps));
    k.loop(first, k.min(k.add(first, k.index(steps)), k.index(batch * time)), 1, (step) => {
      left.forEach((sum, place) => {
        // Heads that share keys lie side by side.
        const [rows, each] = sum === SUMS.q || sum === SUMS.k ? [groups, groupSize] : [heads, 1];
        const start = k.add(k.offset(base!, step, stepBytes), k.index(place * rowBytes));
        k.loop(0, rows, 1, (row) => {
          const blocks = k.offset(start, row, each * cut.blocks * blockBytes);
          const total = (type: LoopType, at: LoopValue): LoopValue => {
            const [value] = k.for(0, each * cut.blocks, 1, [k.constant(type, 0)], (block, [so]) => {
              return [k.add(so!, k.load(type, k.add(k.offset(blocks, block, blockBytes), at)))];
            });
            return value!;
          };
          const rowOf = (of: LoopValue, size: number): LoopValue =>
            k.offset(k.offset(of, step, rows * size * 4), row, size * 4);
          const [to, size] = [results[place]!, sum === SUMS.decay ? decays : keySize];
          if (size === 1 && sum === SUMS.decay) {
            const all = sumRow(k, keySize, lanes, (type, at, so) => k.add(so, total(type, at)));
            k.store(all, rowOf(to, 1));
          } else {
            eachElement(k, keySize, lanes, (type, at) => k.store(total(type, at), k.add(rowOf(to, keySize), at)));
          }
        });
      });
    });
  });
}

// generalized_delta_rule_grad as loops: a chunk is a block of rows of one head's state, and passes over time forwards
// once and backwards once, span by span (row_states.ts). Of a step back, the cotangents of what belongs to keys are
// sums over rows. Where all rows are in one block and no other head has its keys, they go where they belong; else each
// block of each head leaves its own, and a call adds up those of blocks, and of the heads that share keys, in order, so
// that no result depends on the number of threads.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32 } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import { expOf } from "../../loop/math.ts";
import type { BufferHandle, LowerContext } from "../../op.ts";
import type { DeltaDims } from "../generalized_delta_rule_parts.ts";
import { deltaDims } from "../generalized_delta_rule_parts.ts";
import type { HeadRows } from "./generalized_delta_rule.ts";
import {
  allocateStep,
  headRow,
  headStart,
  stageStep,
  stepOperations,
  stepStates,
  VECTORS,
} from "./generalized_delta_rule.ts";
import type { RowPiece } from "./lanes.ts";
import type { RowBlocks } from "./row_states.ts";
import {
  askRow,
  ColumnSums,
  cutRows,
  eachColumn,
  eachElement,
  eachPiece,
  forthAndBack,
  gatherStates,
  rowsMax,
  rowsOf,
  scatterStates,
  spanOf,
  STEPS_AHEAD,
  sumRow,
} from "./row_states.ts";

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

/** Where the sums of a kind go: the row of step 0, and elements to that of the next. */
interface SumRow {
  readonly at: LoopValue;
  readonly stepElements: number;
  /** Whether they are multiplied by the decays here. */
  readonly timesDecays: boolean;
}

/** What one piece of rows reads and writes besides its states. */
interface GradPiece {
  readonly piece: RowPiece;
  readonly rows: HeadRows;
  /** v, do, dv: step 0 at the piece's first row. */
  readonly values: LoopValue;
  readonly dO: LoopValue;
  readonly dv: LoopValue;
  readonly sums: readonly SumRow[];
  /** Whether another piece has written its sums there before. */
  readonly addsToSums: boolean;
  /** Cotangents of the states, [keys, rows] in scratch, and S a of the steps of a span, [span, rows]. */
  readonly g: LoopValue;
  readonly reads: LoopValue;
}

export function lowerGeneralizedDeltaRuleGrad(context: LowerContext): void {
  const types = context.node.inputs.map(({ type }) => type);
  const dims = deltaDims(types, types.length === 9);
  const { batch, time, heads, keySize, valueSize } = dims;
  const { lanes } = context;
  const matrices = batch * heads;
  const cut = cutRows(matrices, valueSize, lanes, VECTORS);
  const plan = planSums(dims, cut, lanes);
  const inputs = types.map((_type, i) => context.input(i));
  const work = 4 * stepOperations(dims) * matrices * time * keySize * valueSize;
  const leftBytes = matrices * time * cut.blocks * plan.left.length * plan.rowBytes;
  const left = leftBytes > 0 ? [context.temporary(leftBytes)] : [];
  const straight = RESULTS.slice(0, plan.count).filter((_result, sum) => !plan.left.includes(sum));
  const results = [2, 4, ...straight].map((i) => context.result(i));
  const buffers = [...inputs, ...results, ...left];
  context.call("generalized_delta_rule_grad", matrices * cut.blocks, work, buffers, (k, bases) => {
    const [q, key, v, logDecay, first, a, b] = bases.slice(0, inputs.length - 2) as readonly LoopValue[];
    const [dO, dLast, dv, dFirst, ...sums] = bases.slice(inputs.length - 2) as readonly LoopValue[];
    const stateBytes = keySize * rowsMax(cut) * 4;
    const span = spanOf(time);
    const [h, g] = [k.allocateScratch(stateBytes), k.allocateScratch(stateBytes)];
    const borders = k.allocateScratch(Math.ceil(time / span) * stateBytes);
    const history = k.allocateScratch((span + 1) * stateBytes);
    const reads = k.allocateScratch(span * rowsMax(cut) * 4);
    const staged = allocateStep(k, dims);
    eachPiece(k, cut, ({ piece, matrix, block, first: row }) => {
      const ofState = (base: LoopValue): LoopValue =>
        k.offset(base, k.add(k.mul(matrix, k.index(valueSize)), row), keySize * 4);
      const ofValues = (base: LoopValue): LoopValue => k.offset(headRow(k, base, dims, matrix, valueSize), row, 4);
      gatherStates(k, ofState(first!), h, rowsOf(piece), keySize);
      gatherStates(k, ofState(dLast!), g, rowsOf(piece), keySize);
      const own: GradPiece = {
        piece,
        rows: { dims, from: headStart(k, dims, [q, key, logDecay, a, b], matrix), staged, lanes },
        values: ofValues(v!),
        dO: ofValues(dO!),
        dv: ofValues(dv!),
        sums: placeSums(k, dims, cut, plan, sums, matrix, block),
        addsToSums: piece.offset > 0,
        g,
        reads,
      };
      const work = { piece, columns: keySize, time, h, borders, history };
      forthAndBack(k, {
        ...work,
        advance: (t, states, next, step) => advance(k, own, t, states, next, step),
        goBack: (t, before, step) => goBack(k, own, t, before, step),
      });
      scatterStates(k, g, ofState(dFirst!), rowsOf(piece), keySize);
    });
  });
  const [buffer] = left;
  if (buffer !== undefined) addUp(context, dims, cut, plan, buffer);
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
  const blockElements = (left.length * rowBytes) / 4;
  let straight = 0;
  return Array.from({ length: count }, (_, sum): SumRow => {
    const place = left.indexOf(sum);
    if (place < 0) {
      const at = headRow(k, bases[straight++]!, dims, matrix, keySize);
      return { at, stepElements: heads * keySize, timesDecays: sum === SUMS.decay };
    }
    const row = headRow(k, bases.at(-1)!, dims, matrix, blocks * blockElements);
    const at = k.add(k.offset(row, block, blockElements * 4), k.index(place * rowBytes));
    return { at, stepElements: heads * blocks * blockElements, timesDecays: false };
  });
}

function vectorsOf({ type, count }: RowPiece): number[] {
  return Array.from({ length: count }, (_, v) => v * type.lanes * 4);
}

function advance(
  k: KernelBuilder,
  { piece, rows, values, reads }: GradPiece,
  t: LoopValue,
  states: LoopValue,
  next: LoopValue,
  step: LoopValue | undefined,
): void {
  const { heads, valueSize } = rows.dims;
  const at = k.offset(values, t, heads * valueSize * 4);
  const written = vectorsOf(piece).map((offset) => k.load(piece.type, at, offset));
  askRow(k, at, STEPS_AHEAD * heads * valueSize, rowsOf(piece));
  const inputs = { ...rows, from: { ...rows.from, q: undefined }, staged: { ...rows.staged, q: undefined } };
  stageStep(k, inputs, t);
  const result = stepStates(k, piece, rows.dims, inputs.staged, written, states, next);
  if (step === undefined) return;
  const to = k.offset(reads, step, rowsOf(piece) * 4);
  result.reads.forEach((read, v) => k.store(read, to, v * piece.type.lanes * 4));
}

/** One step back: G = do q^T + P, what it gives, and P of the step before. */
function goBack(k: KernelBuilder, own: GradPiece, t: LoopValue, before: LoopValue, step: LoopValue): void {
  const { piece, rows } = own;
  const { type, count } = piece;
  const { heads, keySize, valueSize, decays } = rows.dims;
  stageStep(k, rows, t, -STEPS_AHEAD);
  const head = rows.staged;
  const at = (base: LoopValue): LoopValue => k.offset(base, t, heads * valueSize * 4);
  const vectors = vectorsOf(piece);
  for (const base of [own.values, own.dO, own.dv]) {
    askRow(k, at(base), -STEPS_AHEAD * heads * valueSize, rowsOf(piece));
  }
  const [values, dO] = [own.values, own.dO].map((base) => vectors.map((offset) => k.load(type, at(base), offset)));
  const readsAt = k.offset(own.reads, step, rowsOf(piece) * 4);
  const reads = head.a && vectors.map((offset) => k.load(type, readsAt, offset));
  const after = k.add(before, k.index(keySize * rowsOf(piece) * 4));
  const erased = head.b && gainOutputs(k, own, head.q!, head.b, dO!);
  const sumsAt = own.sums.map(({ at: row, stepElements }) => k.offset(row, t, stepElements * 4));
  own.sums.forEach(({ stepElements }, i) => askRow(k, sumsAt[i]!, -STEPS_AHEAD * stepElements, keySize));
  const zeros = vectors.map(() => k.constant(type, 0));
  const dv = eachColumn(k, keySize, Math.min(keySize, type.lanes), zeros, (turn, carried) => {
    const totals = [...carried];
    const sums = own.sums.map(() => new ColumnSums(k));
    for (let j = 0; j < turn.count; j++) {
      const splat = (row: LoopValue): LoopValue => k.loadSplat(type, ...turn.row(row, j, 4));
      const key = splat(head.k);
      const w = decays === 1 ? k.loadSplat(type, head.decays) : splat(head.decays);
      const erase = head.a && splat(head.a);
      // Where something is erased, the outputs' part is there already.
      const query = erase === undefined ? splat(head.q!) : undefined;
      for (let v = 0; v < count; v++) {
        const place = (array: LoopValue): readonly [LoopValue, number] => {
          const [address, offset] = turn.row(array, j, rowsOf(piece) * 4);
          return [address, offset + vectors[v]!];
        };
        const held = k.load(type, ...place(own.g));
        const g = query === undefined ? held : k.fma(dO![v]!, query, held);
        const state = k.load(type, ...place(before));
        totals[v] = k.fma(g, key, totals[v]!);
        sums[SUMS.q]!.add(k.load(type, ...place(after)), dO![v]!);
        sums[SUMS.k]!.add(g, values![v]!);
        sums[SUMS.decay]!.add(g, state);
        if (reads !== undefined) sums[SUMS.b]!.add(g, reads[v]!);
        if (erase !== undefined) sums[SUMS.a]!.add(state, erased![v]!);
        const kept = k.mul(g, w);
        k.store(erase === undefined ? kept : k.fma(erased![v]!, erase, kept), ...place(own.g));
      }
      for (const sum of sums) sum.next();
    }
    sums.forEach((sum, i) => {
      const factor = own.sums[i]!.timesDecays ? k.load(type, ...turn.row(head.decays, 0, 4)) : undefined;
      sum.store(turn.row(sumsAt[i]!, 0, 4), own.addsToSums, factor);
    });
    return totals;
  });
  dv.forEach((value, v) => k.store(value, at(own.dv), vectors[v]));
}

/** Adds do q^T to the cotangents of the states; gives their product with b. */
function gainOutputs(
  k: KernelBuilder,
  { piece, rows, g }: GradPiece,
  q: LoopValue,
  b: LoopValue,
  dO: readonly LoopValue[],
): readonly LoopValue[] {
  const { type, count } = piece;
  const { keySize } = rows.dims;
  const zeros = Array.from({ length: count }, () => k.constant(type, 0));
  return eachColumn(k, keySize, Math.min(keySize, type.lanes), zeros, (turn, carried) => {
    const sums = [...carried];
    for (let j = 0; j < turn.count; j++) {
      const [query, write] = [q, b].map((row) => k.loadSplat(type, ...turn.row(row, j, 4))) as [LoopValue, LoopValue];
      const [address, offset] = turn.row(g, j, rowsOf(piece) * 4);
      for (let v = 0; v < count; v++) {
        const place = offset + v * type.lanes * 4;
        const value = k.fma(dO[v]!, query, k.load(type, address, place));
        k.store(value, address, place);
        sums[v] = k.fma(value, write, sums[v]!);
      }
    }
    return sums;
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
  const buffers = [from, context.input(3), ...left.map((sum) => context.result(RESULTS[sum]!))];
  const chunks = Math.ceil((batch * time) / steps);
  const work = (batch * time * stepBytes) / 2;
  context.call("generalized_delta_rule_grad_sum", chunks, work, buffers, (k, [base, logDecay, ...results]) => {
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
          const decay = (type: LoopType, at: LoopValue): LoopValue =>
            expOf(k, k.load(type, k.add(rowOf(logDecay!, decays), at)));
          if (size === 1 && sum === SUMS.decay) {
            const all = sumRow(k, keySize, lanes, (type, at, so) => k.add(so, total(type, at)));
            k.store(k.mul(all, decay(F32, k.index(0))), rowOf(to, 1));
          } else {
            eachElement(k, keySize, lanes, (type, at) => {
              const value = total(type, at);
              const scaled = sum === SUMS.decay ? k.mul(value, decay(type, at)) : value;
              k.store(scaled, k.add(rowOf(to, keySize), at));
            });
          }
        });
      });
    });
  });
}

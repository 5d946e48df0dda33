// generalized_delta_rule_grad as loops: a chunk is a block of rows of one head's state, and passes over time forwards
// once and backwards once, span by span (row_states.ts). Of a step back, the cotangents of what belongs to keys are
// sums over rows: each block of each head leaves its own, and a call adds up those of blocks, and of the heads that
// share keys, in order, so that no result depends on the number of threads.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32 } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import type { BufferHandle, LowerContext } from "../../op.ts";
import type { DeltaDims } from "../generalized_delta_rule_parts.ts";
import { deltaDims } from "../generalized_delta_rule_parts.ts";
import type { HeadRows } from "./generalized_delta_rule.ts";
import { headRow, headRows, headStep, prepareDecays, stepOperations, stepStates } from "./generalized_delta_rule.ts";
import type { RowPiece } from "./lanes.ts";
import type { RowBlocks } from "./row_states.ts";
import {
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
  storeSums,
  sumRow,
} from "./row_states.ts";

/** Rows of a piece: its states at the steps of a span stay in the second cache. */
const ROWS = 16;
/** Elements that a chunk adds up of the cotangents of keys. */
const SUM_ELEMENTS = 8192;

/** The sums that blocks leave, in this order: of q, k, the decay, a and b. */
const SUMS = { q: 0, k: 1, decay: 2, a: 3, b: 4 } as const;

/** [batch, time, heads, blocks, sums, keys in whole vectors]. */
interface Partial {
  readonly sums: number;
  readonly rowBytes: number;
}

/** What one piece of rows reads and writes besides its states. */
interface GradPiece {
  readonly piece: RowPiece;
  readonly rows: HeadRows;
  /** v, do, dv: step 0 at the piece's first row. */
  readonly values: LoopValue;
  readonly dO: LoopValue;
  readonly dv: LoopValue;
  /** This block's sums of step 0, and the bytes to those of the next. */
  readonly sums: LoopValue;
  readonly sumStepBytes: number;
  readonly sumRowBytes: number;
  readonly addsToSums: boolean;
  /** Cotangents of the states, [keys, rows] in scratch, and S a of the steps of a span, [span, rows]. */
  readonly g: LoopValue;
  readonly reads: LoopValue;
}

export function lowerGeneralizedDeltaRuleGrad(context: LowerContext): void {
  const types = context.node.inputs.map(({ type }) => type);
  const dims = deltaDims(types, types.length === 9);
  const { batch, time, heads, keySize, valueSize, erases } = dims;
  const { lanes } = context;
  const matrices = batch * heads;
  const cut = cutRows(matrices, valueSize, lanes, Math.max(1, ROWS / lanes));
  const partial: Partial = { sums: erases ? 5 : 3, rowBytes: Math.ceil(keySize / lanes) * lanes * 4 };
  const blockBytes = partial.sums * partial.rowBytes;
  const sums = context.temporary(matrices * time * cut.blocks * blockBytes);
  const decays = prepareDecays(context, dims);
  const inputs = types.map((_type, i) => context.input(i)).with(3, decays);
  const work = 4 * stepOperations(dims) * matrices * time * keySize * valueSize;
  const buffers = [...inputs, context.result(2), context.result(4), sums];
  context.call("generalized_delta_rule_grad", matrices * cut.blocks, work, buffers, (k, bases) => {
    const [q, key, v, w, first, a, b] = bases.slice(0, inputs.length - 2) as readonly LoopValue[];
    const [dO, dLast, dv, dFirst, all] = bases.slice(inputs.length - 2) as readonly LoopValue[];
    const stateBytes = keySize * rowsMax(cut) * 4;
    const span = spanOf(time);
    const [h, g] = [k.allocateScratch(stateBytes), k.allocateScratch(stateBytes)];
    const borders = k.allocateScratch(Math.ceil(time / span) * stateBytes);
    const history = k.allocateScratch((span + 1) * stateBytes);
    const reads = k.allocateScratch(span * rowsMax(cut) * 4);
    eachPiece(k, cut, ({ piece, matrix, block, first: row }) => {
      const ofState = (base: LoopValue): LoopValue =>
        k.offset(base, k.add(k.mul(matrix, k.index(valueSize)), row), keySize * 4);
      const ofValues = (base: LoopValue): LoopValue => k.offset(headRow(k, base, dims, matrix, valueSize), row, 4);
      gatherStates(k, ofState(first!), h, rowsOf(piece), keySize);
      gatherStates(k, ofState(dLast!), g, rowsOf(piece), keySize);
      const own: GradPiece = {
        piece,
        rows: headRows(k, dims, [q, key, w, a, b], matrix),
        values: ofValues(v!),
        dO: ofValues(dO!),
        dv: ofValues(dv!),
        sums: k.offset(headRow(k, all!, dims, matrix, (cut.blocks * blockBytes) / 4), block, blockBytes),
        sumStepBytes: heads * cut.blocks * blockBytes,
        sumRowBytes: partial.rowBytes,
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
  addUp(context, dims, cut, partial, [sums, decays]);
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
  const result = stepStates(k, piece, rows.dims, headStep(k, rows, t), written, states, next);
  if (step === undefined) return;
  const to = k.offset(reads, step, rowsOf(piece) * 4);
  result.reads.forEach((read, v) => k.store(read, to, v * piece.type.lanes * 4));
}

/** One step back: G = do q^T + P, what it gives, and P of the step before. */
function goBack(k: KernelBuilder, own: GradPiece, t: LoopValue, before: LoopValue, step: LoopValue): void {
  const { piece, rows } = own;
  const { type, count } = piece;
  const { heads, keySize, valueSize, decays } = rows.dims;
  const head = headStep(k, rows, t);
  const at = (base: LoopValue): LoopValue => k.offset(base, t, heads * valueSize * 4);
  const vectors = vectorsOf(piece);
  const [values, dO] = [own.values, own.dO].map((base) => vectors.map((offset) => k.load(type, at(base), offset)));
  const readsAt = k.offset(own.reads, step, rowsOf(piece) * 4);
  const reads = head.a && vectors.map((offset) => k.load(type, readsAt, offset));
  const after = k.add(before, k.index(keySize * rowsOf(piece) * 4));
  const erased = gainOutputs(k, own, head.q, head.b, dO!);
  const sumsAt = k.offset(own.sums, t, own.sumStepBytes);
  const rowOf = (sum: number): LoopValue => k.add(sumsAt, k.index(sum * own.sumRowBytes));
  const zeros = vectors.map(() => k.constant(type, 0));
  const dv = eachColumn(k, keySize, Math.min(keySize, type.lanes), zeros, (turn, carried) => {
    const totals = [...carried];
    const sums: (LoopValue | undefined)[][] = [[], [], [], [], []];
    const add = (sum: number, j: number, x: LoopValue, y: LoopValue): void => {
      const so = sums[sum]![j];
      sums[sum]![j] = so === undefined ? k.mul(x, y) : k.fma(x, y, so);
    };
    for (let j = 0; j < turn.count; j++) {
      const splat = (row: LoopValue): LoopValue => k.loadSplat(type, ...turn.row(row, j, 4));
      const key = splat(head.k);
      const w = decays === 1 ? k.loadSplat(type, head.decays) : splat(head.decays);
      const erase = head.a && splat(head.a);
      for (let v = 0; v < count; v++) {
        const place = (array: LoopValue): readonly [LoopValue, number] => {
          const [address, offset] = turn.row(array, j, rowsOf(piece) * 4);
          return [address, offset + vectors[v]!];
        };
        const g = k.load(type, ...place(own.g));
        const state = k.load(type, ...place(before));
        totals[v] = k.fma(g, key, totals[v]!);
        add(SUMS.q, j, k.load(type, ...place(after)), dO![v]!);
        add(SUMS.k, j, g, values![v]!);
        add(SUMS.decay, j, g, state);
        if (reads !== undefined) add(SUMS.b, j, g, reads[v]!);
        if (erase !== undefined) add(SUMS.a, j, state, erased[v]!);
        const kept = k.mul(g, w);
        k.store(erase === undefined ? kept : k.fma(erased[v]!, erase, kept), ...place(own.g));
      }
    }
    sums.forEach((each, sum) => {
      if (each.length === 0) return;
      storeSums(k, each as LoopValue[], turn.row(rowOf(sum), 0, 4), own.addsToSums);
    });
    return totals;
  });
  dv.forEach((value, v) => k.store(value, at(own.dv), vectors[v]));
}

/** Adds do q^T to the cotangents of the states; gives their product with b, where there is one. */
function gainOutputs(
  k: KernelBuilder,
  { piece, rows, g }: GradPiece,
  q: LoopValue,
  b: LoopValue | undefined,
  dO: readonly LoopValue[],
): readonly LoopValue[] {
  const { type, count } = piece;
  const { keySize } = rows.dims;
  const zeros = Array.from({ length: b === undefined ? 0 : count }, () => k.constant(type, 0));
  return eachColumn(k, keySize, Math.min(keySize, type.lanes), zeros, (turn, carried) => {
    const sums = [...carried];
    for (let j = 0; j < turn.count; j++) {
      const [query, write] = [q, b].map((row) => row && k.loadSplat(type, ...turn.row(row, j, 4)));
      const [address, offset] = turn.row(g, j, rowsOf(piece) * 4);
      for (let v = 0; v < count; v++) {
        const place = offset + v * type.lanes * 4;
        const value = k.fma(dO[v]!, query!, k.load(type, address, place));
        k.store(value, address, place);
        if (write !== undefined) sums[v] = k.fma(value, write, sums[v]!);
      }
    }
    return sums;
  });
}

/** The cotangents of q, k, the decays, a and b from the sums of blocks. A chunk is some steps of sequences. */
function addUp(
  context: LowerContext,
  dims: DeltaDims,
  cut: RowBlocks,
  partial: Partial,
  inputs: readonly BufferHandle[],
): void {
  const { batch, time, heads, groups, groupSize, keySize, decays, erases } = dims;
  const { lanes } = context;
  const blockBytes = partial.sums * partial.rowBytes;
  const stepElements = (heads * cut.blocks * blockBytes) / 4;
  const steps = Math.max(1, Math.floor(SUM_ELEMENTS / stepElements));
  const results = [0, 1, 3, ...(erases ? [5, 6] : [])].map((i) => context.result(i));
  const buffers = [...inputs, ...results];
  const chunks = Math.ceil((batch * time) / steps);
  context.call("generalized_delta_rule_grad_sum", chunks, 2 * batch * time * stepElements, buffers, (k, bases) => {
    const [from, w, dq, dk, dDecay, da, db] = bases as readonly LoopValue[];
    const first = k.mul(k.chunk, k.index(steps));
    k.loop(first, k.min(k.add(first, k.index(steps)), k.index(batch * time)), 1, (step) => {
      const start = k.offset(from!, step, stepElements * 4);
      /** The sum of some blocks, those of the same sum one after the other. */
      const total = (type: LoopType, blocks: LoopValue, count: number, sum: number, at: LoopValue): LoopValue => {
        const [value] = k.for(0, count, 1, [k.constant(type, 0)], (block, [so]) => {
          const address = k.add(k.offset(blocks, block, blockBytes), at);
          return [k.add(so!, k.load(type, address, sum * partial.rowBytes))];
        });
        return value!;
      };
      const copy = (to: LoopValue, blocks: LoopValue, count: number, sum: number): void =>
        eachElement(k, keySize, lanes, (type, at) => k.store(total(type, blocks, count, sum, at), k.add(to, at)));
      k.loop(0, groups, 1, (group) => {
        const blocks = k.offset(start, group, groupSize * cut.blocks * blockBytes);
        const to = (base: LoopValue): LoopValue =>
          k.offset(k.offset(base, step, groups * keySize * 4), group, keySize * 4);
        copy(to(dq!), blocks, groupSize * cut.blocks, SUMS.q);
        copy(to(dk!), blocks, groupSize * cut.blocks, SUMS.k);
      });
      k.loop(0, heads, 1, (head) => {
        const blocks = k.offset(start, head, cut.blocks * blockBytes);
        const to = (base: LoopValue, size: number): LoopValue =>
          k.offset(k.offset(base, step, heads * size * 4), head, size * 4);
        if (erases) copy(to(da!, keySize), blocks, cut.blocks, SUMS.a);
        if (erases) copy(to(db!, keySize), blocks, cut.blocks, SUMS.b);
        const sum = (type: LoopType, at: LoopValue): LoopValue => total(type, blocks, cut.blocks, SUMS.decay, at);
        const decaysAt = to(w!, decays);
        if (decays === 1) {
          const all = sumRow(k, keySize, lanes, (type, at, so) => k.add(so, sum(type, at)));
          k.store(k.mul(all, k.load(F32, decaysAt)), to(dDecay!, 1));
        } else {
          eachElement(k, keySize, lanes, (type, at) =>
            k.store(k.mul(sum(type, at), k.load(type, k.add(decaysAt, at))), k.add(to(dDecay!, decays), at)),
          );
        }
      });
    });
  });
}

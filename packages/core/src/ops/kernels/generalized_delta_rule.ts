// generalized_delta_rule as loops: a chunk is a block of rows of one head's state, and time runs inside. Rows, which
// are elements of the value, lie in lanes (row_states.ts), so that S a and S q are plain sums; what belongs to a key's
// element is repeated in all lanes once for the vectors of a piece. A single step, which is decoding, has the elements
// of keys in lanes instead and passes over the state twice, row by row, as it lies in memory.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32 } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { expOf } from "../../loop/math.ts";
import type { LowerContext } from "../../op.ts";
import type { DeltaDims } from "../generalized_delta_rule_parts.ts";
import { deltaDims } from "../generalized_delta_rule_parts.ts";
import type { RowPiece } from "./lanes.ts";
import {
  askRow,
  cutRows,
  eachColumn,
  eachElement,
  eachPiece,
  gatherStates,
  rowsAtOnce,
  rowsMax,
  rowsOf,
  scatterStates,
  STEPS_AHEAD,
  sumRows,
} from "./row_states.ts";

/** Vectors of a piece. */
export const VECTORS = 4;
/** Elements of a key that are taken one after the other. */
const TURN = 8;

/** Operations of a step of one element of the state. */
export function stepOperations({ erases }: DeltaDims): number {
  return erases ? 9 : 5;
}

/** Addresses of what belongs to the elements of a key in one step of one head. */
export interface HeadStep {
  /** Absent where nothing is read from the new states. */
  readonly q: LoopValue | undefined;
  readonly k: LoopValue;
  /** Factors of the state, one or `keySize` of them. */
  readonly decays: LoopValue;
  /** Absent where nothing is erased. */
  readonly a: LoopValue | undefined;
  readonly b: LoopValue | undefined;
}

/**
 * The same over time: `from` holds addresses of step 0 in memory, with logarithms of decays, `staged` those of the step
 * in scratch.
 */
export interface HeadRows {
  readonly dims: DeltaDims;
  readonly from: HeadStep;
  readonly staged: HeadStep;
  readonly lanes: number;
}

/** Row `step` of `size` elements of head `head` in [batch, time, heads, size], where `matrix` counts [batch, heads]. */
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

/** Scratch for one step of a head. */
export function allocateStep(k: KernelBuilder, { keySize, decays, erases }: DeltaDims): HeadStep {
  const row = (): LoopValue => k.allocateScratch(keySize * 4);
  const [q, key, w] = [row(), row(), k.allocateScratch(decays * 4)];
  return { q, k: key, decays: w, a: erases ? row() : undefined, b: erases ? row() : undefined };
}

/** Addresses of step 0 of one head, from the bases of q, k, the decays, a and b. */
export function headStart(
  k: KernelBuilder,
  dims: DeltaDims,
  [q, key, decays, a, b]: readonly (LoopValue | undefined)[],
  matrix: LoopValue,
): HeadStep {
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

/**
 * Brings what step t of a head reads to scratch, and asks for what some later step reads: rows of a head are too far
 * apart for the processor to foresee, and lie in the same lines of its first cache as each other.
 */
export function stageStep(
  k: KernelBuilder,
  { dims, from, staged, lanes }: HeadRows,
  t: LoopValue,
  ahead = STEPS_AHEAD,
): void {
  const { heads, groups, keySize, decays } = dims;
  const stage = (base: LoopValue | undefined, to: LoopValue | undefined, rows: number, size: number): void => {
    if (base === undefined || to === undefined) return;
    const row = k.offset(base, t, rows * size * 4);
    askRow(k, row, ahead * rows * size, size);
    eachElement(k, size, lanes, (type, at) => {
      const value = k.load(type, k.add(row, at));
      k.store(to === staged.decays ? expOf(k, value) : value, k.add(to, at));
    });
  };
  stage(from.q, staged.q, groups, keySize);
  stage(from.k, staged.k, groups, keySize);
  stage(from.decays, staged.decays, heads, decays);
  stage(from.a, staged.a, heads, keySize);
  stage(from.b, staged.b, heads, keySize);
}

/** The sums over a state's columns of its product with a row, for each vector of a piece. */
export function readStates(
  k: KernelBuilder,
  piece: RowPiece,
  columns: number,
  states: LoopValue,
  row: LoopValue,
): readonly LoopValue[] {
  const { type, count } = piece;
  const zeros = Array.from({ length: count }, () => k.constant(type, 0));
  return eachColumn(k, columns, Math.min(columns, TURN), zeros, (turn, carried) => {
    const sums = [...carried];
    for (let j = 0; j < turn.count; j++) {
      const element = k.loadSplat(type, ...turn.row(row, j, 4));
      const [at, offset] = turn.row(states, j, rowsOf(piece) * 4);
      for (let v = 0; v < count; v++) {
        sums[v] = k.fma(element, k.load(type, at, offset + v * type.lanes * 4), sums[v]!);
      }
    }
    return sums;
  });
}

/**
 * A step of a piece: S' = S diag(w) + u b^T + v k^T, from `states` to `next`. Gives S' q for each vector, if there is a
 * q, and u = S a.
 */
export function stepStates(
  k: KernelBuilder,
  piece: RowPiece,
  { keySize, decays }: DeltaDims,
  step: HeadStep,
  values: readonly LoopValue[],
  states: LoopValue,
  next: LoopValue,
): { readonly outputs: readonly LoopValue[]; readonly reads: readonly LoopValue[] } {
  const { type, count } = piece;
  const { a, b } = step;
  const reads = a === undefined ? [] : readStates(k, piece, keySize, states, a);
  const common = decays === 1 ? k.loadSplat(type, step.decays) : undefined;
  const zeros = Array.from({ length: step.q === undefined ? 0 : count }, () => k.constant(type, 0));
  const outputs = eachColumn(k, keySize, Math.min(keySize, TURN), zeros, (turn, carried) => {
    const sums = [...carried];
    for (let j = 0; j < turn.count; j++) {
      const splat = (row: LoopValue): LoopValue => k.loadSplat(type, ...turn.row(row, j, 4));
      const [q, key] = [step.q && splat(step.q), splat(step.k)];
      const w = common ?? splat(step.decays);
      const write = b && splat(b);
      const place = (array: LoopValue, v: number): readonly [LoopValue, number] => {
        const [at, offset] = turn.row(array, j, rowsOf(piece) * 4);
        return [at, offset + v * type.lanes * 4];
      };
      // All vectors are computed before one is stored: engines join neighbours only so.
      const written = values.map((value, v) => k.fma(w, k.load(type, ...place(states, v)), k.mul(value, key)));
      const after = write === undefined ? written : written.map((value, v) => k.fma(reads[v]!, write, value));
      if (q !== undefined) after.forEach((value, v) => (sums[v] = k.fma(value, q, sums[v]!)));
      after.forEach((value, v) => k.store(value, ...place(next, v)));
    }
    return sums;
  });
  return { outputs, reads };
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
  const cut = cutRows(matrices, valueSize, lanes, VECTORS);
  const inputs = context.node.inputs.map((_input, i) => context.input(i));
  const work = stepOperations(dims) * matrices * time * keySize * valueSize;
  const buffers = [...inputs, context.result(0), context.result(1)];
  context.call("generalized_delta_rule", matrices * cut.blocks, work, buffers, (k, bases) => {
    const [q, key, v, logDecay, first, a, b] = bases.slice(0, inputs.length) as readonly LoopValue[];
    const [o, last] = bases.slice(inputs.length) as readonly LoopValue[];
    const states = k.allocateScratch(keySize * rowsMax(cut) * 4);
    const staged = allocateStep(k, dims);
    eachPiece(k, cut, ({ piece, matrix, first: row }) => {
      const from = headStart(k, dims, [q, key, logDecay, a, b], matrix);
      const rows: HeadRows = { dims, from, staged, lanes };
      const ofState = (base: LoopValue): LoopValue =>
        k.offset(base, k.add(k.mul(matrix, k.index(valueSize)), row), keySize * 4);
      const [valuesAt, outputsAt] = [v!, o!].map((base) => k.offset(headRow(k, base, dims, matrix, valueSize), row, 4));
      gatherStates(k, ofState(first!), states, rowsOf(piece), keySize);
      k.loop(0, time, 1, (t) => {
        const offsets = Array.from({ length: piece.count }, (_, i) => i * piece.type.lanes * 4);
        const at = (base: LoopValue): LoopValue => k.offset(base, t, heads * valueSize * 4);
        const values = offsets.map((offset) => k.load(piece.type, at(valuesAt!), offset));
        for (const row of [valuesAt!, outputsAt!]) askRow(k, at(row), STEPS_AHEAD * heads * valueSize, rowsOf(piece));
        stageStep(k, rows, t);
        const { outputs } = stepStates(k, piece, dims, staged, values, states, states);
        outputs.forEach((output, i) => k.store(output, at(outputsAt!), offsets[i]));
      });
      scatterStates(k, states, ofState(last!), rowsOf(piece), keySize);
    });
  });
}

/** One step of all heads, as the states lie in memory: a chunk is some rows of one head. */
function lowerOneStep(context: LowerContext, dims: DeltaDims): void {
  const { batch, heads, keySize, valueSize, decays } = dims;
  const { lanes } = context;
  const matrices = batch * heads;
  const rowsPerChunk = Math.min(valueSize, Math.max(1, Math.floor(context.chunkElements / keySize)));
  const blocks = Math.ceil(valueSize / rowsPerChunk);
  const inputs = context.node.inputs.map((_input, i) => context.input(i));
  const work = stepOperations(dims) * matrices * keySize * valueSize;
  const buffers = [...inputs, context.result(0), context.result(1)];
  context.call("generalized_delta_rule_step", matrices * blocks, work, buffers, (k, bases) => {
    const [q, key, v, logDecay, first, a, b] = bases.slice(0, inputs.length) as readonly LoopValue[];
    const [o, last] = bases.slice(inputs.length) as readonly LoopValue[];
    const matrix = k.div(k.chunk, k.index(blocks));
    const start = k.mul(k.rem(k.chunk, k.index(blocks)), k.index(rowsPerChunk));
    const end = k.min(k.add(start, k.index(rowsPerChunk)), k.index(valueSize));
    const step = allocateStep(k, dims);
    const from = headStart(k, dims, [q, key, logDecay, a, b], matrix);
    stageStep(k, { dims, from, staged: step, lanes }, k.index(0));
    const rows = rowsAtOnce(valueSize, rowsPerChunk);
    k.loop(start, end, rows, (i) => {
      const element = k.add(k.mul(matrix, k.index(valueSize)), i);
      const [before, after] = [first!, last!].map((base) => {
        const at = k.offset(base, element, keySize * 4);
        return Array.from({ length: rows }, (_, row) => k.add(at, k.index(row * keySize * 4)));
      }) as [LoopValue[], LoopValue[]];
      const values = before.map((_row, row) => k.load(F32, k.offset(v!, element, 4), row * 4));
      const reads =
        step.a &&
        sumRows(k, keySize, lanes, rows, (type, at, row, sum) =>
          k.fma(k.load(type, k.add(before[row]!, at)), k.load(type, k.add(step.a!, at)), sum),
        );
      const outputs = sumRows(k, keySize, lanes, rows, (type, at, row, sum) => {
        const all = (x: LoopValue): LoopValue => k.splat(x, type.lanes);
        const w = decays === 1 ? k.loadSplat(type, step.decays) : k.load(type, k.add(step.decays, at));
        const written = k.mul(all(values[row]!), k.load(type, k.add(step.k, at)));
        const kept = k.fma(w, k.load(type, k.add(before[row]!, at)), written);
        const next = reads === undefined ? kept : k.fma(all(reads[row]!), k.load(type, k.add(step.b!, at)), kept);
        k.store(next, k.add(after[row]!, at));
        return k.fma(next, k.load(type, k.add(step.q!, at)), sum);
      });
      outputs.forEach((output, row) => k.store(output, k.offset(o!, element, 4), row * 4));
    });
  });
}

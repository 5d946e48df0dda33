// selective_scan as loops: a chunk is a block of channels of one sequence, and time runs inside. Channels lie in lanes:
// a step takes the vectors of a piece of channels state by state, so that what is read from all states is a plain sum,
// and the gates b and c, which channels share, are repeated in all lanes once a piece. States wait in scratch, one row
// of channels a state; they come and go with their axes exchanged. A single step, which is decoding, has states in
// lanes instead and passes over them once, as they lie in memory.
//
// Nearly all of the work is one exponential a state and step: e^(delta a) = 2^(delta a log2 e).

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32 } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { exp2Of } from "../../loop/math.ts";
import type { LowerContext } from "../../op.ts";
import type { ScanDims } from "../selective_scan_parts.ts";
import { scanDims } from "../selective_scan_parts.ts";
import type { RowPiece } from "./lanes.ts";
import type { ColumnTurn, RowBlocks } from "./row_states.ts";
import {
  askRow,
  cutRows,
  eachColumn,
  eachPiece,
  gatherStates,
  rowsAtOnce,
  rowsMax,
  rowsOf,
  scatterStates,
  sharedByRows,
  sumRows,
  STEPS_AHEAD,
} from "./row_states.ts";

/** States of a turn. */
const TURN = 8;
/** Channels that a single step takes at once. */
const STEP_ROWS = 8;
/** Operations of a step of one state: the exponential, three products and sums, loads and stores. */
const STATE_OPERATIONS = 20;

/** Blocks of channels; a piece is enough independent work, and few enough vectors for the registers. */
export function cutChannels({ batch, channels }: ScanDims, lanes: number): RowBlocks {
  return cutRows(batch, channels, lanes, lanes >= 16 ? 2 : 4);
}

export function lowerSelectiveScan(context: LowerContext): void {
  const [delta, a] = context.node.inputs;
  const dims = scanDims(delta!.type, a!.type);
  if (dims.time === 1) lowerOneStep(context, dims);
  else lowerSequence(context, dims);
}

function lowerSequence(context: LowerContext, dims: ScanDims): void {
  const { batch, time, channels, states } = dims;
  const { lanes } = context;
  const cut = cutChannels(dims, lanes);
  const buffers = [0, 1, 2, 3, 4, 5].map((i) => context.input(i));
  const results = [context.result(0), context.result(1)];
  const work = STATE_OPERATIONS * batch * time * channels * states;
  context.call("selective_scan", batch * cut.blocks, work, [...buffers, ...results], (k, bases) => {
    const [deltaBase, a, bBase, cBase, xBase, stateBase, yBase, lastBase] = bases as readonly LoopValue[];
    const stateBytes = states * rowsMax(cut) * 4;
    const [rates, h] = [k.allocateScratch(stateBytes), k.allocateScratch(stateBytes)];
    eachPiece(k, cut, ({ piece, matrix: sequence, first }) => {
      const width = rowsOf(piece);
      const ofChannels = (base: LoopValue): LoopValue =>
        k.offset(k.offset(base, sequence, time * channels * 4), first, 4);
      const ofStates = (base: LoopValue): LoopValue => k.offset(base, sequence, time * states * 4);
      const ofState = (base: LoopValue): LoopValue =>
        k.offset(base, k.add(k.mul(sequence, k.index(channels)), first), states * 4);
      gatherStates(k, k.offset(a!, first, states * 4), rates, width, states, Math.LOG2E);
      gatherStates(k, ofState(stateBase!), h, width, states);
      const rows = [deltaBase!, xBase!, yBase!].map(ofChannels) as [LoopValue, LoopValue, LoopValue];
      const gates = [bBase!, cBase!].map(ofStates) as [LoopValue, LoopValue];
      k.loop(0, time, 1, (t) => {
        const [deltaAt, xAt, yAt] = rows.map((row) => k.offset(row, t, channels * 4)) as typeof rows;
        const [b, c] = gates.map((row) => k.offset(row, t, states * 4)) as typeof gates;
        for (const row of [deltaAt, xAt, yAt]) askRow(k, row, STEPS_AHEAD * channels, width);
        const step = loadStep(k, piece, deltaAt, xAt);
        const zeros = step.delta.map(() => k.constant(piece.type, 0));
        const ys = advanceStates(k, piece, states, { ...step, b, rates, h }, zeros, (next, sum, turn, i) => {
          const [at, offset] = turn.row(c, i, 4);
          return k.fma(k.loadSplat(piece.type, at, offset), next, sum);
        });
        ys.forEach((y, v) => k.store(y, yAt, v * piece.type.lanes * 4));
      });
      scatterStates(k, h, ofState(lastBase!), width, states);
    });
  });
}

/** The step sizes of a piece's vectors, and what goes into their states. */
export function loadStep(
  k: KernelBuilder,
  { type, count }: RowPiece,
  deltaAt: LoopValue,
  xAt: LoopValue,
): { readonly delta: readonly LoopValue[]; readonly drive: readonly LoopValue[] } {
  const offsets = Array.from({ length: count }, (_, v) => v * type.lanes * 4);
  const delta = offsets.map((offset) => k.load(type, deltaAt, offset));
  return { delta, drive: delta.map((step, v) => k.mul(step, k.load(type, xAt, offsets[v]!))) };
}

/** What one step of a piece reads and writes: vectors, the row of b, and [states, channels] in scratch. */
export interface StateStep {
  readonly delta: readonly LoopValue[];
  readonly drive: readonly LoopValue[];
  readonly b: LoopValue;
  readonly rates: LoopValue;
  readonly h: LoopValue;
  /** Where the new states go if not to `h`, and the decays if anywhere. */
  readonly next?: LoopValue;
  readonly decays?: LoopValue;
}

/** Takes all states of a piece one step further; `read` adds what each new state gives to the sum of its vector. */
export function advanceStates(
  k: KernelBuilder,
  piece: RowPiece,
  states: number,
  { delta, drive, b, rates, h, next = h, decays }: StateStep,
  sums: readonly LoopValue[],
  read: (next: LoopValue, sum: LoopValue, turn: ColumnTurn, i: number) => LoopValue,
): readonly LoopValue[] {
  const { type } = piece;
  const rowBytes = rowsOf(piece) * 4;
  return eachColumn(k, states, Math.min(states, TURN), sums, (turn, carried) => {
    const totals = [...carried];
    for (let i = 0; i < turn.count; i++) {
      const gate = k.loadSplat(type, ...turn.row(b, i, 4));
      const vector = (array: LoopValue, v: number): readonly [LoopValue, number] => {
        const [at, offset] = turn.row(array, i, rowBytes);
        return [at, offset + v * type.lanes * 4];
      };
      // All vectors are computed before one is stored: engines join neighbours only so.
      const factors = delta.map((step, v) => exp2Of(k, k.mul(step, k.load(type, ...vector(rates, v)))));
      const values = factors.map((decay, v) => k.fma(decay, k.load(type, ...vector(h, v)), k.mul(drive[v]!, gate)));
      values.forEach((value, v) => (totals[v] = read(value, totals[v]!, turn, i)));
      if (decays !== undefined) factors.forEach((decay, v) => k.store(decay, ...vector(decays, v)));
      values.forEach((value, v) => k.store(value, ...vector(next, v)));
    }
    return totals;
  });
}

/** One step of all channels, as the states lie in memory. */
function lowerOneStep(context: LowerContext, dims: ScanDims): void {
  const { batch, channels, states } = dims;
  const { lanes } = context;
  // An exponential is more than simple work: smaller chunks, which come out even among threads.
  const width = Math.max(1, Math.floor(context.chunkElements / (2 * states)));
  const blocks = Math.ceil(channels / width);
  const buffers = [0, 1, 2, 3, 4, 5].map((i) => context.input(i));
  const results = [context.result(0), context.result(1)];
  const work = STATE_OPERATIONS * batch * channels * states;
  context.call("selective_scan_step", batch * blocks, work, [...buffers, ...results], (k, bases) => {
    const [delta, a, b, c, x, state, y, last] = bases as readonly LoopValue[];
    const sequence = k.div(k.chunk, k.index(blocks));
    const start = k.mul(k.rem(k.chunk, k.index(blocks)), k.index(width));
    const end = k.min(k.add(start, k.index(width)), k.index(channels));
    const [bAt, cAt] = [b!, c!].map((gates) => k.offset(gates, sequence, states * 4));
    const rows = rowsAtOnce(channels, width, STEP_ROWS);
    k.loop(start, end, rows, (d) => {
      const channel = k.add(k.mul(sequence, k.index(channels)), d);
      const each = Array.from({ length: rows }, (_, row) => row);
      const deltas = each.map((row) => k.load(F32, k.offset(delta!, channel, 4), row * 4));
      const exponents = deltas.map((step) => k.mul(step, k.constant(F32, Math.LOG2E)));
      const drives = deltas.map((step, row) => k.mul(step, k.load(F32, k.offset(x!, channel, 4), row * 4)));
      const stateRows = (base: LoopValue, of: LoopValue): LoopValue[] =>
        each.map((row) => k.add(k.offset(base, of, states * 4), k.index(row * states * 4)));
      const [aAt, from, to] = [stateRows(a!, d), stateRows(state!, channel), stateRows(last!, channel)];
      const gates = sharedByRows((type, n) => ({ b: k.load(type, k.add(bAt!, n)), c: k.load(type, k.add(cAt!, n)) }));
      const outputs = sumRows(k, states, lanes, rows, (type, n, row, sum) => {
        const decay = exp2Of(k, k.mul(k.splat(exponents[row]!, type.lanes), k.load(type, k.add(aAt![row]!, n))));
        const { b, c } = gates(type, n);
        const input = k.mul(k.splat(drives[row]!, type.lanes), b);
        const next = k.fma(decay, k.load(type, k.add(from![row]!, n)), input);
        k.store(next, k.add(to![row]!, n));
        return k.fma(c, next, sum);
      });
      outputs.forEach((output, row) => k.store(output, k.offset(y!, channel, 4), row * 4));
    });
  });
}

// selective_scan_grad as loops: a chunk is a block of channels of one sequence. The states go forward once, and are
// kept at the borders of spans of about sqrt(time) steps; then span by span from the last, states and decays of the
// span are computed again and kept, and their cotangents go back through it. Memory for a piece of channels thus grows
// with the root of time, and stays in the second cache.
//
// The cotangents of b and c are sums over all channels: each block leaves its own, and a call adds them up in order, so
// that no result depends on the number of threads. Those of `a` are left for each sequence.

import type { KernelBuilder } from "../../loop/builder.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { BufferHandle, LowerContext } from "../../op.ts";
import type { ScanDims } from "../selective_scan_parts.ts";
import { scanDims } from "../selective_scan_parts.ts";
import type { RowPiece } from "./lanes.ts";
import { pieceOffsets, rowPieces } from "./lanes.ts";
import type { RowBlocks } from "./row_states.ts";
import {
  askRow,
  ColumnSums,
  eachColumn,
  eachPiece,
  eachVector,
  forthAndBack,
  gatherStates,
  rowsMax,
  rowsOf,
  scatterStates,
  spanOf,
  STEPS_AHEAD,
} from "./row_states.ts";
import { advanceStates, cutChannels, loadStep } from "./selective_scan.ts";

/** Operations of a step of one state: two exponentials, and what goes forth and back. */
const STATE_OPERATIONS = 55;
/** Elements that a chunk adds up of the cotangents of gates. */
const SUM_ELEMENTS = 8192;

/**
 * What is the same for all pieces: addresses of the sequence's first row or of the piece's first channel, and scratch.
 */
interface GradPiece {
  readonly dims: ScanDims;
  /** The cache that rows are asked into. */
  readonly cache: 1 | 2;
  readonly piece: RowPiece;
  /** [time, channels], at the piece's first channel. */
  readonly delta: LoopValue;
  readonly x: LoopValue;
  readonly dy: LoopValue;
  readonly dDelta: LoopValue;
  readonly dx: LoopValue;
  /** [time, states]. */
  readonly b: LoopValue;
  readonly c: LoopValue;
  /** [time, blocks, 2, states in whole vectors]: the cotangents of b and c from this block. */
  readonly gates: LoopValue;
  readonly gateStepBytes: number;
  readonly gateRowBytes: number;
  /** Whether another piece of this block has written there before. */
  readonly addsToGates: boolean;
  readonly scratch: Scratch;
}

/** Scratch rows of the piece's channels: [states], and several of those. */
interface Scratch {
  readonly rates: LoopValue;
  readonly h: LoopValue;
  readonly g: LoopValue;
  readonly da: LoopValue;
  /** [spans, states]: the states before each span. */
  readonly borders: LoopValue;
  /** [span + 1, states]: those before each step of the span, and after the last. */
  readonly history: LoopValue;
  /** [span, states]. */
  readonly decays: LoopValue;
}

export function lowerSelectiveScanGrad(context: LowerContext): void {
  const [delta, a] = context.node.inputs;
  const dims = scanDims(delta!.type, a!.type);
  const { batch, time, channels, states } = dims;
  const { lanes } = context;
  const cut = cutChannels(dims, lanes);
  const gateRowBytes = Math.ceil(states / lanes) * lanes * 4;
  const gateStepBytes = cut.blocks * 2 * gateRowBytes;
  const sums = context.temporary(batch * time * gateStepBytes);
  const inputs = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => context.input(i));
  const results = [0, 1, 4, 5].map((i) => context.result(i));
  const work = STATE_OPERATIONS * batch * time * channels * states;
  context.call("selective_scan_grad", batch * cut.blocks, work, [...inputs, ...results, sums], (k, bases) => {
    const [deltaBase, aBase, bBase, cBase, xBase, stateBase, dyBase, dStateBase] = bases as readonly LoopValue[];
    const [dDelta, dA, dX, dFirst, gates] = bases.slice(8) as readonly LoopValue[];
    const scratch = allocate(k, rowsMax(cut) * states * 4, time);
    eachPiece(k, cut, ({ piece, matrix: sequence, block, first }) => {
      const width = rowsOf(piece);
      const ofTime = (base: LoopValue, row: number): LoopValue => k.offset(base, sequence, time * row * 4);
      const ofChannels = (base: LoopValue): LoopValue => k.offset(ofTime(base, channels), first, 4);
      const ofState = (base: LoopValue): LoopValue =>
        k.offset(base, k.add(k.mul(sequence, k.index(channels)), first), states * 4);
      gatherStates(k, k.offset(aBase!, first, states * 4), scratch.rates, width, states, Math.LOG2E);
      gatherStates(k, ofState(stateBase!), scratch.h, width, states);
      gatherStates(k, ofState(dStateBase!), scratch.g, width, states);
      const own: GradPiece = {
        dims,
        cache: context.prefetchCache,
        piece,
        delta: ofChannels(deltaBase!),
        x: ofChannels(xBase!),
        dy: ofChannels(dyBase!),
        dDelta: ofChannels(dDelta!),
        dx: ofChannels(dX!),
        b: ofTime(bBase!, states),
        c: ofTime(cBase!, states),
        gates: k.offset(k.offset(gates!, sequence, time * gateStepBytes), block, 2 * gateRowBytes),
        gateStepBytes,
        gateRowBytes,
        addsToGates: piece.offset > 0,
        scratch,
      };
      eachVector(k, piece, states, (at) => k.store(k.constant(piece.type, 0), k.add(scratch.da, at)));
      forthAndBack(k, {
        piece,
        columns: states,
        time,
        h: scratch.h,
        borders: scratch.borders,
        history: scratch.history,
        advance: (t, h, next, step) =>
          advance(k, own, t, h, next, step && k.offset(scratch.decays, step, states * width * 4)),
        goBack: (t, before, step) => goBack(k, own, t, before, k.offset(scratch.decays, step, states * width * 4)),
      });
      scatterStates(k, scratch.g, ofState(dFirst!), width, states);
      scatterStates(k, scratch.da, ofState(dA!), width, states);
    });
  });
  addBlocks(context, dims, cut, gateRowBytes, [sums, context.result(2), context.result(3)]);
}

function allocate(k: KernelBuilder, stateBytes: number, time: number): Scratch {
  const span = spanOf(time);
  return {
    rates: k.allocateScratch(stateBytes),
    h: k.allocateScratch(stateBytes),
    g: k.allocateScratch(stateBytes),
    da: k.allocateScratch(stateBytes),
    borders: k.allocateScratch(Math.ceil(time / span) * stateBytes),
    history: k.allocateScratch((span + 1) * stateBytes),
    decays: k.allocateScratch(span * stateBytes),
  };
}

function advance(
  k: KernelBuilder,
  { dims, cache, piece, delta, x, b, scratch }: GradPiece,
  t: LoopValue,
  h: LoopValue,
  next: LoopValue,
  decays?: LoopValue,
): void {
  const { channels, states } = dims;
  const [deltaAt, xAt] = [delta, x].map((row) => k.offset(row, t, channels * 4)) as [LoopValue, LoopValue];
  // What a span reads again was asked for on the way back through the one after it.
  if (decays === undefined) {
    for (const row of [deltaAt, xAt]) askRow(k, row, STEPS_AHEAD * channels, rowsOf(piece), cache);
  }
  const step = loadStep(k, piece, deltaAt, xAt);
  const inputs = { ...step, b: k.offset(b, t, states * 4), rates: scratch.rates, h, next, ...(decays && { decays }) };
  advanceStates(k, piece, states, inputs, [], (_next, sum) => sum);
}

/** One step back: what the cotangents of its states give, and those of the states before. */
function goBack(k: KernelBuilder, own: GradPiece, t: LoopValue, before: LoopValue, decays: LoopValue): void {
  const { dims, cache, piece, scratch } = own;
  const { channels, states } = dims;
  const { type, count } = piece;
  const rowBytes = rowsOf(piece) * 4;
  const vectors = Array.from({ length: count }, (_, v) => v * type.lanes * 4);
  const at = (base: LoopValue): LoopValue => k.offset(base, t, channels * 4);
  const { delta, drive } = loadStep(k, piece, at(own.delta), at(own.x));
  for (const row of [own.delta, own.x]) askRow(k, at(row), -spanOf(dims.time) * channels, rowsOf(piece), cache);
  for (const row of [own.dy, own.dDelta, own.dx]) askRow(k, at(row), -STEPS_AHEAD * channels, rowsOf(piece), cache);
  const dy = vectors.map((offset) => k.load(type, at(own.dy), offset));
  const [b, c] = [own.b, own.c].map((gates) => k.offset(gates, t, states * 4)) as [LoopValue, LoopValue];
  const dGates = k.offset(own.gates, t, own.gateStepBytes);
  askRow(k, dGates, (-STEPS_AHEAD * own.gateStepBytes) / 4, (2 * own.gateRowBytes) / 4, cache);
  const dGateRows = [dGates, k.add(dGates, k.index(own.gateRowBytes))] as const;
  const after = k.add(before, k.index(states * rowBytes));
  const zeros = Array.from({ length: 2 * count }, () => k.constant(type, 0));
  // Sums over states, for each vector: g b, and log2(e) a w g h before the step.
  const sums = eachColumn(k, states, Math.min(states, type.lanes), zeros, (turn, carried) => {
    const totals = [...carried];
    const [dB, dC] = [new ColumnSums(k), new ColumnSums(k)];
    for (let i = 0; i < turn.count; i++) {
      const [gateB, gateC] = [b, c].map((gates) => k.loadSplat(type, ...turn.row(gates, i, 4)));
      vectors.forEach((offset, v) => {
        const place = (array: LoopValue): readonly [LoopValue, number] => {
          const [address, row] = turn.row(array, i, rowBytes);
          return [address, row + offset];
        };
        const g = k.fma(gateC!, dy[v]!, k.load(type, ...place(scratch.g)));
        dB.add(g, drive[v]!);
        dC.add(dy[v]!, k.load(type, ...place(after)));
        totals[v] = k.fma(g, gateB!, totals[v]!);
        const back = k.mul(g, k.load(type, ...place(decays)));
        k.store(back, ...place(scratch.g));
        const change = k.mul(back, k.load(type, ...place(before)));
        totals[count + v] = k.fma(k.load(type, ...place(scratch.rates)), change, totals[count + v]!);
        k.store(k.fma(delta[v]!, change, k.load(type, ...place(scratch.da))), ...place(scratch.da));
      });
      dB.next();
      dC.next();
    }
    [dB, dC].forEach((sums, gate) => sums.store(turn.row(dGateRows[gate]!, 0, 4), own.addsToGates));
    return totals;
  });
  vectors.forEach((offset, v) => {
    const rate = k.mul(sums[count + v]!, k.constant(type, Math.LN2));
    k.store(k.fma(k.load(type, at(own.x), offset), sums[v]!, rate), at(own.dDelta), offset);
    k.store(k.mul(delta[v]!, sums[v]!), at(own.dx), offset);
  });
}

/** The cotangents of b and c from those of the blocks, [batch, time, blocks, 2, states in whole vectors]. */
function addBlocks(
  context: LowerContext,
  { batch, time, states }: ScanDims,
  { blocks }: RowBlocks,
  gateRowBytes: number,
  buffers: readonly BufferHandle[],
): void {
  const rows = Math.max(1, Math.floor(SUM_ELEMENTS / (2 * states * blocks)));
  const work = 2 * batch * time * blocks * states;
  context.call("selective_scan_grad_sum", Math.ceil((batch * time) / rows), work, buffers, (k, [from, ...to]) => {
    const first = k.mul(k.chunk, k.index(rows));
    k.loop(first, k.min(k.add(first, k.index(rows)), k.index(batch * time)), 1, (row) => {
      const start = k.offset(from!, row, blocks * 2 * gateRowBytes);
      for (const piece of rowPieces(states, context.lanes, 2)) {
        const offsets = [0, 1].flatMap((gate) => pieceOffsets(piece).map((offset) => gate * gateRowBytes + offset));
        const zeros = offsets.map(() => k.constant(piece.type, 0));
        const sums = k.for(0, blocks, 1, zeros, (block, totals) => {
          const at = k.offset(start, block, 2 * gateRowBytes);
          return totals.map((total, i) => k.add(total, k.load(piece.type, at, offsets[i])));
        });
        to.forEach((gate, i) => {
          const at = k.offset(gate, row, states * 4);
          pieceOffsets(piece).forEach((offset, v) => k.store(sums[i * piece.count + v]!, at, offset));
        });
      }
    });
  });
}

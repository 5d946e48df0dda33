// linear_recurrence and its adjoint as loops: a chunk is one sequence and one block of channels; time runs inside.
// Every value is read once and written once, so the speed is that of memory, and memory wants long runs: blocks are as
// wide as the number of chunks allows, and a step of a block is finished before the next. States stay in registers
// where they all fit, and in the first cache otherwise. (Taking a few steps of each channel at once was 0.7 times as
// fast.)

import type { KernelBuilder } from "../../loop/builder.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import { loopType } from "../../loop/ir.ts";
import type { BufferHandle, LowerContext } from "../../op.ts";
import { laneWidths, pieceOffsets, rowPieces } from "./lanes.ts";

/** Channels of a block, where there are more, and the chunks to aim for. */
const [CHANNELS_MIN, CHANNELS_MAX] = [256, 4096];
const CHUNKS = 8;

/** One step of some channels: the new state, and what is written. */
interface Step {
  readonly state: LoopValue;
  readonly output: LoopValue;
}

/** A recurrence over f and x, forwards from h0, or backwards from zero. */
interface Recurrence {
  readonly name: string;
  readonly backward: boolean;
  step(k: KernelBuilder, f: LoopValue, x: LoopValue, state: LoopValue): Step;
}

/** h = f h + i, from the first step to the last. */
const FORWARD: Recurrence = {
  name: "linear_recurrence",
  backward: false,
  step(k, f, x, state) {
    const next = k.fma(f, state, x);
    return { state: next, output: next };
  },
};

/** l = c + carried, carried = f l, from the last step to the first. */
const BACKWARD: Recurrence = {
  name: "linear_recurrence_adjoint",
  backward: true,
  step(k, f, x, state) {
    const value = k.add(x, state);
    return { state: k.mul(f, value), output: value };
  },
};

export function lowerLinearRecurrence(context: LowerContext): void {
  const buffers = [context.input(0), context.input(1), context.result(0), context.input(2)];
  lowerBlocks(context, FORWARD, buffers);
}

export function lowerLinearRecurrenceAdjoint(context: LowerContext): void {
  const buffers = [context.input(0), context.input(1), context.result(0)];
  lowerBlocks(context, BACKWARD, buffers);
}

/** A block of channels of one sequence: addresses of its first step, and of its first state. */
interface Block {
  readonly recurrence: Recurrence;
  readonly f: LoopValue;
  readonly x: LoopValue;
  readonly y: LoopValue;
  readonly h0: LoopValue | undefined;
  readonly time: number;
  readonly stepBytes: number;
  readonly lanes: number;
  /** Channels of this block. */
  readonly channels: number;
}

type RecurrenceSchedule = {
  /** Channels of a block. */
  readonly width: number;
};

/** As wide as leaves some chunks for each thread, and half as wide and twice and four times. */
function recurrenceSchedules(batch: number, channels: number, lanes: number): readonly RecurrenceSchedule[] {
  const even = Math.ceil((batch * channels) / CHUNKS / lanes) * lanes;
  const usual = Math.max(CHANNELS_MIN, Math.min(CHANNELS_MAX, even));
  const widths = [usual, usual / 2, usual * 2, usual * 4].map((width) => {
    return Math.min(channels, Math.ceil(width / lanes) * lanes);
  });
  return [...new Set(widths)].map((width) => ({ width }));
}

function lowerBlocks(context: LowerContext, recurrence: Recurrence, buffers: readonly BufferHandle[]): void {
  const [batch, time, channels] = context.node.results[0]!.shape as [number, number, number];
  const { lanes } = context;
  const { width } = context.choose(recurrenceSchedules(batch, channels, lanes));
  const blocks = Math.ceil(channels / width);
  context.call(recurrence.name, batch * blocks, 2 * batch * time * channels, buffers, (k, [f, x, y, h0]) => {
    const sequence = k.div(k.chunk, k.index(blocks));
    const block = k.rem(k.chunk, k.index(blocks));
    const within = k.mul(block, k.index(width * 4));
    const start = (base: LoopValue): LoopValue => k.add(k.offset(base, sequence, time * channels * 4), within);
    const [fAt, xAt, yAt] = [start(f!), start(x!), start(y!)];
    const run = (count: number) => (): readonly LoopValue[] => {
      const first = h0 === undefined ? undefined : k.add(k.offset(h0, sequence, channels * 4), within);
      const sizes = { time, stepBytes: channels * 4, lanes, channels: count };
      const at: Block = { recurrence, f: fAt, x: xAt, y: yAt, h0: first, ...sizes };
      if (count <= context.registers * lanes) inRegisters(k, at);
      else inScratch(k, at);
      return [];
    };
    const rest = channels % width;
    if (rest === 0) run(width)();
    else if (blocks === 1) run(rest)();
    else k.if(k.compare("eq", block, k.index(blocks - 1)), run(rest), run(width));
  });
}

/** All states in registers, step by step. */
function inRegisters(k: KernelBuilder, block: Block): void {
  const { recurrence, channels, lanes, time, stepBytes } = block;
  for (const piece of rowPieces(channels, lanes, channels)) {
    const offsets = pieceOffsets(piece);
    const first = offsets.map((offset) =>
      block.h0 === undefined ? k.constant(piece.type, 0) : k.load(piece.type, block.h0, offset),
    );
    k.for(0, time * stepBytes, stepBytes, first, (at, states) => {
      const step = recurrence.backward ? k.sub(k.index((time - 1) * stepBytes), at) : at;
      const rows = rowsAt(k, block, step);
      return states.map((state, i) => takeStep(k, block, piece.type, rows, offsets[i]!, state));
    });
  }
}

interface Rows {
  readonly f: LoopValue;
  readonly x: LoopValue;
  readonly y: LoopValue;
}

function rowsAt(k: KernelBuilder, { f, x, y }: Block, offset: LoopValue): Rows {
  return { f: k.add(f, offset), x: k.add(x, offset), y: k.add(y, offset) };
}

/** One step of the channels at a byte offset of a row; gives their new state. */
function takeStep(
  k: KernelBuilder,
  { recurrence }: Block,
  type: LoopType,
  { f, x, y }: Rows,
  offset: number,
  state: LoopValue,
): LoopValue {
  const next = recurrence.step(k, k.load(type, f, offset), k.load(type, x, offset), state);
  k.store(next.output, y, offset);
  return next.state;
}

/** Row after row, with the states in scratch. */
function inScratch(k: KernelBuilder, block: Block): void {
  const { recurrence, channels, lanes, time, stepBytes } = block;
  const states = k.allocateScratch(channels * 4);
  const everywhere = (use: (type: LoopType, at: LoopValue) => void): void => {
    let done = 0;
    for (const width of laneWidths(lanes)) {
      const end = channels - ((channels - done) % width);
      const type = loopType("f32", width);
      if (end > done) k.loop(done * 4, end * 4, width * 4, (at) => use(type, at));
      done = end;
    }
  };
  everywhere((type, at) => {
    const first = block.h0 === undefined ? k.constant(type, 0) : k.load(type, k.add(block.h0, at));
    k.store(first, k.add(states, at));
  });
  k.loop(0, time * stepBytes, stepBytes, (at) => {
    const rows = rowsAt(k, block, recurrence.backward ? k.sub(k.index((time - 1) * stepBytes), at) : at);
    everywhere((type, column) => {
      const state = k.add(states, column);
      const [f, x, y] = [rows.f, rows.x, rows.y].map((row) => k.add(row, column));
      k.store(takeStep(k, block, type, { f: f!, x: x!, y: y! }, 0, k.load(type, state)), state);
    });
  });
}

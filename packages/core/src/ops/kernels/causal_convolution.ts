// causal_convolution as loops: a chunk is some steps of one sequence, and a step is one row of all channels, so that
// memory is read and written in long runs. A few steps are computed together, which reads the rows that they share, and
// the taps, once. The weight is turned once to [size, channels]. The first steps see rows of the state, which are laid
// before the first rows of x in scratch. The state after is written by a call of its own: it may lie where the one
// before does.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { BufferHandle, LowerContext } from "../../op.ts";
import type { ConvolutionDims } from "../causal_convolution.ts";
import { convolutionDims } from "../causal_convolution.ts";
import { laneWidths } from "./lanes.ts";
import { eachElement } from "./row_states.ts";

/** Elements that a chunk writes about. */
const CHUNK_ELEMENTS = 32768;
/** Taps that are taken one after the other in code; more of them run in a loop. */
const UNROLLED_TAPS = 8;
/** Steps that are computed together: they read the taps, and the rows that they share, once. */
const TOGETHER = 4;
/** Steps whose rows are asked for ahead: processors follow so many short runs at once too late by themselves. */
const STEPS_AHEAD = 8;

/** How many steps a chunk has, and how many chunks a sequence. */
export function cutSteps({ time, channels }: ConvolutionDims): { readonly steps: number; readonly blocks: number } {
  const steps = Math.min(time, Math.max(1, Math.floor(CHUNK_ELEMENTS / channels / TOGETHER)) * TOGETHER);
  return { steps, blocks: Math.ceil(time / steps) };
}

/** The weight, an input [channels, size], as [size, channels]. */
export function prepareTaps(context: LowerContext, input: number, dims: ConvolutionDims): BufferHandle {
  const { channels, size } = dims;
  const elements = channels * size;
  return context.prepare("convolution_taps", input, elements * 4, 1, elements, (k, [from, to]) => {
    let done = 0;
    for (const width of size > UNROLLED_TAPS ? [1] : laneWidths(context.lanes)) {
      const end = channels - ((channels - done) % width);
      if (end > done) {
        k.loop(done, end, width, (d) => turnTaps(k, dims, width, k.offset(from!, d, size * 4), k.offset(to!, d, 4)));
      }
      done = end;
    }
  });
}

/** The taps of `width` channels: rows of [channels, size] to columns of [size, channels]. */
function turnTaps(
  k: KernelBuilder,
  { channels, size }: ConvolutionDims,
  width: number,
  rows: LoopValue,
  columns: LoopValue,
): void {
  if (width === 1) {
    k.loop(0, size, 1, (j) => k.store(k.load(F32, k.offset(rows, j, 4)), k.offset(columns, j, channels * 4)));
    return;
  }
  const type = loopType("f32", width);
  const vectors = Array.from({ length: size }, (_, i) => k.load(type, rows, i * width * 4));
  for (let j = 0; j < size; j++) {
    // Lane i is element i size + j of the vectors side by side; each vector brings those that lie in it.
    const places = Array.from({ length: width }, (_, i) => i * size + j);
    const column = vectors.reduce((before, vector, at) => {
      const kept = (place: number, lane: number): number => (at === 1 ? place % width : lane);
      const lanes = places.map((place, lane) =>
        Math.floor(place / width) === at ? width + (place % width) : kept(place, lane),
      );
      return k.shuffle(before, vector, lanes);
    });
    k.store(column, columns, j * channels * 4);
  }
}

/** What rows of results are computed from. */
export interface ConvolvedRows {
  /** The first of the rows that the first result is a sum of; the next result begins one row later. */
  readonly rows: LoopValue;
  readonly taps: LoopValue;
  readonly to: LoopValue;
  /** Takes the taps from the last on. */
  readonly reversed?: boolean;
  /** Rows that are added. */
  readonly plus?: LoopValue;
}

/**
 * `count` rows of results side by side, each the sum of `size` rows times their taps. Many taps are taken in a loop,
 * for one row only.
 */
export function convolveRows(
  k: KernelBuilder,
  { channels, size }: ConvolutionDims,
  lanes: number,
  { rows, taps, to, reversed = false, plus }: ConvolvedRows,
  count: number,
): void {
  const rowBytes = channels * 4;
  eachElement(k, channels, lanes, (type, at) => {
    const [inputs, weights, target] = [k.add(rows, at), k.add(taps, at), k.add(to, at)];
    const before = plus && k.add(plus, at);
    let sums = Array.from({ length: count }, (_, i) =>
      before === undefined ? k.constant(type, 0) : k.load(type, before, i * rowBytes),
    );
    if (size <= UNROLLED_TAPS) {
      if (count > 1) sums.forEach((_, i) => k.prefetch(inputs, (STEPS_AHEAD + size - 1 + i) * rowBytes));
      const read = Array.from({ length: size + count - 1 }, (_, i) => k.load(type, inputs, i * rowBytes));
      for (let j = 0; j < size; j++) {
        const tap = k.load(type, weights, (reversed ? size - 1 - j : j) * rowBytes);
        sums = sums.map((sum, i) => k.fma(read[i + j]!, tap, sum));
      }
    } else {
      sums = k.for(0, size, 1, sums, (j, [so]) => {
        const tap = reversed ? k.sub(k.index(size - 1), j) : j;
        return [
          k.fma(k.load(type, k.offset(inputs, j, rowBytes)), k.load(type, k.offset(weights, tap, rowBytes)), so!),
        ];
      }) as LoopValue[];
    }
    sums.forEach((sum, i) => k.store(sum, target, i * rowBytes));
  });
}

/** Steps from `start` to `end`, as many together as `convolveRows` takes at once, and then one by one. */
export function eachSteps(
  k: KernelBuilder,
  { size }: ConvolutionDims,
  start: LoopValue,
  end: LoopValue,
  use: (t: LoopValue, count: number) => void,
): void {
  const count = size <= UNROLLED_TAPS ? TOGETHER : 1;
  const whole = k.sub(end, k.rem(k.sub(k.max(end, start), start), k.index(count)));
  k.loop(start, whole, count, (t) => use(t, count));
  if (count > 1) k.loop(k.max(start, whole), end, 1, (t) => use(t, 1));
}

/** Copies elements that lie side by side, from the first to the last; zeros where there is nothing to copy from. */
export function copyElements(
  k: KernelBuilder,
  from: LoopValue | undefined,
  to: LoopValue,
  count: number,
  lanes: number,
): void {
  if (count <= 0) return;
  eachElement(k, count, lanes, (type, at) => {
    k.store(from === undefined ? k.constant(type, 0) : k.load(type, k.add(from, at)), k.add(to, at));
  });
}

/** The state of a sequence and then its first rows, as many: what the first steps see. In scratch. */
export function firstRows(
  k: KernelBuilder,
  { time, channels, size }: ConvolutionDims,
  lanes: number,
  state: LoopValue | undefined,
  x: LoopValue,
): LoopValue {
  const before = (size - 1) * channels;
  const rows = k.allocateScratch(2 * before * 4);
  copyElements(k, state, rows, before, lanes);
  const seen = Math.min(time, size - 1) * channels;
  copyElements(k, x, k.add(rows, k.index(before * 4)), seen, lanes);
  copyElements(k, undefined, k.add(rows, k.index((before + seen) * 4)), before - seen, lanes);
  return rows;
}

export function lowerCausalConvolution(context: LowerContext): void {
  const [x, weight] = context.node.inputs;
  const dims = convolutionDims(x!.type, weight!.type);
  const { batch, time, channels, size } = dims;
  const { lanes } = context;
  const { steps, blocks } = cutSteps(dims);
  const taps = prepareTaps(context, 1, dims);
  const work = 2 * batch * time * channels * size;
  const buffers = [context.input(0), taps, context.input(2), context.result(0)];
  context.call("causal_convolution", batch * blocks, work, buffers, (k, bases) => {
    const [xBase, tapsAt, stateBase, yBase] = bases as readonly LoopValue[];
    const [sequence, block] = [k.div(k.chunk, k.index(blocks)), k.rem(k.chunk, k.index(blocks))];
    const [xAt, yAt] = [xBase!, yBase!].map((base) => k.offset(base, sequence, time * channels * 4));
    const start = k.mul(block, k.index(steps));
    const end = k.min(k.add(start, k.index(steps)), k.index(time));
    const compute = (rows: LoopValue, t: LoopValue, count: number): void =>
      convolveRows(k, dims, lanes, { rows, taps: tapsAt!, to: k.offset(yAt!, t, channels * 4) }, count);
    const first = k.index(Math.min(time, size - 1));
    k.if(k.compare("lt", start, first), () => {
      const state = k.offset(stateBase!, sequence, (size - 1) * channels * 4);
      const rows = firstRows(k, dims, lanes, state, xAt!);
      k.loop(start, k.min(first, end), 1, (t) => compute(k.offset(rows, t, channels * 4), t, 1));
      return [];
    });
    eachSteps(k, dims, k.max(start, first), end, (t, count) =>
      compute(k.offset(xAt!, k.sub(t, k.index(size - 1)), channels * 4), t, count),
    );
  });
  writeState(context, dims);
}

/** The last inputs. Where they include some of the state, those move to the front, row after row. */
function writeState(context: LowerContext, { batch, time, channels, size }: ConvolutionDims): void {
  const { lanes } = context;
  const elements = (size - 1) * channels;
  const kept = Math.max(0, size - 1 - time) * channels;
  const buffers = [context.input(0), context.input(2), context.result(1)];
  context.call("causal_convolution_state", batch, batch * elements, buffers, (k, [x, state, last]) => {
    const [from, to] = [state!, last!].map((base) => k.offset(base, k.chunk, elements * 4)) as [LoopValue, LoopValue];
    copyElements(k, k.add(from, k.index(time * channels * 4)), to, kept, lanes);
    const start = k.add(k.offset(x!, k.chunk, time * channels * 4), k.index((time * channels - (elements - kept)) * 4));
    copyElements(k, start, k.add(to, k.index(kept * 4)), elements - kept, lanes);
  });
}

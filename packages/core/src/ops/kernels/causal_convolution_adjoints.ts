// The transposes of causal_convolution as loops. That in the inputs is a convolution with the taps reversed, which for
// the last steps sees zeros behind the sequence; that in the weight is a sum over all steps: chunks of steps leave
// their own, with the sums of a few channels in registers, and a call adds them up in order.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, loopType } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import type { BufferHandle, LowerContext } from "../../op.ts";
import type { ConvolutionDims } from "../causal_convolution.ts";
import { convolutionDims } from "../causal_convolution.ts";
import { convolveRows, copyElements, cutSteps, eachSteps, firstRows, prepareTaps } from "./causal_convolution.ts";
import { laneWidths } from "./lanes.ts";
import { askRow, STEPS_AHEAD } from "./row_states.ts";

export function lowerCausalConvolutionTranspose(context: LowerContext): void {
  const [dy, weight] = context.node.inputs;
  const dims = convolutionDims(dy!.type, weight!.type);
  const { batch, time, channels, size } = dims;
  const { lanes } = context;
  const { steps, blocks } = cutSteps(dims);
  const taps = prepareTaps(context, 1, dims);
  const rowBytes = channels * 4;
  const inputs = [context.input(0), taps, context.input(2)];
  const work = 2 * batch * time * channels * size;
  context.call("causal_convolution_transpose", batch * blocks, work, [...inputs, context.result(0)], (k, bases) => {
    const [dyBase, tapsAt, dLastBase, dxBase] = bases as readonly LoopValue[];
    const [sequence, block] = [k.div(k.chunk, k.index(blocks)), k.rem(k.chunk, k.index(blocks))];
    const [dyAt, dxAt] = [dyBase!, dxBase!].map((base) => k.offset(base, sequence, time * rowBytes));
    const start = k.mul(block, k.index(steps));
    const end = k.min(k.add(start, k.index(steps)), k.index(time));
    const compute = (rows: LoopValue, t: LoopValue, count: number, plus?: LoopValue): void => {
      const to = k.offset(dxAt!, t, rowBytes);
      convolveRows(k, dims, lanes, { rows, taps: tapsAt!, to, reversed: true, ...(plus && { plus }) }, count);
    };
    // Steps from here on see what is behind the last one.
    const late = Math.max(0, time - size + 1);
    eachSteps(k, dims, start, k.min(end, k.index(late)), (t, count) => compute(k.offset(dyAt!, t, rowBytes), t, count));
    k.if(k.compare("gt", end, k.index(late)), () => {
      const rows = lastRows(k, dims, lanes, dyAt!);
      const dLast = k.offset(dLastBase!, sequence, (size - 1) * rowBytes);
      k.loop(k.max(start, k.index(late)), end, 1, (t) => {
        const behind = k.sub(k.add(t, k.index(size - 1)), k.index(time));
        compute(k.offset(rows, behind, rowBytes), t, 1, k.offset(dLast, behind, rowBytes));
      });
      return [];
    });
  });
  const small = 2 * batch * (size - 1) * channels * size;
  context.call("causal_convolution_before", batch, small, [...inputs, context.result(1)], (k, bases) => {
    const [dyBase, tapsAt, dLastBase, dStateBase] = bases as readonly LoopValue[];
    const rows = firstRows(k, dims, lanes, undefined, k.offset(dyBase!, k.chunk, time * rowBytes));
    const [dLast, dState] = [dLastBase!, dStateBase!].map((base) => k.offset(base, k.chunk, (size - 1) * rowBytes));
    const row = (p: LoopValue, plus?: LoopValue): void => {
      const to = k.offset(dState!, p, rowBytes);
      const at = { rows: k.offset(rows, p, rowBytes), taps: tapsAt!, to, reversed: true, ...(plus && { plus }) };
      convolveRows(k, dims, lanes, at, 1);
    };
    const own = Math.min(time, size - 1);
    k.loop(0, own, 1, (p) => row(p));
    if (own < size - 1) {
      k.loop(own, size - 1, 1, (p) => row(p, k.offset(dLast!, k.sub(p, k.index(time)), rowBytes)));
    }
  });
}

/** The last size - 1 rows of a sequence, zeros where there are fewer, and then as many zeros. In scratch. */
function lastRows(
  k: KernelBuilder,
  { time, channels, size }: ConvolutionDims,
  lanes: number,
  dy: LoopValue,
): LoopValue {
  const before = (size - 1) * channels;
  const seen = Math.min(time, size - 1) * channels;
  const rows = k.allocateScratch(2 * before * 4);
  copyElements(k, undefined, rows, before - seen, lanes);
  const from = k.add(dy, k.index((time * channels - seen) * 4));
  copyElements(k, from, k.add(rows, k.index((before - seen) * 4)), seen, lanes);
  copyElements(k, undefined, k.add(rows, k.index(before * 4)), before, lanes);
  return rows;
}

/** Sums that stay in registers, and taps of them at most. */
const [SUMS, TAPS] = [16, 8];
/** Steps that a chunk adds up at least, and chunks that are enough. */
const [STEPS_MIN, ENOUGH_CHUNKS] = [64, 16];

export function lowerCausalConvolutionWeights(context: LowerContext): void {
  const [x] = context.node.inputs;
  const [weight] = context.node.results;
  const dims = convolutionDims(x!.type, weight!.type);
  const { batch, time, channels, size } = dims;
  const { lanes } = context;
  const steps = Math.min(time, Math.max(STEPS_MIN, Math.ceil((batch * time) / ENOUGH_CHUNKS)));
  const blocks = Math.ceil(time / steps);
  const sums = context.temporary(batch * blocks * size * channels * 4);
  const work = 2 * batch * time * channels * size;
  const buffers = [context.input(0), context.input(1), context.input(2), sums];
  context.call("causal_convolution_weights", batch * blocks, work, buffers, (k, bases) => {
    const [xBase, dyBase, stateBase, sumsBase] = bases as readonly LoopValue[];
    const [sequence, block] = [k.div(k.chunk, k.index(blocks)), k.rem(k.chunk, k.index(blocks))];
    const [xAt, dyAt] = [xBase!, dyBase!].map((base) => k.offset(base, sequence, time * channels * 4));
    const start = k.mul(block, k.index(steps));
    const end = k.min(k.add(start, k.index(steps)), k.index(time));
    const first = k.min(k.max(start, k.index(Math.min(time, size - 1))), end);
    const state = k.offset(stateBase!, sequence, (size - 1) * channels * 4);
    const rows = firstRows(k, dims, lanes, state, xAt!);
    const to = k.offset(sumsBase!, k.chunk, size * channels * 4);
    eachGroup(dims, lanes, (type, vectors, from, until, tap, taps) => {
      k.loop(from * 4, until * 4, vectors * type.lanes * 4, (at) => {
        const offsets = Array.from({ length: vectors }, (_, v) => v * type.lanes * 4);
        const add = (inputs: LoopValue, t: LoopValue, so: readonly LoopValue[]): readonly LoopValue[] => {
          const cotangents = k.add(k.offset(dyAt!, t, channels * 4), at);
          const row = k.add(inputs, at);
          askRow(k, cotangents, STEPS_AHEAD * channels, vectors * type.lanes);
          askRow(k, row, (STEPS_AHEAD + size) * channels, vectors * type.lanes);
          return offsets.flatMap((offset, v) => {
            const cotangent = k.load(type, cotangents, offset);
            return Array.from({ length: taps }, (_, j) => {
              const input = k.load(type, row, offset + (tap + j) * channels * 4);
              return k.fma(cotangent, input, so[v * taps + j]!);
            });
          });
        };
        const zeros = Array.from({ length: vectors * taps }, () => k.constant(type, 0));
        const early = k.for(start, first, 1, zeros, (t, so) => add(k.offset(rows, t, channels * 4), t, so));
        const all = k.for(first, end, 1, early, (t, so) =>
          add(k.offset(xAt!, k.sub(t, k.index(size - 1)), channels * 4), t, so),
        );
        all.forEach((sum, i) => {
          const offset = offsets[Math.floor(i / taps)]! + (tap + (i % taps)) * channels * 4;
          k.store(sum, k.add(to, at), offset);
        });
      });
    });
  });
  addBlocks(context, dims, batch * blocks, sums);
}

/** Groups of channels and taps whose sums fit in registers: `vectors` side by side from channel `from` to `until`. */
function eachGroup(
  { channels, size }: ConvolutionDims,
  lanes: number,
  use: (type: LoopType, vectors: number, from: number, until: number, tap: number, taps: number) => void,
): void {
  for (let tap = 0; tap < size; tap += TAPS) {
    const taps = Math.min(TAPS, size - tap);
    let done = 0;
    for (const width of laneWidths(lanes)) {
      for (const vectors of [Math.max(1, Math.floor(SUMS / taps)), 1]) {
        const step = vectors * width;
        const until = channels - ((channels - done) % step);
        if (until > done) use(loopType("f32", width), vectors, done, until, tap, taps);
        done = until;
      }
    }
  }
}

/** The weight's cotangents [channels, size] from those of blocks, [blocks, size, channels]. */
function addBlocks(context: LowerContext, dims: ConvolutionDims, blocks: number, sums: BufferHandle): void {
  const { channels, size } = dims;
  const work = 2 * blocks * channels * size;
  context.call("causal_convolution_weights_sum", size, work, [sums, context.result(0)], (k, [from, to]) => {
    const start = k.offset(from!, k.chunk, channels * 4);
    k.loop(0, channels, 1, (d) => {
      const [sum] = k.for(0, blocks, 1, [k.constant(F32, 0)], (block, [so]) => {
        return [k.add(so!, k.load(F32, k.offset(k.offset(start, block, size * channels * 4), d, 4)))];
      });
      k.store(sum!, k.offset(k.offset(to!, d, size * 4), k.chunk, 4));
    });
  });
}

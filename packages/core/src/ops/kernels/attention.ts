// attention as loops: a chunk is one head of one sequence. Two queries at a time (one when there is one): their scores
// with all keys they see go to scratch, four keys a step; then the exponentials; then the weighted sum of the values.
// Keys and values behind the last visible one are never read.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, I32, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { expOf, logOf } from "../../loop/math.ts";
import type { LowerContext } from "../../op.ts";
import { roundUp } from "../../storage.ts";
import type { AttentionAttrs, AttentionDims } from "../attention.ts";
import { attentionDims } from "../attention.ts";
import { dotRows, headBase, headStrides, keyRows, loadPosition, sumRows } from "./attention_blocks.ts";
import { foldLanes, laneIndices } from "./lanes.ts";

/** Queries of a register block. */
const BLOCK_QUERIES = 2;
/** Below every score; its exponential is 0. */
const MASKED = -1e30;

/** What a block of queries needs to know of its head. */
interface Head {
  readonly dims: AttentionDims;
  readonly scale: number;
  readonly lanes: number;
  /** Addresses of time step 0. */
  readonly q: LoopValue;
  readonly keys: LoopValue;
  readonly values: LoopValue;
  readonly o: LoopValue;
  readonly lse: LoopValue;
  readonly position: LoopValue;
  /** Scratch [queries of a block, capacity in whole vectors]. */
  readonly scores: LoopValue;
  readonly scoresStrideBytes: number;
}

export function lowerAttention(context: LowerContext, { scale }: AttentionAttrs): void {
  const [q, keys] = context.node.inputs;
  const dims = attentionDims(q!.type, keys!.type);
  const { batch, time, heads, size, capacity, groupSize } = dims;
  const strides = headStrides(dims);
  const inputs = [0, 1, 2, 3].map((i) => context.input(i));
  const buffers = [...inputs, context.result(0), context.result(1)];
  const work = 4 * batch * heads * time * capacity * size;
  context.call("attention", batch * heads, work, buffers, (k, [qBase, kBase, vBase, position, oBase, lseBase]) => {
    const sequence = k.div(k.chunk, k.index(heads));
    const head = k.rem(k.chunk, k.index(heads));
    const keyHead = k.div(head, k.index(groupSize));
    const queries = Math.min(time, BLOCK_QUERIES);
    const scoresStrideBytes = roundUp(capacity, context.lanes) * 4;
    const state: Head = {
      dims,
      scale,
      lanes: context.lanes,
      q: headBase(k, qBase!, sequence, head, time, strides.query, size),
      keys: headBase(k, kBase!, sequence, keyHead, capacity, strides.key, size),
      values: headBase(k, vBase!, sequence, keyHead, capacity, strides.key, size),
      o: headBase(k, oBase!, sequence, head, time, strides.query, size),
      lse: k.offset(lseBase!, k.chunk, time * 4),
      position: loadPosition(k, position!),
      scores: k.allocateScratch(queries * scoresStrideBytes),
      scoresStrideBytes,
    };
    const whole = time - (time % queries);
    k.loop(0, whole, queries, (t) => queryBlock(k, state, t, queries));
    if (time > whole) queryBlock(k, state, k.index(whole), 1);
  });
}

function queryBlock(k: KernelBuilder, head: Head, t: LoopValue, height: number): void {
  const { dims, position, scores, scoresStrideBytes, lanes } = head;
  const visible = k.min(k.add(k.add(position, t), k.index(height)), k.index(dims.capacity));
  const largest = writeScores(k, head, t, visible, height);
  const totals = exponentials(k, head, visible, largest);
  const o = k.offset(head.o, t, headStrides(dims).query);
  const inverses = totals.map((total) => k.div(k.constant(F32, 1), total));
  const rows = {
    rows: head.values,
    rowStrideBytes: headStrides(dims).key,
    weights: scores,
    weightStrideBytes: 4,
    sumStrideBytes: scoresStrideBytes,
    count: visible,
    size: dims.size,
  };
  sumRows(k, rows, height, lanes, (value, i, offset) => {
    k.store(k.mul(value, k.splat(inverses[i]!, value.type.lanes)), o, i * headStrides(dims).query + offset);
  });
  const lse = k.offset(head.lse, t, 4);
  totals.forEach((total, i) => k.store(k.add(largest[i]!, logOf(k, total)), lse, i * 4));
}

/** Writes the masked scores of `height` queries from t on, and gives the largest of each. */
function writeScores(k: KernelBuilder, head: Head, t: LoopValue, visible: LoopValue, height: number): LoopValue[] {
  const { dims, lanes, scores, scoresStrideBytes, position, scale } = head;
  const strides = headStrides(dims);
  const q = k.offset(head.q, t, strides.query);
  const lane = laneIndices(k, lanes);
  const limits = Array.from({ length: height }, (_, i) => {
    const limit = k.min(k.add(k.add(position, t), k.index(i)), k.index(dims.capacity - 1));
    return k.splat(k.convert(I32, limit), lanes);
  });
  const last = k.sub(visible, k.index(1));
  const masked = k.splat(k.constant(F32, MASKED), lanes);
  const factor = k.splat(k.constant(F32, scale), lanes);
  const maxima = k.for(
    0,
    visible,
    lanes,
    limits.map(() => masked),
    (key, carried) => {
      const rows = keyRows(k, head.keys, key, last, strides.key, lanes);
      const products = dotRows(k, q, strides.query, height, rows, dims.size);
      const keyIndex = k.add(lane, k.splat(k.convert(I32, key), lanes));
      const to = k.offset(scores, key, 4);
      return products.map((product, i) => {
        const score = k.select(k.compare("le", keyIndex, limits[i]!), k.mul(product, factor), masked);
        k.store(score, to, i * scoresStrideBytes);
        return k.max(carried[i]!, score);
      });
    },
  );
  return maxima.map((max) => foldLanes(k, max, (a, b) => k.max(a, b)));
}

/** Replaces scores by exp(score - largest), and gives the sum for each query. */
function exponentials(k: KernelBuilder, head: Head, visible: LoopValue, largest: readonly LoopValue[]): LoopValue[] {
  const { lanes, scores, scoresStrideBytes } = head;
  const type = loopType("f32", lanes);
  const shifts = largest.map((value) => k.splat(value, lanes));
  const totals = k.for(
    0,
    visible,
    lanes,
    shifts.map(() => k.constant(type, 0)),
    (key, carried) => {
      const at = k.offset(scores, key, 4);
      return carried.map((total, i) => {
        const weight = expOf(k, k.sub(k.load(type, at, i * scoresStrideBytes), shifts[i]!));
        k.store(weight, at, i * scoresStrideBytes);
        return k.add(total, weight);
      });
    },
  );
  return totals.map((total) => foldLanes(k, total, (a, b) => k.add(a, b)));
}

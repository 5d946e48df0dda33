// attention_grad as loops: a chunk is one key head of one sequence, and adds up its dk and dv in place, over the heads
// of its group one after another. A few queries at a time: their weights p and score cotangents ds go to scratch; dq
// sums keys by ds; then every key's dk and dv gain the sums of the queries by ds and of the dO by p.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, I32, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { expOf } from "../../loop/math.ts";
import type { LowerContext } from "../../op.ts";
import { roundUp } from "../../storage.ts";
import type { AttentionAttrs, AttentionDims } from "../attention.ts";
import { attentionDims } from "../attention.ts";
import type { HeadStrides } from "./attention_blocks.ts";
import { dotRows, headBase, headStrides, keyRows, loadPosition, sumRows } from "./attention_blocks.ts";
import { laneIndices, pieceOffsets, rowPieces } from "./lanes.ts";

/** Queries whose weights are in scratch together, and queries and keys of a register block. */
const BLOCK_QUERIES = 8;
const STEP = 2;

/** What is the same for all heads of a chunk: addresses of key 0, and scratch [queries of a block, capacity]. */
interface KeyHead {
  readonly dims: AttentionDims;
  readonly strides: HeadStrides;
  readonly scale: number;
  readonly lanes: number;
  readonly keys: LoopValue;
  readonly values: LoopValue;
  readonly dk: LoopValue;
  readonly dv: LoopValue;
  readonly position: LoopValue;
  readonly p: LoopValue;
  readonly ds: LoopValue;
  readonly rowBytes: number;
}

/** One head of the group: addresses of time step 0; those of lse and delta step by 4 and `heads` * 4. */
interface QueryHead {
  readonly q: LoopValue;
  readonly dO: LoopValue;
  readonly dq: LoopValue;
  readonly lse: LoopValue;
  readonly delta: LoopValue;
}

export function lowerAttentionGrad(context: LowerContext, { scale }: AttentionAttrs): void {
  const [q, keys] = context.node.inputs;
  const dims = attentionDims(q!.type, keys!.type);
  const { batch, time, heads, size, capacity, keyHeads, groupSize } = dims;
  const strides = headStrides(dims);
  const inputs = [0, 1, 2, 3, 4, 5, 6].map((i) => context.input(i));
  const buffers = [...inputs, context.result(0), context.result(1), context.result(2)];
  const work = 10 * batch * heads * time * capacity * size;
  context.call("attention_grad", batch * keyHeads, work, buffers, (k, bases) => {
    const [qBase, kBase, vBase, lse, dO, delta, position, dqBase, dkBase, dvBase] = bases as readonly LoopValue[];
    const sequence = k.div(k.chunk, k.index(keyHeads));
    const keyHead = k.rem(k.chunk, k.index(keyHeads));
    const ofKeys = (base: LoopValue): LoopValue => headBase(k, base, sequence, keyHead, capacity, strides.key, size);
    const rowBytes = roundUp(capacity, context.lanes) * 4;
    const queries = Math.min(time, BLOCK_QUERIES);
    const shared: KeyHead = {
      dims,
      strides,
      scale,
      lanes: context.lanes,
      keys: ofKeys(kBase!),
      values: ofKeys(vBase!),
      dk: ofKeys(dkBase!),
      dv: ofKeys(dvBase!),
      position: loadPosition(k, position!),
      p: k.allocateScratch(queries * rowBytes),
      ds: k.allocateScratch(queries * rowBytes),
      rowBytes,
    };
    clearRows(k, shared, shared.dk);
    clearRows(k, shared, shared.dv);
    k.loop(0, groupSize, 1, (member) => {
      const head = k.add(k.mul(keyHead, k.index(groupSize)), member);
      const ofQueries = (base: LoopValue): LoopValue => headBase(k, base, sequence, head, time, strides.query, size);
      const queryHead: QueryHead = {
        q: ofQueries(qBase!),
        dO: ofQueries(dO!),
        dq: ofQueries(dqBase!),
        lse: k.offset(k.offset(lse!, sequence, heads * time * 4), head, time * 4),
        delta: k.offset(k.offset(delta!, sequence, heads * time * 4), head, 4),
      };
      const whole = time - (time % queries);
      k.loop(0, whole, queries, (t) => queryBlock(k, shared, queryHead, t, queries));
      if (time > whole) queryBlock(k, shared, queryHead, k.index(whole), time - whole);
    });
  });
}

function clearRows(k: KernelBuilder, { dims, strides, lanes }: KeyHead, rows: LoopValue): void {
  k.loop(0, dims.capacity * strides.key, strides.key, (at) => {
    const row = k.add(rows, at);
    for (const piece of rowPieces(dims.size, lanes, dims.size)) {
      for (const offset of pieceOffsets(piece)) k.store(k.constant(piece.type, 0), row, offset);
    }
  });
}

function queryBlock(k: KernelBuilder, shared: KeyHead, head: QueryHead, t: LoopValue, height: number): void {
  const { dims, strides, position, lanes, rowBytes } = shared;
  const visible = k.min(k.add(k.add(position, t), k.index(height)), k.index(dims.capacity));
  const even = height - (height % STEP);
  const queries = (first: LoopValue, count: number): void => queryRows(k, shared, head, t, first, visible, count);
  if (even > 0) k.loop(0, even, STEP, (first) => queries(first, STEP));
  if (height > even) queries(k.index(even), height - even);
  const addTo = (to: LoopValue, weights: LoopValue, rows: LoopValue): void => {
    const keys = (first: LoopValue, count: number): void => {
      const input = {
        rows: k.offset(rows, t, strides.query),
        rowStrideBytes: strides.query,
        weights: k.offset(weights, first, 4),
        weightStrideBytes: rowBytes,
        sumStrideBytes: 4,
        count: k.index(height),
        size: dims.size,
      };
      const at = k.offset(to, first, strides.key);
      sumRows(k, input, count, lanes, (value, i, offset) => {
        k.store(k.add(k.load(value.type, at, i * strides.key + offset), value), at, i * strides.key + offset);
      });
    };
    const wholeKeys = k.sub(visible, k.rem(visible, k.index(STEP)));
    k.loop(0, wholeKeys, STEP, (first) => keys(first, STEP));
    k.loop(wholeKeys, visible, 1, (first) => keys(first, 1));
  };
  addTo(shared.dk, shared.ds, head.q);
  addTo(shared.dv, shared.p, head.dO);
}

/** Writes p and ds of the `count` queries from t + first on, for all keys of the block, and their dq. */
function queryRows(
  k: KernelBuilder,
  shared: KeyHead,
  head: QueryHead,
  t: LoopValue,
  first: LoopValue,
  visible: LoopValue,
  count: number,
): void {
  const { dims, strides, lanes, rowBytes } = shared;
  const at = k.add(t, first);
  const [q, dO] = [k.offset(head.q, at, strides.query), k.offset(head.dO, at, strides.query)];
  const [p, ds] = [k.offset(shared.p, first, rowBytes), k.offset(shared.ds, first, rowBytes)];
  const type = loopType("f32", lanes);
  const lane = laneIndices(k, lanes);
  const rows = Array.from({ length: count }, (_, i) => {
    const limit = k.min(k.add(k.add(shared.position, at), k.index(i)), k.index(dims.capacity - 1));
    return {
      limit: k.splat(k.convert(I32, limit), lanes),
      lse: k.loadSplat(type, k.offset(head.lse, at, 4), i * 4),
      delta: k.loadSplat(type, k.offset(head.delta, at, dims.heads * 4), i * dims.heads * 4),
    };
  });
  const last = k.sub(visible, k.index(1));
  const scale = k.splat(k.constant(F32, shared.scale), lanes);
  k.loop(0, visible, lanes, (key) => {
    const keys = dotRows(k, q, strides.query, count, keyRows(k, shared.keys, key, last, strides.key, lanes), dims.size);
    const keyIndex = k.add(lane, k.splat(k.convert(I32, key), lanes));
    const weights = rows.map(({ limit, lse }, i) => {
      const weight = expOf(k, k.sub(k.mul(keys[i]!, scale), lse));
      const seen = k.select(k.compare("le", keyIndex, limit), weight, k.constant(type, 0));
      k.store(seen, k.offset(p, key, 4), i * rowBytes);
      return seen;
    });
    const values = dotRows(
      k,
      dO,
      strides.query,
      count,
      keyRows(k, shared.values, key, last, strides.key, lanes),
      dims.size,
    );
    rows.forEach(({ delta }, i) => {
      const change = k.mul(k.mul(weights[i]!, k.sub(values[i]!, delta)), scale);
      k.store(change, k.offset(ds, key, 4), i * rowBytes);
    });
  });
  const input = {
    rows: shared.keys,
    rowStrideBytes: strides.key,
    weights: ds,
    weightStrideBytes: 4,
    sumStrideBytes: rowBytes,
    count: visible,
    size: dims.size,
  };
  const dq = k.offset(head.dq, at, strides.query);
  sumRows(k, input, count, lanes, (value, i, offset) => k.store(value, dq, i * strides.query + offset));
}

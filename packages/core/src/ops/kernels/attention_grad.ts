// attention_grad as loops: a chunk is one key head of one sequence, or a part of the queries of its group where there
// are few key heads, and adds up their dk and dv in place; those of the parts are added in order by a call of its own.
// It packs the keys and values to panels; then blocks of queries go over blocks of the keys that they see: the weights
// p and the score cotangents ds of a block go to scratch; dq gains the keys by ds; then every key's dk and dv gain the
// queries by ds and the dO by p. How many parts there are follows from the shapes, so no result depends on the number
// of threads.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, I32, loopType } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import { exp2Of } from "../../loop/math.ts";
import type { BufferHandle, LowerContext } from "../../op.ts";
import type { AttentionAttrs, AttentionDims } from "../attention.ts";
import { attentionDims } from "../attention.ts";
import type { AttentionSchedule, HeadStrides } from "./attention_blocks.ts";
import {
  chooseAttentionSchedule,
  clearRows,
  eachPanel,
  headBase,
  headStrides,
  loadPosition,
  packHead,
  rowGroups,
} from "./attention_blocks.ts";
import type { AttentionMask } from "./attention_mask.ts";
import {
  alignDown,
  attentionMask,
  boundedProduct,
  endOfKeys,
  firstOfKeys,
  keysOfQuery,
  laterLimit,
  limitOf,
  visibleKeys,
} from "./attention_mask.ts";
import { laneIndices, pieceOffsets, rowPieces } from "./lanes.ts";
import type { BlockOperands } from "./register_block.ts";
import { multiplyBlock } from "./register_block.ts";

/** Queries and keys of a block: its p and ds, and all that they meet, stay in the first cache. */
const [QUERIES, KEYS] = [64, 32];
/** Chunks that are enough to share among threads. */
const ENOUGH_CHUNKS = 8;
/** Elements that a chunk adds up of each part. */
const SUM_ELEMENTS = 8192;

/** What is the same for all heads of a chunk: addresses of key 0, and scratch [queries, keys] of a block. */
interface KeyHead {
  readonly dims: AttentionDims;
  readonly schedule: AttentionSchedule;
  readonly strides: HeadStrides;
  readonly type: LoopType;
  readonly mask: AttentionMask;
  readonly keys: LoopValue;
  readonly keyPanels: LoopValue;
  readonly valuePanels: LoopValue;
  readonly dk: LoopValue;
  readonly dv: LoopValue;
  readonly p: LoopValue;
  readonly ds: LoopValue;
  readonly position: LoopValue;
}

/** A block of queries of one head; addresses of its first; those of lse and delta step by 4 and `heads` * 4. */
interface QueryBlock {
  readonly q: LoopValue;
  readonly dO: LoopValue;
  readonly dq: LoopValue;
  readonly lse: LoopValue;
  readonly delta: LoopValue;
  /** Number of the last key that the first query sees, and queries of the block. */
  readonly limit: LoopValue;
  readonly queries: LoopValue;
}

export function lowerAttentionGrad(context: LowerContext, attrs: AttentionAttrs): void {
  const [q, , v] = context.node.inputs;
  const dims = attentionDims(q!.type, v!.type);
  const mask = attentionMask(attrs, dims);
  const { batch, time, heads, size, valueSize, capacity, keyHeads, groupSize } = dims;
  const strides = headStrides(dims);
  const schedule = chooseAttentionSchedule(dims, context, QUERIES, KEYS, (context.cacheBytes.l1 * 3) / 4);
  const width = schedule.vectors * context.lanes;
  const inputs = context.node.inputs.map((_, i) => context.input(i));
  const queryBlocks = Math.ceil(time / schedule.queryBlock);
  const parts = partsOf(dims, queryBlocks);
  const sumBytes = [strides.key, strides.value].map((strideBytes) => batch * capacity * strideBytes);
  const sums = sumBytes.map((bytes, i) => (parts === 1 ? context.result(i + 1) : context.temporary(parts * bytes)));
  const buffers = [...inputs, context.result(0), ...sums];
  const work = 2 * batch * heads * time * keysOfQuery(mask) * (3 * size + 2 * valueSize);
  context.call("attention_grad", batch * keyHeads * parts, work, buffers, (k, bases) => {
    const [qBase, kBase, vBase, lse, dO, delta, positionAt, dqBase, dkBase, dvBase] = bases as readonly LoopValue[];
    const part = k.rem(k.chunk, k.index(parts));
    const row = k.div(k.chunk, k.index(parts));
    const [sequence, keyHead] = [k.div(row, k.index(keyHeads)), k.rem(row, k.index(keyHeads))];
    const ofKeys = (base: LoopValue): LoopValue => headBase(k, base, sequence, keyHead, capacity, strides.key, size);
    const ofValues = (base: LoopValue): LoopValue =>
      headBase(k, base, sequence, keyHead, capacity, strides.value, valueSize);
    const blockBytes = schedule.queryBlock * schedule.keyBlock * 4;
    const position = loadPosition(k, positionAt!);
    const panelsOf = (rows: LoopValue, elements: number): LoopValue => {
      const keys = { dims, mask, rows, table: undefined, size: elements, width, sequence, keyHead, position };
      return packHead(k, loopType("f32", context.lanes), keys);
    };
    const shared: KeyHead = {
      dims,
      schedule,
      strides,
      type: loopType("f32", context.lanes),
      mask,
      keys: ofKeys(kBase!),
      keyPanels: panelsOf(kBase!, size),
      valuePanels: panelsOf(vBase!, valueSize),
      dk: k.offset(ofKeys(dkBase!), part, sumBytes[0]!),
      dv: k.offset(ofValues(dvBase!), part, sumBytes[1]!),
      p: k.allocateScratch(blockBytes),
      ds: k.allocateScratch(blockBytes),
      position,
    };
    // Of parts, what nobody sees is not read.
    const cleared = parts === 1 ? capacity : visibleKeysOf(k, dims, shared.position);
    clearRows(k, shared.dk, cleared, strides.key, size, context.lanes);
    clearRows(k, shared.dv, cleared, strides.value, valueSize, context.lanes);
    // The heads of the group one after another, block of queries by block: all parts have some of each length.
    k.loop(part, groupSize * queryBlocks, parts, (item) => {
      const head = k.add(k.mul(keyHead, k.index(groupSize)), k.rem(item, k.index(groupSize)));
      const t = k.mul(k.div(item, k.index(groupSize)), k.index(schedule.queryBlock));
      const ofQueries = (base: LoopValue): LoopValue => headBase(k, base, sequence, head, time, strides.query, size);
      const rows = k.add(k.mul(sequence, k.index(heads)), head);
      queryBlock(k, shared, {
        q: k.offset(ofQueries(qBase!), t, strides.query),
        dO: k.offset(headBase(k, dO!, sequence, head, time, strides.output, valueSize), t, strides.output),
        dq: k.offset(ofQueries(dqBase!), t, strides.query),
        lse: k.offset(k.offset(lse!, rows, time * 4), t, 4),
        delta: k.offset(k.offset(k.offset(delta!, sequence, heads * time * 4), head, 4), t, heads * 4),
        limit: limitOf(k, mask, shared.position, t),
        queries: k.min(k.index(schedule.queryBlock), k.sub(k.index(time), t)),
      });
    });
  });
  if (parts > 1) addParts(context, dims, parts, [context.input(6), ...sums, context.result(1), context.result(2)]);
}

/** Parts that the queries of a key head are cut into. */
function partsOf({ batch, keyHeads, groupSize }: AttentionDims, queryBlocks: number): number {
  const wanted = Math.ceil(ENOUGH_CHUNKS / (batch * keyHeads));
  return Math.max(1, Math.min(wanted, groupSize * queryBlocks));
}

/** Keys that the last query sees. */
function visibleKeysOf(k: KernelBuilder, { time, capacity }: AttentionDims, position: LoopValue): LoopValue {
  return k.min(k.add(position, k.index(time)), k.index(capacity));
}

/**
 * dk and dv from those of the parts, [parts, batch, capacity, key heads, size or value size], 0 behind the last visible
 * key.
 */
function addParts(context: LowerContext, dims: AttentionDims, parts: number, buffers: readonly BufferHandle[]): void {
  const { batch, capacity, keyHeads, size, valueSize } = dims;
  const rowSizes = [keyHeads * size, keyHeads * valueSize];
  const rows = Math.max(1, Math.floor(SUM_ELEMENTS / Math.max(...rowSizes)));
  const blocks = Math.ceil(capacity / rows);
  const work = batch * capacity * (rowSizes[0]! + rowSizes[1]!) * parts;
  const type = loopType("f32", context.lanes);
  context.call("attention_grad_sum", batch * blocks, work, buffers, (k, [positionAt, ...bases]) => {
    const sequence = k.div(k.chunk, k.index(blocks));
    const first = k.mul(k.rem(k.chunk, k.index(blocks)), k.index(rows));
    const end = k.min(k.add(first, k.index(rows)), k.index(capacity));
    const seen = k.max(first, k.min(end, visibleKeysOf(k, dims, loadPosition(k, positionAt!))));
    rowSizes.forEach((row, which) => {
      const [from, to] = [bases[which]!, bases[which + 2]!];
      /** Elements of some positions, a vector at a time and then one by one. */
      const each = (low: LoopValue, high: LoopValue, body: (at: LoopValue, one: LoopType) => void): void => {
        const start = k.mul(k.add(k.mul(sequence, k.index(capacity)), low), k.index(row));
        const count = k.mul(k.sub(high, low), k.index(row));
        const whole = k.sub(count, k.rem(count, k.index(context.lanes)));
        k.loop(0, whole, context.lanes, (i) => body(k.mul(k.add(start, i), k.index(4)), type));
        k.loop(whole, count, 1, (i) => body(k.mul(k.add(start, i), k.index(4)), F32));
      };
      each(first, seen, (at, one) => {
        const values = Array.from({ length: parts }, (_, i) => {
          return k.load(one, k.add(from, at), i * batch * capacity * row * 4);
        });
        k.store(
          values.reduce((a, b) => k.add(a, b)),
          k.add(to, at),
        );
      });
      each(seen, end, (at, one) => k.store(k.constant(one, 0), k.add(to, at)));
    });
  });
}

function queryBlock(k: KernelBuilder, shared: KeyHead, block: QueryBlock): void {
  const { dims, mask, schedule, strides, type } = shared;
  clearRows(k, block.dq, block.queries, strides.query, dims.size, type.lanes);
  const visible = endOfKeys(k, mask, block.limit, block.queries);
  const start = alignDown(k, firstOfKeys(k, mask, block.limit), schedule.vectors * type.lanes);
  k.loop(start, visible, schedule.keyBlock, (firstKey) => {
    rowGroups(k, block.queries, dims.time, schedule.rows, (row, rows) => {
      // Queries in front of the block's first key see nothing of it, and dk and dv leave them out, group by group.
      const end = endOfKeys(k, mask, laterLimit(k, mask, block.limit, row), k.index(rows));
      k.if(k.compare("lt", firstKey, end), () => {
        const keys = k.min(k.index(schedule.keyBlock), k.sub(end, firstKey));
        writeWeights(k, shared, block, row, rows, firstKey, keys);
        addQueries(k, shared, block, row, rows, firstKey, keys);
        return [];
      });
    });
    const blockEnd = k.min(k.add(firstKey, k.index(schedule.keyBlock)), visible);
    k.loop(firstKey, blockEnd, schedule.rows, (key) => {
      const add = (rows: number) => (): readonly LoopValue[] => {
        addKeys(k, shared, block, firstKey, key, rows);
        return [];
      };
      const rest = dims.capacity % schedule.rows;
      if (rest === 0) add(schedule.rows)();
      else
        k.if(
          k.compare("le", k.add(key, k.index(schedule.rows)), k.index(dims.capacity)),
          add(schedule.rows),
          add(rest),
        );
    });
  });
}

/** Writes p and ds of a group of queries and a block of keys, in panels or halves; a group of keys is in one half. */
function writeWeights(
  k: KernelBuilder,
  shared: KeyHead,
  block: QueryBlock,
  row: LoopValue,
  rows: number,
  firstKey: LoopValue,
  keys: LoopValue,
): void {
  const { dims, mask, schedule, strides, type } = shared;
  const { keyBlock } = schedule;
  const width = schedule.vectors * type.lanes;
  const rowBytes = keyBlock * 4;
  const [q, dO] = [k.offset(block.q, row, strides.query), k.offset(block.dO, row, strides.output)];
  const [lse, delta] = [k.offset(block.lse, row, 4), k.offset(block.delta, row, dims.heads * 4)];
  const [p, ds] = [k.offset(shared.p, row, rowBytes), k.offset(shared.ds, row, rowBytes)];
  const limit = laterLimit(k, mask, block.limit, row);
  const { softcap } = mask;
  const [scale, one, zero] = [mask.scale, 1, 0].map((value) => k.constant(type, value)) as LoopValue[];
  // exp(x) = 2^(x log2 e).
  const [scaleOf2, minusLog2] = [(softcap ?? mask.scale) * Math.LOG2E, -Math.LOG2E].map((x) => k.constant(type, x));
  const lane = laneIndices(k, type.lanes);
  eachPanel(k, keys, schedule, type.lanes, [], (at, vectors) => {
    const key = k.add(firstKey, at);
    const products = (left: LoopValue, strideBytes: number, panels: LoopValue, size: number): readonly LoopValue[] => {
      const right = k.offset(panels, key, size * 4);
      const zeros = Array.from({ length: rows * vectors }, () => zero!);
      const operands = { left, leftRowBytes: strideBytes, leftStepBytes: 4, right, rightStepBytes: width * 4 };
      return multiplyBlock(k, operands, rows, { type, count: vectors }, size, zeros);
    };
    const first = k.add(lane, k.splat(k.convert(I32, key), type.lanes));
    const each = (use: (i: number, v: number, offset: number, seen: LoopValue) => void): void => {
      for (let v = 0; v < vectors; v++) {
        const number = v === 0 ? first : k.add(first, k.constant(first.type, v * type.lanes));
        for (let i = 0; i < rows; i++) {
          const seen = visibleKeys(k, mask, number, limit, i, width);
          use(i, v, i * rowBytes + v * type.lanes * 4, seen);
        }
      }
    };
    const [pAt, dsAt] = [k.offset(p, at, 4), k.offset(ds, at, 4)];
    const scores = products(q, strides.query, shared.keyPanels, dims.size);
    const shifts = Array.from({ length: rows }, (_, i) => k.mul(k.loadSplat(type, lse, i * 4), minusLog2!));
    each((i, v, offset, seen) => {
      let score = scores[i * vectors + v]!;
      if (softcap !== undefined) {
        score = boundedProduct(k, mask, score);
        // The slope waits where ds will be.
        k.store(k.mul(k.sub(one!, k.mul(score, score)), scale!), dsAt, offset);
      }
      const weight = exp2Of(k, k.fma(score, scaleOf2!, shifts[i]!));
      k.store(k.select(seen, weight, zero!), pAt, offset);
    });
    const values = products(dO, strides.output, shared.valuePanels, dims.valueSize);
    each((i, v, offset, seen) => {
      const change = k.sub(values[i * vectors + v]!, k.loadSplat(type, delta, i * dims.heads * 4));
      const slope = softcap === undefined ? scale! : k.load(type, dsAt, offset);
      const weighted = k.mul(k.mul(k.load(type, pAt, offset), change), slope);
      // A product would keep what is not a number in keys that nobody sees.
      k.store(k.select(seen, weighted, zero!), dsAt, offset);
    });
    return [];
  });
}

/** dq of a group of queries gains the keys of a block by ds. */
function addQueries(
  k: KernelBuilder,
  shared: KeyHead,
  block: QueryBlock,
  row: LoopValue,
  rows: number,
  firstKey: LoopValue,
  keys: LoopValue,
): void {
  const { dims, schedule, strides } = shared;
  const left = k.offset(shared.ds, row, schedule.keyBlock * 4);
  const right = k.offset(shared.keys, firstKey, strides.key);
  const dq = k.offset(block.dq, row, strides.query);
  const operands = { left, leftRowBytes: schedule.keyBlock * 4, leftStepBytes: 4, right, rightStepBytes: strides.key };
  accumulate(k, shared, operands, rows, dims.size, keys, dq, strides.query);
}

/** dk and dv of `rows` keys from `key` on gain the queries of a block by ds, and the dO by p. */
function addKeys(
  k: KernelBuilder,
  shared: KeyHead,
  block: QueryBlock,
  firstKey: LoopValue,
  key: LoopValue,
  rows: number,
): void {
  const { dims, mask, schedule, strides } = shared;
  const rowBytes = schedule.keyBlock * 4;
  // The first group of queries of which one sees the first key; those before have written nothing there.
  const before = k.sub(k.max(key, block.limit), block.limit);
  const start = mask.causal ? alignDown(k, before, schedule.rows) : k.index(0);
  const depth = k.sub(block.queries, start);
  const at = k.offset(k.mul(start, k.index(rowBytes)), k.sub(key, firstKey), 4);
  const add = (weights: LoopValue, from: LoopValue, fromBytes: number, to: LoopValue, toBytes: number): void => {
    const operands = {
      left: k.add(weights, at),
      leftRowBytes: 4,
      leftStepBytes: rowBytes,
      right: k.offset(from, start, fromBytes),
      rightStepBytes: fromBytes,
    };
    accumulate(k, shared, operands, rows, toBytes / 4 / dims.keyHeads, depth, k.offset(to, key, toBytes), toBytes);
  };
  add(shared.ds, block.q, strides.query, shared.dk, strides.key);
  add(shared.p, block.dO, strides.output, shared.dv, strides.value);
}

/** Adds a product to `rows` rows of head elements in memory, a few vectors at a time. */
function accumulate(
  k: KernelBuilder,
  { schedule, type }: KeyHead,
  operands: BlockOperands,
  rows: number,
  size: number,
  depth: LoopValue,
  to: LoopValue,
  strideBytes: number,
): void {
  for (const piece of rowPieces(size, type.lanes, schedule.vectors)) {
    const offsets = pieceOffsets(piece);
    const at = (i: number): number => Math.floor(i / piece.count) * strideBytes + offsets[i % piece.count]!;
    const before = Array.from({ length: rows * piece.count }, (_, i) => k.load(piece.type, to, at(i)));
    const right = k.add(operands.right, k.index(piece.offset));
    const sums = multiplyBlock(k, { ...operands, right }, rows, piece, depth, before);
    sums.forEach((sum, i) => k.store(sum, to, at(i)));
  }
}

// attention_grad as loops: a chunk is a key head of one sequence, some of them one after the other where they are many
// and small, or a part of the queries of a group where they are few; it adds up their dk and dv in place, and those of
// the parts are added in order by a call of its own.
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
  askForRows,
  chooseAttentionSchedule,
  clearRows,
  eachPanel,
  headBase,
  headsOfChunk,
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
/** Queries and keys that are one block where there are no more: then every sum is written once, and none is read. */
const SINGLE = 128;
/** What follows a row of p or ds, so that the elements of a column do not compete for the same few lines of a cache. */
const ROW_PAD_BYTES = 64;
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
  readonly values: LoopValue;
  readonly keyPanels: LoopValue;
  readonly valuePanels: LoopValue;
  readonly dk: LoopValue;
  readonly dv: LoopValue;
  readonly p: LoopValue;
  readonly ds: LoopValue;
  /** From a query's p and ds to the next one's. */
  readonly weightBytes: number;
  /** Whether a block has all keys, and whether a chunk has one block of queries: then sums are written once. */
  readonly allKeys: boolean;
  readonly allQueries: boolean;
  /** One behind the last key whose dk and dv are to be written. */
  readonly end: LoopValue;
  /** Whether the chunk's next head is asked for meanwhile. */
  readonly asksAhead: boolean;
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

/** How the work is cut up: parts of a key head's queries, key heads of a chunk, and bytes of dk and dv. */
interface Cut {
  readonly dims: AttentionDims;
  readonly mask: AttentionMask;
  readonly schedule: AttentionSchedule;
  readonly type: LoopType;
  readonly queryBlocks: number;
  readonly parts: number;
  readonly together: number;
  readonly sumBytes: readonly number[];
}

export function lowerAttentionGrad(context: LowerContext, attrs: AttentionAttrs): void {
  const [q, , v] = context.node.inputs;
  const dims = attentionDims(q!.type, v!.type);
  const mask = attentionMask(attrs, dims);
  const { batch, time, heads, size, valueSize, capacity, keyHeads } = dims;
  const strides = headStrides(dims);
  const { l1, l2 } = context.cacheBytes;
  const schedule =
    Math.max(time, capacity) <= SINGLE
      ? chooseAttentionSchedule(dims, context, SINGLE, SINGLE, l2 / 2)
      : chooseAttentionSchedule(dims, context, QUERIES, KEYS, (l1 * 3) / 4);
  const inputs = context.node.inputs.map((_, i) => context.input(i));
  const queryBlocks = Math.ceil(time / schedule.queryBlock);
  const parts = partsOf(dims, queryBlocks);
  const together = headsOfChunk(dims, l2);
  const sumBytes = [strides.key, strides.value].map((strideBytes) => batch * capacity * strideBytes);
  const sums = sumBytes.map((bytes, i) => (parts === 1 ? context.result(i + 1) : context.temporary(parts * bytes)));
  const buffers = [...inputs, context.result(0), ...sums];
  const work = 2 * batch * heads * time * keysOfQuery(mask) * (3 * size + 2 * valueSize);
  const cut: Cut = {
    dims,
    mask,
    schedule,
    type: loopType("f32", context.lanes),
    queryBlocks,
    parts,
    together,
    sumBytes,
  };
  context.call("attention_grad", (batch * keyHeads * parts) / together, work, buffers, (k, bases) => {
    const part = k.rem(k.chunk, k.index(parts));
    const first = k.mul(k.div(k.chunk, k.index(parts)), k.index(together));
    k.loop(first, k.add(first, k.index(together)), 1, (row) => addKeyHead(k, cut, bases, row, part));
  });
  if (parts > 1) addParts(context, dims, parts, [context.input(6), ...sums, context.result(1), context.result(2)]);
}

/** Parts that the queries of a key head are cut into. */
function partsOf({ batch, keyHeads, groupSize }: AttentionDims, queryBlocks: number): number {
  const wanted = Math.ceil(ENOUGH_CHUNKS / (batch * keyHeads));
  return Math.max(1, Math.min(wanted, groupSize * queryBlocks));
}

/** dq of the queries of key head `row` of all, or of a part of them, and what they give to dk and dv. */
function addKeyHead(k: KernelBuilder, cut: Cut, bases: readonly LoopValue[], row: LoopValue, part: LoopValue): void {
  const [qBase, kBase, vBase, lse, dO, delta, positionAt, dqBase, dkBase, dvBase] = bases as readonly LoopValue[];
  const { dims, mask, schedule, type, queryBlocks, parts, together, sumBytes } = cut;
  const { time, heads, size, valueSize, capacity, keyHeads, groupSize } = dims;
  const strides = headStrides(dims);
  const [sequence, keyHead] = [k.div(row, k.index(keyHeads)), k.rem(row, k.index(keyHeads))];
  const ofKeys = (base: LoopValue): LoopValue => headBase(k, base, sequence, keyHead, capacity, strides.key, size);
  const ofValues = (base: LoopValue): LoopValue =>
    headBase(k, base, sequence, keyHead, capacity, strides.value, valueSize);
  const position = loadPosition(k, positionAt!);
  const panelsOf = (rows: LoopValue, elements: number): LoopValue => {
    const width = schedule.vectors * type.lanes;
    const keys = { dims, mask, rows, table: undefined, size: elements, width, sequence, keyHead, position };
    return packHead(k, type, keys);
  };
  const weightBytes = schedule.keyBlock * 4 + ROW_PAD_BYTES;
  const shared: KeyHead = {
    dims,
    schedule,
    strides,
    type,
    mask,
    keys: ofKeys(kBase!),
    values: ofValues(vBase!),
    keyPanels: panelsOf(kBase!, size),
    valuePanels: panelsOf(vBase!, valueSize),
    dk: k.offset(ofKeys(dkBase!), part, sumBytes[0]!),
    dv: k.offset(ofValues(dvBase!), part, sumBytes[1]!),
    p: k.allocateScratch(schedule.queryBlock * weightBytes),
    ds: k.allocateScratch(schedule.queryBlock * weightBytes),
    weightBytes,
    allKeys: capacity <= schedule.keyBlock,
    allQueries: parts === groupSize * queryBlocks,
    // Of parts, what nobody sees is not read.
    end: parts === 1 ? k.index(capacity) : visibleKeysOf(k, dims, position),
    asksAhead: together > 1,
  };
  if (!shared.allQueries) clearKeys(k, shared, k.index(0), shared.end);
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
      limit: limitOf(k, mask, position, t),
      queries: k.min(k.index(schedule.queryBlock), k.sub(k.index(time), t)),
    });
  });
}

/** Sets dk and dv of the keys from one to before another to zero. */
function clearKeys(k: KernelBuilder, shared: KeyHead, from: LoopValue, to: LoopValue): void {
  const { dims, strides, type } = shared;
  const count = k.sub(to, from);
  clearRows(k, k.offset(shared.dk, from, strides.key), count, strides.key, dims.size, type.lanes);
  clearRows(k, k.offset(shared.dv, from, strides.value), count, strides.value, dims.valueSize, type.lanes);
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
  const visible = endOfKeys(k, mask, block.limit, block.queries);
  const start = alignDown(k, firstOfKeys(k, mask, block.limit), schedule.vectors * type.lanes);
  if (!shared.allKeys) clearRows(k, block.dq, block.queries, strides.query, dims.size, type.lanes);
  if (shared.allQueries) {
    if (mask.window !== undefined) clearKeys(k, shared, k.index(0), start);
    clearKeys(k, shared, visible, shared.end);
  }
  k.loop(start, visible, schedule.keyBlock, (firstKey) => {
    rowGroups(k, block.queries, dims.time, schedule.rows, (row, rows) => {
      // Queries in front of the block's first key see nothing of it, and dk and dv leave them out, group by group.
      const end = endOfKeys(k, mask, laterLimit(k, mask, block.limit, row), k.index(rows));
      k.if(k.compare("lt", firstKey, end), () => {
        const keys = k.min(k.index(schedule.keyBlock), k.sub(end, firstKey));
        writeWeights(k, shared, block, row, rows, firstKey, keys);
        if (shared.asksAhead) askForQueries(k, shared, block, row, rows);
        addQueries(k, shared, block, row, rows, firstKey, keys);
        return [];
      });
    });
    const blockEnd = k.min(k.add(firstKey, k.index(schedule.keyBlock)), visible);
    k.loop(firstKey, blockEnd, schedule.rows, (key) => {
      const add = (rows: number) => (): readonly LoopValue[] => {
        if (shared.asksAhead) askForKeys(k, shared, key, rows);
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

/** Asks for the same rows of the next key head's queries, a few at a time: a processor waits for few lines at once. */
function askForQueries(k: KernelBuilder, { dims, strides }: KeyHead, block: QueryBlock, row: LoopValue, rows: number) {
  const { groupSize, size, valueSize } = dims;
  askForRows(k, k.offset(block.q, row, strides.query), rows, strides.query, groupSize * size * 4, size * 4);
  askForRows(
    k,
    k.offset(block.dO, row, strides.output),
    rows,
    strides.output,
    groupSize * valueSize * 4,
    valueSize * 4,
  );
}

/** Asks for the same rows of the next key head's keys and values. */
function askForKeys(k: KernelBuilder, { dims, strides, keys, values }: KeyHead, key: LoopValue, rows: number): void {
  const [keyBytes, valueBytes] = [dims.size * 4, dims.valueSize * 4];
  askForRows(k, k.offset(keys, key, strides.key), rows, strides.key, keyBytes, keyBytes);
  askForRows(k, k.offset(values, key, strides.value), rows, strides.value, valueBytes, valueBytes);
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
  const { dims, mask, schedule, strides, type, weightBytes: rowBytes } = shared;
  const width = schedule.vectors * type.lanes;
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
  const { dims, strides, weightBytes, allKeys } = shared;
  const left = k.offset(shared.ds, row, weightBytes);
  const right = k.offset(shared.keys, firstKey, strides.key);
  const dq = k.offset(block.dq, row, strides.query);
  const operands = { left, leftRowBytes: weightBytes, leftStepBytes: 4, right, rightStepBytes: strides.key };
  accumulate(k, shared, operands, rows, keys, { at: dq, size: dims.size, strideBytes: strides.query, isNew: allKeys });
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
  const { mask, schedule, strides, weightBytes: rowBytes } = shared;
  // The first group of queries of which one sees the first key; those before have written nothing there.
  const before = k.sub(k.max(key, block.limit), block.limit);
  const start = mask.causal ? alignDown(k, before, schedule.rows) : k.index(0);
  const depth = k.sub(block.queries, start);
  const at = k.offset(k.mul(start, k.index(rowBytes)), k.sub(key, firstKey), 4);
  const add = (weights: LoopValue, from: LoopValue, fromBytes: number, sums: LoopValue, strideBytes: number): void => {
    const operands = {
      left: k.add(weights, at),
      leftRowBytes: 4,
      leftStepBytes: rowBytes,
      right: k.offset(from, start, fromBytes),
      rightStepBytes: fromBytes,
    };
    const size = strideBytes / 4 / shared.dims.keyHeads;
    const to = { at: k.offset(sums, key, strideBytes), size, strideBytes, isNew: shared.allQueries };
    accumulate(k, shared, operands, rows, depth, to);
  };
  add(shared.ds, block.q, strides.query, shared.dk, strides.key);
  add(shared.p, block.dO, strides.output, shared.dv, strides.value);
}

/** Rows of head elements that are sums. */
interface Sums {
  readonly at: LoopValue;
  readonly size: number;
  readonly strideBytes: number;
  /** Whether nothing is there to add to. */
  readonly isNew: boolean;
}

/** Adds a product to `rows` rows of sums, a few vectors at a time. */
function accumulate(
  k: KernelBuilder,
  { schedule, type }: KeyHead,
  operands: BlockOperands,
  rows: number,
  depth: LoopValue,
  to: Sums,
): void {
  for (const piece of rowPieces(to.size, type.lanes, schedule.vectors)) {
    const offsets = pieceOffsets(piece);
    const at = (i: number): number => Math.floor(i / piece.count) * to.strideBytes + offsets[i % piece.count]!;
    const before = Array.from({ length: rows * piece.count }, (_, i) =>
      to.isNew ? k.constant(piece.type, 0) : k.load(piece.type, to.at, at(i)),
    );
    const right = k.add(operands.right, k.index(piece.offset));
    const sums = multiplyBlock(k, { ...operands, right }, rows, piece, depth, before);
    sums.forEach((sum, i) => k.store(sum, to.at, at(i)));
  }
}

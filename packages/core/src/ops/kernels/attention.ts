// attention as loops, after FlashAttention-2 (Dao 2023, arXiv 2307.08691): a chunk is a block of queries of one head of
// one sequence, or several small heads one after the other. It goes over the visible keys block by block; a few queries
// at a time multiply the keys, packed before, by a call of its own where several chunks need them, into scores in
// scratch, and add the values by their exponentials to the output. The largest score so far and the sum of exponentials
// of each query are kept beside, and the output is scaled when a larger score turns up. Blocks of keys that nobody sees
// are never read. Few queries have kernels of their own: attention_decode.ts.

import type { KernelBuilder } from "../../loop/builder.ts";
import { I32, loopType } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import { exp2Of, exp2OfAll, logOf } from "../../loop/math.ts";
import type { LowerContext } from "../../op.ts";
import type { AttentionAttrs, AttentionDims } from "../attention.ts";
import { attentionDims } from "../attention.ts";
import { cellBytes } from "../cells.ts";
import { pagedDims } from "../paged_attention.ts";
import type { AttentionSchedule, HeadPanels } from "./attention_blocks.ts";
import {
  askForRows,
  cacheCells,
  chooseAttentionSchedule,
  clearRows,
  eachPanel,
  firstRow,
  headBase,
  headsOfChunk,
  headStrides,
  packHead,
  packHeads,
  positionOf,
  rowGroups,
} from "./attention_blocks.ts";
import { lowerAttentionRows } from "./attention_decode.ts";
import type { AttentionMask } from "./attention_mask.ts";
import {
  alignDown,
  attentionMask,
  endOfKeys,
  firstOfKeys,
  keysOfQuery,
  laterLimit,
  LEAST,
  limitOf,
  MASKED,
  scoreOfProduct,
  visibleKeys,
} from "./attention_mask.ts";
import { laneIndices, largerOf, pieceOffsets, reduceEach, rowPieces } from "./lanes.ts";
import { multiplyBlock } from "./register_block.ts";

/** Queries of a block where there are enough blocks, and fewer where there are not. */
const [QUERIES, QUERIES_OF_FEW] = [128, 32];
const ENOUGH_CHUNKS = 16;
/** Keys of a block at most: more of them do not make less of the work that is done once a block. */
const KEYS = 128;
/** Vectors whose exponentials are found together. */
const TOGETHER = 4;

/** What a block of queries needs to know; addresses are those of the block's first query. */
interface QueryBlock {
  readonly dims: AttentionDims;
  readonly schedule: AttentionSchedule;
  readonly type: LoopType;
  readonly mask: AttentionMask;
  readonly q: LoopValue;
  readonly panels: LoopValue;
  /** Where position 0 would be if all values lay like that of a key. */
  readonly values: (key: LoopValue) => LoopValue;
  readonly o: LoopValue;
  readonly lse: LoopValue;
  /** Number of the last key that the first query sees, and queries of this block. */
  readonly limit: LoopValue;
  readonly queries: LoopValue;
  /** Scratch [rows, keys of a block]. */
  readonly scores: LoopValue;
  /** Scratch [row groups, lanes], a lane a query: largest scores, sums of exponentials, factors of the output. */
  readonly largest: LoopValue;
  readonly totals: LoopValue;
  readonly factors: LoopValue;
  /** Where key 0 lies, if the next head is the chunk's, and asked for meanwhile. */
  readonly keys?: LoopValue;
}

/** A few queries of a block. */
interface QueryGroup {
  readonly block: QueryBlock;
  readonly rows: number;
  readonly q: LoopValue;
  readonly o: LoopValue;
  readonly limit: LoopValue;
  /** Byte offset of the group's vector in `largest`, `totals` and `factors`. */
  readonly state: LoopValue;
  /** Where the logarithms of the normalisers go. */
  readonly lse: LoopValue;
}

/** Whether all keys are one block: then the output is written once, and nothing of it is scaled afterwards. */
function isSingle({ dims, schedule }: QueryBlock): boolean {
  return dims.capacity <= schedule.keyBlock;
}

export function lowerAttention(context: LowerContext, attrs: AttentionAttrs): void {
  const [q, , values, , table] = context.node.inputs;
  const dims =
    table === undefined ? attentionDims(q!.type, values!.type) : pagedDims(q!.type, values!.type, table.type);
  const mask = attentionMask(attrs, dims);
  const { batch, time, heads, size, valueSize, groupSize } = dims;
  const enough = batch * heads * Math.ceil(time / QUERIES) >= ENOUGH_CHUNKS;
  // Keys and values come from the second cache in time.
  const queries = enough ? QUERIES : QUERIES_OF_FEW;
  const schedule = chooseAttentionSchedule(dims, context, queries, KEYS, context.cacheBytes.l2 / 2);
  if (time < schedule.rows) {
    lowerAttentionRows(context, mask, dims);
    return;
  }
  const width = schedule.vectors * context.lanes;
  const places = (table === undefined ? [3] : [3, 4]).map((i) => context.input(i));
  const blocks = Math.ceil(time / schedule.queryBlock);
  // Keys that one chunk alone reads are packed by it, which saves the threads from waiting for each other.
  const alone = blocks * groupSize === 1;
  const panels = alone ? undefined : packHeads(context, dims, mask, context.input(1), size, places, width);
  const keys = panels?.buffer ?? context.input(1);
  const buffers = [context.input(0), context.input(2), keys, context.result(0), context.result(1), ...places];
  const work = 2 * batch * heads * time * keysOfQuery(mask) * (size + valueSize);
  const single = alone && table === undefined && dims.capacity <= schedule.keyBlock;
  const together = single ? headsOfChunk(dims, context.cacheBytes.l2) : 1;
  const perBlock = (batch * heads) / together;
  const type = loopType("f32", context.lanes);
  const cut: Cut = { dims, mask, schedule, type, panels, width, together };
  context.call("attention", perBlock * blocks, work, buffers, (k, bases) => {
    // Later queries see more keys: their blocks come first, so that none is left to one thread at the end.
    const t = k.mul(k.sub(k.index(blocks - 1), k.div(k.chunk, k.index(perBlock))), k.index(schedule.queryBlock));
    const first = k.mul(k.rem(k.chunk, k.index(perBlock)), k.index(together));
    if (together === 1) attendHead(k, cut, bases, first, t);
    else k.loop(first, k.add(first, k.index(together)), 1, (row) => attendHead(k, cut, bases, row, t));
  });
}

/** How the work is cut up. */
interface Cut {
  readonly dims: AttentionDims;
  readonly mask: AttentionMask;
  readonly schedule: AttentionSchedule;
  readonly type: LoopType;
  /** Where keys are packed, unless the chunk does so; keys of a panel, and heads of a chunk. */
  readonly panels: HeadPanels | undefined;
  readonly width: number;
  readonly together: number;
}

/** The block of queries from `t` on of head `row` of all. */
function attendHead(k: KernelBuilder, cut: Cut, bases: readonly LoopValue[], row: LoopValue, t: LoopValue): void {
  const [qBase, vBase, keysBase, oBase, lseBase, positionAt, table] = bases as readonly LoopValue[];
  const { dims, mask, schedule, type, panels, width, together } = cut;
  const { time, heads, size, valueSize, groupSize } = dims;
  const [sequence, head] = [k.div(row, k.index(heads)), k.rem(row, k.index(heads))];
  const keyHead = k.div(head, k.index(groupSize));
  const strides = headStrides(dims);
  const bytes = cellBytes(dims.cache);
  const stateBytes = Math.ceil(schedule.queryBlock / schedule.rows) * type.lanes * 4;
  const ofQueries = (base: LoopValue, strideBytes: number, elements: number): LoopValue =>
    k.offset(headBase(k, base, sequence, head, time, strideBytes, elements), t, strideBytes);
  const ofKeys = (base: LoopValue, strideBytes: number, elements: number, key: LoopValue): LoopValue =>
    k.offset(k.offset(base, firstRow(k, dims, table, sequence, key), strideBytes), keyHead, elements * bytes);
  const position = positionOf(k, dims, positionAt!, sequence);
  const headKeys = { dims, mask, rows: keysBase!, table, size, width, sequence, keyHead, position };
  const values = (key: LoopValue): LoopValue => ofKeys(vBase!, strides.value, valueSize, key);
  attendBlock(k, {
    dims,
    schedule,
    type,
    mask,
    q: ofQueries(qBase!, strides.query, size),
    panels:
      panels === undefined ? packHead(k, type, headKeys) : panelsOfHead(k, keysBase!, panels, dims, sequence, keyHead),
    values,
    o: ofQueries(oBase!, strides.output, valueSize),
    lse: k.offset(k.offset(lseBase!, row, time * 4), t, 4),
    limit: limitOf(k, mask, position, t),
    queries: k.min(k.index(schedule.queryBlock), k.sub(k.index(time), t)),
    scores: k.allocateScratch(schedule.rows * schedule.keyBlock * 4),
    largest: k.allocateScratch(stateBytes),
    totals: k.allocateScratch(stateBytes),
    factors: k.allocateScratch(stateBytes),
    ...(together > 1 && { keys: ofKeys(keysBase!, strides.key, size, k.index(0)) }),
  });
}

function panelsOfHead(
  k: KernelBuilder,
  base: LoopValue,
  { headBytes }: HeadPanels,
  { keyHeads }: AttentionDims,
  sequence: LoopValue,
  keyHead: LoopValue,
): LoopValue {
  return k.offset(base, k.add(k.mul(sequence, k.index(keyHeads)), keyHead), headBytes);
}

/** All visible keys for one block of queries. */
function attendBlock(k: KernelBuilder, block: QueryBlock): void {
  const { dims, mask, schedule, limit, queries } = block;
  const { query, output } = headStrides(dims);
  const stateBytes = block.type.lanes * 4;
  const groups = (body: (group: QueryGroup) => void): void =>
    rowGroups(k, queries, dims.time, schedule.rows, (row, rows) => {
      const [q, o] = [k.offset(block.q, row, query), k.offset(block.o, row, output)];
      const state = k.mul(k.div(row, k.index(schedule.rows)), k.index(stateBytes));
      body({ block, rows, q, o, limit: laterLimit(k, mask, limit, row), state, lse: k.offset(block.lse, row, 4) });
    });
  // A block of keys is in one page.
  const step = dims.paged === undefined ? schedule.vectors * block.type.lanes : schedule.keyBlock;
  const start = alignDown(k, firstOfKeys(k, mask, limit), step);
  if (isSingle(block)) {
    groups((group) => attendKeys(k, group, start));
  } else {
    clearRows(k, block.o, queries, output, dims.valueSize, block.type.lanes);
    groups(({ state }) => {
      k.store(k.constant(block.type, LEAST), k.add(block.largest, state));
      k.store(k.constant(block.type, 0), k.add(block.totals, state));
    });
    k.loop(start, endOfKeys(k, mask, limit, queries), schedule.keyBlock, (firstKey) =>
      groups((group) => attendKeys(k, group, firstKey)),
    );
    groups((group) => {
      invertTotals(k, group);
      scaleOutput(k, group);
    });
  }
  groups((group) => writeNormalisers(k, group));
}

/** A block of keys for one group of queries: nothing when they see none of it. */
function attendKeys(k: KernelBuilder, group: QueryGroup, firstKey: LoopValue): void {
  const { block, rows } = group;
  const { mask, schedule } = block;
  const end = endOfKeys(k, mask, group.limit, k.index(rows));
  let seen = k.compare("lt", firstKey, end);
  if (mask.window !== undefined) {
    const behind = k.add(firstKey, k.index(schedule.keyBlock));
    seen = k.binary("and", seen, k.compare("lt", firstOfKeys(k, mask, group.limit), behind));
  }
  k.if(seen, () => {
    const keys = k.min(k.index(schedule.keyBlock), k.sub(end, firstKey));
    const maxima = writeScores(k, group, firstKey, keys);
    const largest = reduceEach(k, maxima, (a, b) => largerOf(k, a, b));
    exponentials(k, group, keys, largest);
    if (isSingle(block)) invertTotals(k, group);
    askForNext(k, group);
    addValues(k, group, firstKey, keys);
    return [];
  });
}

/** Asks for what the next head has in the rows of a group, and for as large a part of its keys and values. */
function askForNext(k: KernelBuilder, { block, rows, q, state }: QueryGroup): void {
  const { dims, schedule, type, keys } = block;
  if (keys === undefined) return;
  const { time, capacity, size, valueSize } = dims;
  const [strides, bytes] = [headStrides(dims), cellBytes(dims.cache)];
  askForRows(k, q, rows, strides.query, size * 4, size * 4);
  const share = Math.ceil(capacity / Math.ceil(time / schedule.rows));
  const first = k.mul(k.div(state, k.index(type.lanes * 4)), k.index(share));
  k.loop(first, k.min(k.add(first, k.index(share)), k.index(capacity)), 1, (key) => {
    askForRows(k, k.offset(keys, key, strides.key), 1, strides.key, size * bytes, size * bytes);
    const values = k.offset(block.values(k.index(0)), key, strides.value);
    askForRows(k, values, 1, strides.value, valueSize * bytes, valueSize * bytes);
  });
}

/** The output, by its factors, gains the values of a block of keys by the weights; a single block gives it. */
function addValues(k: KernelBuilder, group: QueryGroup, firstKey: LoopValue, keys: LoopValue): void {
  const { block, rows, o } = group;
  const { dims, schedule, type } = block;
  const { output, value } = headStrides(dims);
  const values = k.offset(block.values(firstKey), firstKey, value);
  const cells = cacheCells(dims);
  for (const piece of rowPieces(dims.valueSize, type.lanes, schedule.vectors)) {
    const offsets = pieceOffsets(piece);
    const at = (n: number): number => Math.floor(n / piece.count) * output + offsets[n % piece.count]!;
    const scaled = (read: (n: number) => LoopValue): LoopValue[] =>
      Array.from({ length: rows }, (_, i) => {
        const factor = k.loadSplat(piece.type, k.add(block.factors, group.state), i * 4);
        return offsets.map((_offset, v) => k.mul(read(i * piece.count + v), factor));
      }).flat();
    const before = isSingle(block)
      ? Array.from({ length: rows * piece.count }, () => k.constant(piece.type, 0))
      : scaled((n) => k.load(piece.type, o, at(n)));
    const operands = {
      left: block.scores,
      leftRowBytes: schedule.keyBlock * 4,
      leftStepBytes: 4,
      right: k.add(values, k.index((piece.offset / 4) * cellBytes(dims.cache))),
      rightStepBytes: value,
    };
    const sums = multiplyBlock(k, operands, rows, { ...piece, cells }, keys, before);
    (isSingle(block) ? scaled((n) => sums[n]!) : sums).forEach((sum, n) => k.store(sum, o, at(n)));
  }
}

/** Writes the masked scores of a group with a block of keys, by log2 e; gives the largest of each query, in lanes. */
function writeScores(k: KernelBuilder, group: QueryGroup, firstKey: LoopValue, keys: LoopValue): readonly LoopValue[] {
  const { block, rows } = group;
  const { dims, mask, schedule, type } = block;
  const width = schedule.vectors * type.lanes;
  const [score, masked] = [scoreOfProduct(k, mask, type), k.constant(type, MASKED)];
  const lane = laneIndices(k, type.lanes);
  const inits = Array.from({ length: rows }, () => masked);
  return eachPanel(k, keys, schedule, type.lanes, inits, (at, vectors, maxima) => {
    const zeros = Array.from({ length: rows * vectors }, () => k.constant(type, 0));
    const key = k.add(firstKey, at);
    const operands = {
      left: group.q,
      leftRowBytes: headStrides(dims).query,
      leftStepBytes: 4,
      right: k.offset(block.panels, key, dims.size * 4),
      rightStepBytes: width * 4,
    };
    const columns = { type, count: vectors };
    const products = multiplyBlock(k, operands, rows, columns, dims.size, zeros);
    const scores = products.map(score);
    const to = k.offset(block.scores, at, 4);
    const store = (scoreOf: (i: number, v: number) => LoopValue): LoopValue[] =>
      maxima.map((max, i) =>
        Array.from({ length: vectors }, (_, v) => v).reduce((largest, v) => {
          const one = scoreOf(i, v);
          k.store(one, to, i * schedule.keyBlock * 4 + v * type.lanes * 4);
          return largerOf(k, largest, one);
        }, max),
      );
    const end = k.add(key, k.index(vectors * type.lanes - 1));
    let whole = k.compare("le", end, k.min(group.limit, k.index(dims.capacity - 1)));
    if (mask.window !== undefined) {
      const last = laterLimit(k, mask, group.limit, k.index(rows - 1));
      whole = k.binary("and", whole, k.compare("le", firstOfKeys(k, mask, last), key));
    }
    return k.if(
      whole,
      () => store((i, v) => scores[i * vectors + v]!),
      () => {
        const first = k.add(lane, k.splat(k.convert(I32, key), type.lanes));
        return store((i, v) => {
          const number = v === 0 ? first : k.add(first, k.constant(first.type, v * type.lanes));
          const seen = visibleKeys(k, mask, number, group.limit, i, width);
          return k.select(seen, scores[i * vectors + v]!, masked);
        });
      },
    );
  });
}

/** Replaces scores by 2^(score - largest), where the largest so far may be an earlier one, and brings the state up. */
function exponentials(k: KernelBuilder, group: QueryGroup, keys: LoopValue, maxima: LoopValue): void {
  const { block, rows, state } = group;
  const { schedule, type, scores } = block;
  const [largestAt, totalsAt, factorsAt] = [block.largest, block.totals, block.factors].map((at) => k.add(at, state));
  let [largest, before] = [maxima, k.constant(type, 0)];
  if (!isSingle(block)) {
    const old = k.load(type, largestAt!);
    largest = largerOf(k, old, maxima);
    const factors = exp2Of(k, k.sub(old, largest));
    k.store(factors, factorsAt!);
    before = k.mul(k.load(type, totalsAt!), factors);
  }
  k.store(largest, largestAt!);
  const shifts = Array.from({ length: rows }, (_, i) => k.loadSplat(type, largestAt!, i * 4));
  const zeros = shifts.map(() => k.constant(type, 0));
  const rowBytes = schedule.keyBlock * 4;
  const sums = k.for(0, keys, type.lanes, zeros, (key, carried) => {
    const at = k.offset(scores, key, 4);
    const next: LoopValue[] = [];
    for (let first = 0; first < rows; first += TOGETHER) {
      const some = shifts.slice(first, first + TOGETHER);
      const weights = exp2OfAll(
        k,
        some.map((shift, i) => k.sub(k.load(type, at, (first + i) * rowBytes), shift)),
      );
      weights.forEach((weight, i) => k.store(weight, at, (first + i) * rowBytes));
      next.push(...weights.map((weight, i) => k.add(carried[first + i]!, weight)));
    }
    return next;
  });
  const total = reduceEach(k, sums, (a, b) => k.add(a, b));
  k.store(k.add(before, total), totalsAt!);
}

/** Makes factors of the sums of exponentials. */
function invertTotals(k: KernelBuilder, { block, state }: QueryGroup): void {
  const total = k.load(block.type, k.add(block.totals, state));
  k.store(k.div(k.constant(block.type, 1), total), k.add(block.factors, state));
}

/** Writes the logarithms of the normalisers: of all groups at the end, since each is a long chain of operations. */
function writeNormalisers(k: KernelBuilder, { block, rows, state, lse }: QueryGroup): void {
  const { type } = block;
  const [largestAt, totalsAt] = [k.add(block.largest, state), k.add(block.totals, state)];
  const normalisers = k.fma(k.load(type, largestAt), k.constant(type, Math.LN2), logOf(k, k.load(type, totalsAt)));
  k.store(normalisers, totalsAt);
  for (const piece of rowPieces(rows, type.lanes, rows)) {
    for (const offset of pieceOffsets(piece)) k.store(k.load(piece.type, totalsAt, offset), lse, offset);
  }
}

/** The output by its factors. */
function scaleOutput(k: KernelBuilder, { block, rows, state, o }: QueryGroup): void {
  const { dims, type } = block;
  const { output } = headStrides(dims);
  for (const piece of rowPieces(dims.valueSize, type.lanes, dims.valueSize)) {
    for (let i = 0; i < rows; i++) {
      const factor = k.loadSplat(piece.type, k.add(block.factors, state), i * 4);
      for (const offset of pieceOffsets(piece)) {
        k.store(k.mul(k.load(piece.type, o, i * output + offset), factor), o, i * output + offset);
      }
    }
  }
}

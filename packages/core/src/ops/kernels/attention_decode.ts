// attention for few queries, which is what decoding asks for: bound by reading the cache, so that keys and values are
// read in place, once for all heads of a group, in the order in which they lie. A long cache is cut into blocks of
// positions, each with all its key heads, which is a run of memory (flash-decoding: Dao, Haziza, Massa and Sizov 2023);
// a second call puts their parts together. The blocks follow from the shapes, so no result depends on the number of
// threads. Within a chunk the sums are kept as in attention.ts (online softmax, Milakov and Gimelshein 2018,
// arXiv 1805.02867), a tile of positions at a time: attention_tile.ts. A short cache is one block, and a chunk is one
// of its key heads.

import type { KernelBuilder } from "../../loop/builder.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { LowerContext } from "../../op.ts";
import type { AttentionDims } from "../attention.ts";
import { cellBytes } from "../cells.ts";
import { clearRows, firstRow, headStrides, positionOf } from "./attention_blocks.ts";
import type { Cut } from "./attention_cut.ts";
import { cutOf, seenBy, stateBytes, stateOf } from "./attention_cut.ts";
import { combineBlocks, finishBlock } from "./attention_finish.ts";
import type { AttentionMask } from "./attention_mask.ts";
import { alignDown, keysOfQuery, LEAST } from "./attention_mask.ts";
import { attendInOrder, attendTile } from "./attention_tile.ts";
import type { NextPage, Rows } from "./attention_tile.ts";

export function lowerAttentionRows(context: LowerContext, mask: AttentionMask, dims: AttentionDims): void {
  const cut = cutOf(dims, mask, context);
  if (cut.blocks === 1) attendShort(context, cut);
  else attendLong(context, cut);
}

const workOf = ({ dims: { batch, heads, time, size, valueSize }, mask }: Cut): number =>
  2 * batch * heads * time * keysOfQuery(mask) * (size + valueSize);

/** A short cache: a chunk is a key head of a sequence, and writes the results. */
function attendShort(context: LowerContext, cut: Cut): void {
  const { batch, time, heads, valueSize, keyHeads } = cut.dims;
  const buffers = [context.result(0), context.result(1), ...context.node.inputs.map((_, i) => context.input(i))];
  context.call("attention_rows", batch * keyHeads, workOf(cut), buffers, (k, bases) => {
    const [o, lse, q, keys, values, positionAt, table] = bases as readonly LoopValue[];
    const [sequence, keyHead] = [k.div(k.chunk, k.index(keyHeads)), k.rem(k.chunk, k.index(keyHeads))];
    const states = k.allocateScratch(keyHeads * time * cut.sets * stateBytes(cut));
    const position = positionOf(k, cut.dims, positionAt!, sequence);
    const reads = { q: q!, keys: keys!, values: values!, table, position, sequence };
    const range = { first: k.index(0), keyHead, keyHeadEnd: k.add(keyHead, k.index(1)) };
    const sums = k.offset(o!, sequence, time * heads * valueSize * 4);
    attendBlock(k, { cut, ...reads, ...range, sums, states });
    finishBlock(k, cut, { states, sums, lse: k.offset(lse!, sequence, heads * time * 4), keyHead });
  });
}

/** A long cache: a chunk is a block of positions with all key heads. */
function attendLong(context: LowerContext, cut: Cut): void {
  const { batch, time, heads, valueSize, keyHeads } = cut.dims;
  const inputs = context.node.inputs.map((_, i) => context.input(i));
  const chunks = batch * cut.blocks;
  const sums = context.temporary(chunks * time * heads * valueSize * 4);
  const states = context.temporary(chunks * keyHeads * time * cut.sets * stateBytes(cut));
  context.call("attention_rows", chunks, workOf(cut), [sums, states, ...inputs], (k, bases) => {
    const [sumsAt, statesAt, q, keys, values, positionAt, table] = bases as readonly LoopValue[];
    const sequence = k.div(k.chunk, k.index(cut.blocks));
    const first = k.mul(k.rem(k.chunk, k.index(cut.blocks)), k.index(cut.block));
    const position = positionOf(k, cut.dims, positionAt!, sequence);
    const reads = { q: q!, keys: keys!, values: values!, table, position, sequence };
    const range = { first, keyHead: k.index(0), keyHeadEnd: k.index(keyHeads) };
    const writes = {
      sums: k.offset(sumsAt!, k.chunk, time * heads * valueSize * 4),
      states: k.offset(statesAt!, k.chunk, keyHeads * time * cut.sets * stateBytes(cut)),
    };
    attendBlock(k, { cut, ...reads, ...range, ...writes });
  });
  combineBlocks(context, cut, [context.input(3), sums, states, context.result(0), context.result(1)]);
}

/** One block of positions for some key heads of one sequence. */
interface Block {
  readonly cut: Cut;
  /** Bases of the inputs. */
  readonly q: LoopValue;
  readonly keys: LoopValue;
  readonly values: LoopValue;
  readonly table: LoopValue | undefined;
  readonly position: LoopValue;
  readonly sequence: LoopValue;
  /** The first position, and the key heads from one to before another. */
  readonly first: LoopValue;
  readonly keyHead: LoopValue;
  readonly keyHeadEnd: LoopValue;
  /** [time, heads, value size] of the sequence and block, and the states of all its sets. */
  readonly sums: LoopValue;
  readonly states: LoopValue;
}

/** Sums of values by exponentials of scores less the largest, and what was the largest, for all queries. */
function attendBlock(k: KernelBuilder, block: Block): void {
  const { cut, position } = block;
  const { dims, mask, type } = cut;
  const { time, valueSize } = dims;
  const strides = headStrides(dims);
  const scratch = {
    weights: k.allocateScratch((cut.inOrder ? setCount(cut) : 1) * weightBytes(cut)),
    factors: k.allocateScratch(type.lanes * 4),
  };
  const [firstSeen] = seenBy(k, cut, position, k.index(0));
  const [, visible] = seenBy(k, cut, position, k.index(time - 1));
  // A tile is in one page.
  const least = dims.paged === undefined ? firstSeen : alignDown(k, firstSeen, cut.tile);
  const first = mask.window === undefined ? block.first : k.max(block.first, least);
  const end = k.min(k.add(block.first, k.index(cut.block)), visible);
  k.if(k.compare("lt", first, end), () => {
    eachSet(k, block, ({ set, height, head, t, keyHead }) => {
      const state = stateOf(k, cut, block.states, keyHead, t, set);
      k.store(k.constant(type, LEAST), state);
      k.store(k.constant(type, 0), state, type.lanes * 4);
      const sums = k.offset(k.offset(block.sums, t, strides.output), head, valueSize * 4);
      clearRows(k, sums, height, valueSize * 4, valueSize, type.lanes);
    });
    k.loop(first, end, cut.tile, (from) => {
      attendPositions(k, block, scratch, from, k.min(k.add(from, k.index(cut.tile)), end));
    });
    return [];
  });
}

/** A tile, from a position to before another, for all sets. */
function attendPositions(
  k: KernelBuilder,
  block: Block,
  { weights, factors }: { readonly weights: LoopValue; readonly factors: LoopValue },
  from: LoopValue,
  end: LoopValue,
): void {
  const { cut, sequence, position } = block;
  const { dims, mask } = cut;
  const { time, size, valueSize, keyHeads } = dims;
  const bytes = cellBytes(dims.cache);
  const strides = headStrides(dims);
  const row = firstRow(k, dims, block.table, sequence, from);
  const next = nextPage(k, block, from, row);
  const eachRows = (visit: (rows: Rows, number: LoopValue) => void): void =>
    eachSet(k, block, ({ set, height, head, t, keyHead }) => {
      const ofHead = (base: LoopValue, elements: number): LoopValue =>
        k.offset(k.offset(base, row, keyHeads * elements * bytes), keyHead, elements * bytes);
      const q = k.offset(k.offset(block.q, sequence, time * strides.query), t, strides.query);
      const [firstOfQuery, endOfQuery] = seenBy(k, cut, position, t);
      const number = k.add(k.mul(k.add(k.mul(keyHead, k.index(time)), t), k.index(cut.sets)), set);
      const rows: Rows = {
        cut,
        height,
        q: k.offset(q, head, size * 4),
        sums: k.offset(k.offset(block.sums, t, strides.output), head, valueSize * 4),
        state: stateOf(k, cut, block.states, keyHead, t, set),
        from: mask.window === undefined ? from : k.max(from, firstOfQuery),
        end,
        limit: k.sub(endOfQuery, k.index(1)),
        keys: ofHead(block.keys, size),
        values: ofHead(block.values, valueSize),
        next,
        weights: cut.inOrder ? k.offset(weights, number, weightBytes(cut)) : weights,
        factors,
      };
      visit(rows, number);
    });
  if (cut.inOrder) {
    const [, endOfFirst] = seenBy(k, cut, position, k.index(0));
    const limit = k.sub(endOfFirst, k.index(1));
    attendInOrder(k, cut, { from, end, limit, setCount: setCount(cut) }, eachRows);
    return;
  }
  eachRows((rows) => {
    const attend = (): readonly LoopValue[] => {
      attendTile(k, rows);
      return [];
    };
    if (mask.window === undefined) attend();
    else k.if(k.compare("lt", rows.from, end), attend);
  });
}

/** Bytes of a set's weights of a tile, and sets of all key heads and queries. */
const weightBytes = ({ tile, keys, type }: Cut): number => (tile / keys) * type.lanes * 4;
const setCount = ({ dims, sets }: Cut): number => dims.keyHeads * dims.time * sets;

function nextPage(k: KernelBuilder, block: Block, from: LoopValue, row: LoopValue): NextPage | undefined {
  const { cut, table, sequence } = block;
  const { dims } = cut;
  if (dims.paged === undefined) return undefined;
  const first = k.add(from, k.index(cut.tile));
  const there = k.min(first, k.index(dims.capacity - 1));
  const rows = k.sub(firstRow(k, dims, table, sequence, there), row);
  const { key, value } = headStrides(dims);
  return { first, keys: k.mul(rows, k.index(key)), values: k.mul(rows, k.index(value)) };
}

/** A set of heads and a query: its number, its heads and the first of them, and their key head. */
interface HeadSet {
  readonly set: LoopValue;
  readonly height: number;
  readonly head: LoopValue;
  readonly t: LoopValue;
  readonly keyHead: LoopValue;
}

/** Visits the sets of all queries and of a block's key heads. */
function eachSet(k: KernelBuilder, { cut, keyHead, keyHeadEnd }: Block, visit: (set: HeadSet) => void): void {
  const { time, groupSize } = cut.dims;
  k.loop(keyHead, keyHeadEnd, 1, (g) =>
    k.loop(0, time, 1, (t) => {
      const run = (set: LoopValue, height: number): void => {
        const head = k.add(k.mul(g, k.index(groupSize)), k.mul(set, k.index(cut.height)));
        visit({ set, height, head, t, keyHead: g });
      };
      const whole = cut.height === cut.lastHeight ? cut.sets : cut.sets - 1;
      if (whole === 1) run(k.index(0), cut.height);
      else k.loop(0, whole, 1, (set) => run(set, cut.height));
      if (whole < cut.sets) run(k.index(whole), cut.lastHeight);
    }),
  );
}

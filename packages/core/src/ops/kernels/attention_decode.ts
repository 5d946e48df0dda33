// attention for few queries, which is what decoding asks for: bound by reading the cache, so that keys and values are
// read in place, once for all heads of a group, in the order in which they lie. A long cache is cut into blocks of
// positions, each with all its key heads, which is a run of memory (flash-decoding: Dao, Haziza, Massa and Sizov 2023);
// a second call puts their parts together. The blocks follow from the shapes, so no result depends on the number of
// threads. Within a chunk the sums are kept as in attention.ts (online softmax, Milakov and Gimelshein 2018,
// arXiv 1805.02867), a tile of positions at a time. A short cache is one block, and a chunk is one of its key heads.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, I32, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { exp2Of } from "../../loop/math.ts";
import type { LowerContext } from "../../op.ts";
import type { AttentionDims } from "../attention.ts";
import { cellBytes, loadElement } from "../cells.ts";
import { clearRows, firstRow, headStrides, positionOf } from "./attention_blocks.ts";
import type { Cut } from "./attention_cut.ts";
import { cutOf, foldKeys, seenBy, stateBytes, stateOf } from "./attention_cut.ts";
import { combineBlocks, finishBlock } from "./attention_finish.ts";
import type { AttentionMask } from "./attention_mask.ts";
import { alignDown, keysOfQuery, LEAST, MASKED, scoreOfProduct } from "./attention_mask.ts";
import { laneIndices, largerOf, pieceOffsets, reduceEach, rowPieces } from "./lanes.ts";

/** Vectors of head elements whose products are unrolled. */
const UNROLLED_VECTORS = 16;
/** How far ahead of their use keys are asked for, at least, and how many rows of a head ahead values are. */
const [AHEAD_BYTES, ROWS_AHEAD] = [65536, 32];
const LINE_BYTES = 64;
/** Sums that hide the latency of adding to them. */
const SUMS_MIN = 8;

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

/** Some heads of a group and one query, with a tile. */
interface Rows {
  readonly cut: Cut;
  readonly height: number;
  readonly q: LoopValue;
  readonly sums: LoopValue;
  readonly state: LoopValue;
  /** Positions of the tile from and to before, and the last key that the query sees. */
  readonly from: LoopValue;
  readonly end: LoopValue;
  readonly limit: LoopValue;
  /** Of position 0 of the key head. */
  readonly keys: LoopValue;
  readonly values: LoopValue;
  /** Where keys and values are asked for that lie in the next page. */
  readonly next: NextPage | undefined;
  /** Scratch: [keys of a tile / `keys`] vectors, and one. */
  readonly weights: LoopValue;
  readonly factors: LoopValue;
}

/** The first position that is not in a tile's page, perhaps, and how many bytes further on what is there lies. */
interface NextPage {
  readonly first: LoopValue;
  readonly keys: LoopValue;
  readonly values: LoopValue;
}

/** Sums of values by exponentials of scores less the largest, and what was the largest, for all queries. */
function attendBlock(k: KernelBuilder, block: Block): void {
  const { cut, sequence, position } = block;
  const { dims, mask, type } = cut;
  const { time, size, valueSize, keyHeads } = dims;
  const bytes = cellBytes(dims.cache);
  const strides = headStrides(dims);
  const weights = k.allocateScratch((cut.tile / cut.keys) * type.lanes * 4);
  const factors = k.allocateScratch(type.lanes * 4);
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
      const tileEnd = k.min(k.add(from, k.index(cut.tile)), end);
      const row = firstRow(k, dims, block.table, sequence, from);
      const next = nextPage(k, block, from, row);
      eachSet(k, block, ({ set, height, head, t, keyHead }) => {
        const ofHead = (base: LoopValue, elements: number): LoopValue =>
          k.offset(k.offset(base, row, keyHeads * elements * bytes), keyHead, elements * bytes);
        const q = k.offset(k.offset(block.q, sequence, time * strides.query), t, strides.query);
        const [firstOfQuery, endOfQuery] = seenBy(k, cut, position, t);
        const rows: Rows = {
          cut,
          height,
          q: k.offset(q, head, size * 4),
          sums: k.offset(k.offset(block.sums, t, strides.output), head, valueSize * 4),
          state: stateOf(k, cut, block.states, keyHead, t, set),
          from: mask.window === undefined ? from : k.max(from, firstOfQuery),
          end: tileEnd,
          limit: k.sub(endOfQuery, k.index(1)),
          keys: ofHead(block.keys, size),
          values: ofHead(block.values, valueSize),
          next,
          weights,
          factors,
        };
        const attend = (): readonly LoopValue[] => {
          attendTile(k, rows);
          return [];
        };
        if (mask.window === undefined) attend();
        else k.if(k.compare("lt", rows.from, tileEnd), attend);
      });
    });
    return [];
  });
}

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

/** The bytes by which what is so many positions ahead lies elsewhere, for being in the next page. */
function pageStep(k: KernelBuilder, next: NextPage, position: LoopValue, ahead: number, bytes: LoopValue): LoopValue {
  return k.select(k.compare("lt", k.add(position, k.index(ahead)), next.first), k.index(0), bytes);
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

/** Scores of a tile, their exponentials, and the values by them. */
function attendTile(k: KernelBuilder, rows: Rows): void {
  const { cut, state, weights, factors } = rows;
  const { type, keys } = cut;
  const vectorBytes = type.lanes * 4;
  const maxima = writeScores(k, rows);
  const old = k.load(type, state);
  const largest = largerOf(
    k,
    old,
    foldKeys(k, maxima, keys, (a, b) => largerOf(k, a, b)),
  );
  const factor = exp2Of(k, k.sub(old, largest));
  k.store(largest, state);
  k.store(factor, factors);
  const before = k.mul(k.load(type, state, vectorBytes), factor);
  askForNext(k, rows);
  const step = keys * cut.together;
  const slots = type.lanes / keys;
  const byKey = Array.from({ length: type.lanes }, (_, lane) => (lane % slots) * keys + Math.floor(lane / slots));
  const [total] = k.for(0, k.sub(rows.end, rows.from), step, [before], (first, [partial]) => {
    const at = k.offset(weights, k.div(first, k.index(keys)), vectorBytes);
    const each = Array.from({ length: cut.together }, (_, i) =>
      exp2Of(k, k.sub(k.load(type, at, i * vectorBytes), largest)),
    );
    // Stored key by key, as the values are read.
    each.forEach((weight, i) => k.store(k.shuffle(weight, weight, byKey), at, i * vectorBytes));
    return [each.reduce((sum, weight) => k.add(sum, weight), partial!)];
  });
  k.store(total!, state, vectorBytes);
  addValues(k, rows);
}

/** Asks for the first rows of what comes after the keys where it is read once: the values, and the next head's keys. */
function askForNext(k: KernelBuilder, { cut, keys, values, from, end }: Rows): void {
  const { time, size, valueSize, cache } = cut.dims;
  if (cut.sets * time > 1) return;
  const strides = headStrides(cut.dims);
  const [keyBytes, valueBytes] = [size * cellBytes(cache), valueSize * cellBytes(cache)];
  k.loop(from, k.min(end, k.add(from, k.index(ROWS_AHEAD))), 1, (row) => {
    const [value, key] = [k.offset(values, row, strides.value), k.offset(keys, row, strides.key)];
    for (let offset = 0; offset < valueBytes; offset += LINE_BYTES) k.prefetch(value, offset);
    for (let offset = 0; offset < keyBytes; offset += LINE_BYTES) k.prefetch(key, keyBytes + offset);
  });
}

/** Writes the scores of a tile by log2 e, so that their exponentials are powers of two; the largest in each lane. */
function writeScores(k: KernelBuilder, rows: Rows): LoopValue {
  const { cut, from, end, limit, weights } = rows;
  const { type, keys, dims, mask, together } = cut;
  const [scoreOf, masked] = [scoreOfProduct(k, mask, type), k.constant(type, MASKED)];
  const stride = headStrides(dims).key;
  const step = keys * together;
  const ahead = Math.ceil(AHEAD_BYTES / (step * stride)) * step;
  const store = (at: LoopValue, scores: readonly LoopValue[], before: LoopValue): LoopValue[] => {
    const to = k.offset(weights, k.div(at, k.index(keys)), type.lanes * 4);
    scores.forEach((score, i) => k.store(score, to, i * type.lanes * 4));
    return [scores.reduce((a, b) => largerOf(k, a, b), before)];
  };
  const scored = (right: readonly RowAddress[], moved?: LoopValue): LoopValue[] =>
    dotRows(k, rows, right, ahead * stride, moved).map(scoreOf);
  // Keys that are all seen, a few at a time.
  const seenHere = k.sub(k.min(k.max(k.add(limit, k.index(1)), from), end), from);
  const whole = k.sub(seenHere, k.rem(seenHere, k.index(step)));
  const [largest] = k.for(0, whole, step, [masked], (at, [before]) => {
    const base = k.offset(rows.keys, k.add(from, at), stride);
    const right = Array.from({ length: step }, (_, j) => ({ base, offset: j * stride }));
    const moved = rows.next && pageStep(k, rows.next, k.add(from, at), ahead, rows.next.keys);
    return store(at, scored(right, moved), before!);
  });
  // Others are masked, and those behind the tile's last one repeat it.
  const integers = loopType("i32", type.lanes);
  const key = k.binary("and", laneIndices(k, type.lanes), k.constant(integers, keys - 1));
  const last = k.sub(end, k.index(1));
  const lastSeen = k.splat(k.convert(I32, k.min(limit, last)), type.lanes);
  const [total] = k.for(whole, k.sub(end, from), step, [largest!], (at, [before]) => {
    const first = k.add(from, at);
    const right = Array.from({ length: step }, (_, j) => {
      return { base: k.offset(rows.keys, k.min(k.add(first, k.index(j)), last), stride), offset: 0 };
    });
    const scores = scored(right).map((score, i) => {
      const number = k.add(key, k.splat(k.convert(I32, k.add(first, k.index(i * keys))), type.lanes));
      return k.select(k.compare("le", number, lastSeen), score, masked);
    });
    return store(at, scores, before!);
  });
  return total!;
}

/** Where a row begins. */
interface RowAddress {
  readonly base: LoopValue;
  readonly offset: number;
}

/**
 * Dot products of a set's queries with some keys, a vector for as many of them as `keys`; asks for keys further on,
 * which lie `moved` bytes beyond where they would.
 */
function dotRows(
  k: KernelBuilder,
  rows: Rows,
  right: readonly RowAddress[],
  aheadBytes: number,
  moved: LoopValue | undefined,
): LoopValue[] {
  const { cut, height, q: left } = rows;
  const { type, dims, keys } = cut;
  const { size } = dims;
  const { lanes } = type;
  if (size < lanes) return dotShortRows(k, rows, right);
  const bytes = lanes * 4;
  /** Bytes of a query for each of a key. */
  const ratio = 4 / cellBytes(dims.cache);
  type Load = (row: number, leftAt: LoopValue, offset: number) => LoopValue;
  const load: Load = (row, leftAt, offset) => k.load(type, leftAt, row * size * 4 + offset);
  const step = (sums: readonly LoopValue[], d: LoopValue, offset: number, loadLeft: Load): LoopValue[] => {
    const queries = Array.from({ length: height }, (_, i) => loadLeft(i, k.add(left, d), offset));
    const next = [...sums];
    const [there, offsetThere] = [ratio === 1 ? d : k.div(d, k.index(ratio)), offset / ratio];
    right.forEach((address, j) => {
      const at = k.add(address.base, there);
      if (offsetThere % LINE_BYTES === 0) {
        k.prefetch(moved === undefined ? at : k.add(at, moved), address.offset + offsetThere + aheadBytes);
      }
      const other = loadElement(k, dims.cache, lanes, at, address.offset + offsetThere);
      queries.forEach((query, i) => {
        const n = Math.floor(j / keys) * height * keys + i * keys + (j % keys);
        next[n] = k.fma(query, other, next[n]!);
      });
    });
    return next;
  };
  const steps = (sums: readonly LoopValue[], d: LoopValue, end: number): readonly LoopValue[] => {
    let next = sums;
    for (let offset = 0; offset < end; offset += bytes) next = step(next, d, offset, load);
    return next;
  };
  const wholeBytes = (size - (size % lanes)) * 4;
  const turn = UNROLLED_VECTORS * bytes;
  const looped = wholeBytes > turn ? wholeBytes - (wholeBytes % turn) : 0;
  let sums: readonly LoopValue[] = Array.from({ length: height * right.length }, () => k.constant(type, 0));
  if (looped > 0) sums = k.for(0, looped, turn, sums, (d, carried) => steps(carried, d, turn));
  sums = steps(sums, k.index(looped), wholeBytes - looped);
  const rest = size % lanes;
  if (rest > 0) {
    // The last vector ends where the row does; what it has in common with the one before counts as zero.
    const fresh = k.compare("ge", laneIndices(k, lanes), k.constant(loopType("i32", lanes), lanes - rest));
    sums = step(sums, k.index(0), size * 4 - bytes, (row, at, offset) =>
      k.select(fresh, load(row, at, offset), k.constant(type, 0)),
    );
  }
  return Array.from({ length: right.length / keys }, (_, i) =>
    reduceEach(k, sums.slice(i * height * keys, (i + 1) * height * keys), (a, b) => k.add(a, b)),
  );
}

/** The same for rows shorter than a vector, one column at a time. */
function dotShortRows(k: KernelBuilder, { cut, height, q: left }: Rows, right: readonly RowAddress[]): LoopValue[] {
  const { type, dims, keys } = cut;
  const zero = k.constant(type, 0);
  const sums = Array.from({ length: right.length / keys }, () => zero);
  for (let column = 0; column < dims.size; column++) {
    const queries = Array.from({ length: height }, (_, i) => k.load(F32, left, (i * dims.size + column) * 4));
    const lanesOf = (value: (i: number, j: number) => LoopValue): LoopValue => {
      let lanes = zero;
      queries.forEach((_, i) => {
        for (let j = 0; j < keys; j++) lanes = k.insert(lanes, value(i, j), i * keys + j);
      });
      return lanes;
    };
    const rows = lanesOf((i) => queries[i]!);
    sums.forEach((sum, n) => {
      const others = right
        .slice(n * keys, (n + 1) * keys)
        .map(({ base, offset }) => loadElement(k, dims.cache, 1, base, offset + column * cellBytes(dims.cache)));
      sums[n] = k.fma(
        rows,
        lanesOf((_i, j) => others[j]!),
        sum,
      );
    });
  }
  return sums;
}

/** Scales the sums by their factors, and adds the values of a tile by their weights. */
function addValues(k: KernelBuilder, rows: Rows): void {
  const { cut, height, from, end, next, weights, factors, sums } = rows;
  const { type, keys, dims, accumulators } = cut;
  const { valueSize, cache } = dims;
  const stride = headStrides(dims).value;
  const values = k.offset(rows.values, from, stride);
  const count = k.sub(end, from);
  const weightBytes = (type.lanes / keys) * 4;
  for (const piece of rowPieces(valueSize, type.lanes, Math.max(1, Math.floor(accumulators / height)))) {
    const offsets = pieceOffsets(piece);
    const before = Array.from({ length: height }, (_, i) => {
      const factor = k.loadSplat(piece.type, factors, i * keys * 4);
      return offsets.map((offset) => k.mul(k.load(piece.type, sums, i * valueSize * 4 + offset), factor));
    }).flat();
    const add = (
      at: number,
      row: LoopValue,
      aheadOf: LoopValue,
      weightAt: LoopValue,
      partial: readonly LoopValue[],
    ): LoopValue[] => {
      const there = (offset: number): number => (offset / 4) * cellBytes(cache);
      const vectors = offsets.map((offset) =>
        loadElement(k, cache, piece.type.lanes, row, at * stride + there(offset)),
      );
      for (let line = 0; line < there(piece.count * piece.type.lanes * 4); line += LINE_BYTES)
        k.prefetch(aheadOf, (at + ROWS_AHEAD) * stride + there(piece.offset) + line);
      return Array.from({ length: height }, (_, i) => {
        const weight = k.loadSplat(piece.type, weightAt, at * weightBytes + i * 4);
        return vectors.map((vector, v) => k.fma(weight, vector, partial[i * offsets.length + v]!));
      }).flat();
    };
    /** Adds positions up to a number of them, `ways` at a time, each of those to sums of its own. */
    const loop = (low: LoopValue, high: LoopValue, inits: readonly LoopValue[], ways: number): readonly LoopValue[] =>
      k.for(low, high, ways, inits, (at, [row, weightAt, ...partial]) => {
        const moved = next && pageStep(k, next, k.add(from, at), ROWS_AHEAD, next.values);
        const aheadOf = moved === undefined ? row! : k.add(row!, moved);
        return [
          k.add(row!, k.index(ways * stride)),
          k.add(weightAt!, k.index(ways * weightBytes)),
          ...Array.from({ length: ways }, (_, way) =>
            add(way, row!, aheadOf, weightAt!, partial.slice(way * before.length, (way + 1) * before.length)),
          ).flat(),
        ];
      });
    const ways = Math.max(1, Math.floor(SUMS_MIN / before.length));
    const zeros = before.map(({ type: sum }) => k.constant(sum, 0));
    const inits = [values, weights, ...before, ...Array.from({ length: ways - 1 }, () => zeros).flat()];
    const whole = k.sub(count, k.rem(count, k.index(ways)));
    const [row, weightAt, ...partial] = loop(k.index(0), whole, inits, ways);
    const joined = before.map((_, n) =>
      Array.from({ length: ways }, (_way, way) => partial[way * before.length + n]!).reduce((a, b) => k.add(a, b)),
    );
    const rest = [row!, weightAt!, ...joined];
    const [, , ...totals] = ways === 1 ? rest : loop(whole, count, rest, 1);
    totals.forEach((value, n) => {
      k.store(value, sums, Math.floor(n / offsets.length) * valueSize * 4 + offsets[n % offsets.length]!);
    });
  }
}

// What attention of few queries does with a tile of positions: scores of its keys, their exponentials, and sums of its
// values by them. Some heads of a group and one query, a set, share what is read. A short cache and windows are read by
// one set after the other (`attendTile`). Elsewhere sets take turns at a few positions (`attendInOrder`): the keys and
// values of all heads of a position lie side by side, so that memory is read in the order of its addresses, which
// processors follow, and what is asked for ahead of its use is in the first cache by then.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, I32, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { exp2Of } from "../../loop/math.ts";
import { cellBytes, loadElement } from "../cells.ts";
import { headStrides } from "./attention_blocks.ts";
import type { Cut } from "./attention_cut.ts";
import { foldKeys } from "./attention_cut.ts";
import { MASKED, scoreOfProduct } from "./attention_mask.ts";
import { laneIndices, largerOf, pieceOffsets, reduceEach, rowPieces } from "./lanes.ts";

/** Vectors of head elements whose products are unrolled. */
const UNROLLED_VECTORS = 16;
const LINE_BYTES = 64;
/** Sums that hide the latency of adding to them. */
const SUMS_MIN = 8;

/** Some heads of a group and one query, with a tile. */
export interface Rows {
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
  /** Scratch of the set: [keys of a tile / `keys`] vectors, and one. */
  readonly weights: LoopValue;
  readonly factors: LoopValue;
}

/** The first position that is not in a tile's page, perhaps, and how many bytes further on what is there lies. */
export interface NextPage {
  readonly first: LoopValue;
  readonly keys: LoopValue;
  readonly values: LoopValue;
}

/** The bytes by which what is so many positions ahead lies elsewhere, for being in the next page. */
function pageStep(k: KernelBuilder, next: NextPage, position: LoopValue, ahead: number, bytes: LoopValue): LoopValue {
  return k.select(k.compare("lt", k.add(position, k.index(ahead)), next.first), k.index(0), bytes);
}

/** A tile for one set. */
export function attendTile(k: KernelBuilder, rows: Rows): void {
  const { cut, from, end, limit } = rows;
  const [count, whole] = seenSteps(k, cut, from, end, limit);
  const [seen] = k.for(0, whole, stepOf(cut), [k.constant(cut.type, MASKED)], (at, [largest]) => [
    writeScores(k, rows, at, true, largest!),
  ]);
  const [largest] = k.for(whole, count, stepOf(cut), [seen!], (at, [before]) => [
    writeScores(k, rows, at, false, before!),
  ]);
  askForNext(k, rows);
  const factors = weigh(k, rows, largest!);
  addValues(k, rows, { from: k.index(0), end: count }, factors);
}

/**
 * A tile for all sets in turns: `eachSet` visits them with a number of their own, and of `setCount` of them the first
 * query sees the keys up to `limit`.
 */
export function attendInOrder(
  k: KernelBuilder,
  cut: Cut,
  tile: { readonly from: LoopValue; readonly end: LoopValue; readonly limit: LoopValue; readonly setCount: number },
  eachSet: (visit: (rows: Rows, number: LoopValue) => void) => void,
): void {
  const vectorBytes = cut.type.lanes * 4;
  const maxima = k.allocateScratch(tile.setCount * vectorBytes);
  k.loop(0, tile.setCount, 1, (number) => {
    k.store(k.constant(cut.type, MASKED), k.offset(maxima, number, vectorBytes));
  });
  const [count, whole] = seenSteps(k, cut, tile.from, tile.end, tile.limit);
  const score = (at: LoopValue, isSeen: boolean): void =>
    eachSet((rows, number) => {
      const largestAt = k.offset(maxima, number, vectorBytes);
      k.store(writeScores(k, rows, at, isSeen, k.load(cut.type, largestAt)), largestAt);
    });
  k.loop(0, whole, stepOf(cut), (at) => score(at, true));
  k.loop(whole, count, stepOf(cut), (at) => score(at, false));
  eachSet((rows, number) => {
    const factors = weigh(k, rows, k.load(cut.type, k.offset(maxima, number, vectorBytes)));
    scaleSums(k, rows, factors);
  });
  k.loop(0, count, cut.turn, (from) => {
    const end = k.min(k.add(from, k.index(cut.turn)), count);
    eachSet((rows) => addValues(k, rows, { from, end }, undefined));
  });
}

/** Positions of which the products of a set's queries are found together. */
const stepOf = ({ keys, together }: Cut): number => keys * together;

/** The positions of a tile, and those of whole steps that a query sees up to position `limit`. */
function seenSteps(
  k: KernelBuilder,
  cut: Cut,
  from: LoopValue,
  end: LoopValue,
  limit: LoopValue,
): readonly [count: LoopValue, whole: LoopValue] {
  const seen = k.sub(k.min(k.max(k.add(limit, k.index(1)), from), end), from);
  return [k.sub(end, from), k.sub(seen, k.rem(seen, k.index(stepOf(cut))))];
}

/**
 * Turns a set's scores into their exponentials, less the largest so far, and adds those up; gives where the factors of
 * the sums before lie, a vector for heads as those of products.
 */
function weigh(k: KernelBuilder, { cut, state, weights, factors, from, end }: Rows, maxima: LoopValue): LoopValue {
  const { type, keys } = cut;
  const vectorBytes = type.lanes * 4;
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
  const slots = type.lanes / keys;
  const byKey = Array.from({ length: type.lanes }, (_, lane) => (lane % slots) * keys + Math.floor(lane / slots));
  const [total] = k.for(0, k.sub(end, from), stepOf(cut), [before], (first, [partial]) => {
    const at = k.offset(weights, k.div(first, k.index(keys)), vectorBytes);
    const each = Array.from({ length: cut.together }, (_, i) =>
      exp2Of(k, k.sub(k.load(type, at, i * vectorBytes), largest)),
    );
    // Stored key by key, as the values are read.
    each.forEach((weight, i) => k.store(k.shuffle(weight, weight, byKey), at, i * vectorBytes));
    return [each.reduce((sum, weight) => k.add(sum, weight), partial!)];
  });
  k.store(total!, state, vectorBytes);
  return factors;
}

/** Asks for the first rows of what comes after the keys where it is read once: the values, and the next head's keys. */
function askForNext(k: KernelBuilder, { cut, keys, values, from, end }: Rows): void {
  const { time, size, valueSize, cache } = cut.dims;
  if (cut.sets * time > 1) return;
  const strides = headStrides(cut.dims);
  const [keyBytes, valueBytes] = [size * cellBytes(cache), valueSize * cellBytes(cache)];
  k.loop(from, k.min(end, k.add(from, k.index(cut.valuesAhead[0]!))), 1, (row) => {
    const [value, key] = [k.offset(values, row, strides.value), k.offset(keys, row, strides.key)];
    for (let offset = 0; offset < valueBytes; offset += LINE_BYTES) k.prefetch(value, offset, cut.askedCache);
    for (let offset = 0; offset < keyBytes; offset += LINE_BYTES) k.prefetch(key, keyBytes + offset, cut.askedCache);
  });
}

/**
 * Writes the scores by log2 e, so that their exponentials are powers of two, of the keys of a step, `at` behind the
 * tile's first; the larger of each lane and `before`. Keys that are not all seen are masked, and those behind the
 * tile's last one repeat it.
 */
function writeScores(k: KernelBuilder, rows: Rows, at: LoopValue, isSeen: boolean, before: LoopValue): LoopValue {
  const { cut, from, end, limit, weights, next } = rows;
  const { type, keys, dims, mask } = cut;
  const scoreOf = scoreOfProduct(k, mask, type);
  const stride = headStrides(dims).key;
  const first = k.add(from, at);
  const last = k.sub(end, k.index(1));
  const right = Array.from({ length: stepOf(cut) }, (_, j): RowAddress => {
    if (isSeen) return { base: k.offset(rows.keys, first, stride), offset: j * stride };
    return { base: k.offset(rows.keys, k.min(k.add(first, k.index(j)), last), stride), offset: 0 };
  });
  const asks = cut.keysAhead.map((ahead): Ask => {
    const moved = isSeen && next !== undefined ? pageStep(k, next, first, ahead, next.keys) : undefined;
    return { bytes: ahead * stride, moved };
  });
  const scores = dotRows(k, rows, right, asks).map((product, i) => {
    const score = scoreOf(product);
    if (isSeen) return score;
    const integers = loopType("i32", type.lanes);
    const key = k.binary("and", laneIndices(k, type.lanes), k.constant(integers, keys - 1));
    const number = k.add(key, k.splat(k.convert(I32, k.add(first, k.index(i * keys))), type.lanes));
    const lastSeen = k.splat(k.convert(I32, k.min(limit, last)), type.lanes);
    return k.select(k.compare("le", number, lastSeen), score, k.constant(type, MASKED));
  });
  const to = k.offset(weights, k.div(at, k.index(keys)), type.lanes * 4);
  scores.forEach((score, i) => k.store(score, to, i * type.lanes * 4));
  return scores.reduce((a, b) => largerOf(k, a, b), before);
}

/** How far ahead something is asked for, and the bytes by which it lies beyond that, if it may. */
interface Ask {
  readonly bytes: number;
  readonly moved: LoopValue | undefined;
}

/** Asks for the line that is so far ahead of one at an address. */
function askFor(k: KernelBuilder, { bytes, moved }: Ask, at: LoopValue, offset: number, cache: 1 | 2): void {
  k.prefetch(moved === undefined ? at : k.add(at, moved), offset + bytes, cache);
}

/** Where a row begins. */
interface RowAddress {
  readonly base: LoopValue;
  readonly offset: number;
}

/** Dot products of a set's queries with some keys, a vector for as many of them as `keys`; asks for keys further on. */
function dotRows(k: KernelBuilder, rows: Rows, right: readonly RowAddress[], asks: readonly Ask[]): LoopValue[] {
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
        for (const ask of asks) askFor(k, ask, at, address.offset + offsetThere, cut.askedCache);
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

/** Scales a set's sums by their factors. */
function scaleSums(k: KernelBuilder, { cut, height, sums }: Rows, factors: LoopValue): void {
  const { type, keys, dims } = cut;
  for (const piece of rowPieces(dims.valueSize, type.lanes, cut.accumulators)) {
    for (let i = 0; i < height; i++) {
      const factor = k.loadSplat(piece.type, factors, i * keys * 4);
      for (const offset of pieceOffsets(piece)) {
        const at = i * dims.valueSize * 4 + offset;
        k.store(k.mul(k.load(piece.type, sums, at), factor), sums, at);
      }
    }
  }
}

/** Adds the values of some positions of a tile by their weights to the sums, scaled by factors if there are some. */
function addValues(
  k: KernelBuilder,
  rows: Rows,
  positions: { readonly from: LoopValue; readonly end: LoopValue },
  factors: LoopValue | undefined,
): void {
  const { cut, height, next, sums } = rows;
  const { type, keys, dims, accumulators, valuesAhead } = cut;
  const { valueSize, cache } = dims;
  const stride = headStrides(dims).value;
  const weightBytes = (type.lanes / keys) * 4;
  const from = k.add(rows.from, positions.from);
  const values = k.offset(rows.values, from, stride);
  const weights = k.offset(rows.weights, positions.from, weightBytes);
  const count = k.sub(positions.end, positions.from);
  for (const piece of rowPieces(valueSize, type.lanes, Math.max(1, Math.floor(accumulators / height)))) {
    const offsets = pieceOffsets(piece);
    const before = Array.from({ length: height }, (_, i) => {
      const factor = factors && k.loadSplat(piece.type, factors, i * keys * 4);
      return offsets.map((offset) => {
        const sum = k.load(piece.type, sums, i * valueSize * 4 + offset);
        return factor === undefined ? sum : k.mul(sum, factor);
      });
    }).flat();
    const add = (
      at: number,
      row: LoopValue,
      asks: readonly Ask[],
      weightAt: LoopValue,
      partial: readonly LoopValue[],
    ): LoopValue[] => {
      const there = (offset: number): number => (offset / 4) * cellBytes(cache);
      const vectors = offsets.map((offset) =>
        loadElement(k, cache, piece.type.lanes, row, at * stride + there(offset)),
      );
      for (let line = 0; line < there(piece.count * piece.type.lanes * 4); line += LINE_BYTES)
        for (const ask of asks) askFor(k, ask, row, at * stride + there(piece.offset) + line, cut.askedCache);
      return Array.from({ length: height }, (_, i) => {
        const weight = k.loadSplat(piece.type, weightAt, at * weightBytes + i * 4);
        return vectors.map((vector, v) => k.fma(weight, vector, partial[i * offsets.length + v]!));
      }).flat();
    };
    /** Adds positions up to a number of them, `ways` at a time, each of those to sums of its own. */
    const loop = (low: LoopValue, high: LoopValue, inits: readonly LoopValue[], ways: number): readonly LoopValue[] =>
      k.for(low, high, ways, inits, (at, [row, weightAt, ...partial]) => {
        const asks = valuesAhead.map((ahead): Ask => {
          const moved = next && pageStep(k, next, k.add(from, at), ahead, next.values);
          return { bytes: ahead * stride, moved };
        });
        return [
          k.add(row!, k.index(ways * stride)),
          k.add(weightAt!, k.index(ways * weightBytes)),
          ...Array.from({ length: ways }, (_, way) =>
            add(way, row!, asks, weightAt!, partial.slice(way * before.length, (way + 1) * before.length)),
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

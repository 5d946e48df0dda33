// block_linear as loops. Of 16 rows of weights, a band (storage.ts), four columns at a time meet the same four
// activations of each row of those, four bytes to a word (dot4). Codes are not negative in memory, as dot4 wants them:
//   sum q (u - c) = sum q u - c sum q,   and quantize_activations has stored sum q.
// The sums of a scale's columns are exact in int32, become float32, and are multiplied with the scales of both sides,
// block after block; so every schedule adds the same numbers in the same order. Few rows of activations are bound by
// reading the weights, once, in order; many take the codes apart anew for each register block of rows, which costs a
// fraction of the products. Left out: matrix registers.

import { invariant } from "@fidelity/units";
import { isBlocked } from "../../dtype.ts";
import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import type { LowerContext } from "../../op.ts";
import type { BlockLayout, Q8Layout } from "../../storage.ts";
import { BAND_ROWS, blockLayout, GROUP_COLUMNS, LINE_BYTES, q8Layout } from "../../storage.ts";
import { codeWords, GROUP_WORDS } from "./blocks.ts";
import type { ChosenGroups } from "./chosen.ts";
import { areAllChosen, eachChosen } from "./chosen.ts";
import { storeUpTo } from "./lanes.ts";
import { eachBlock, placesAtOnce, placesOf } from "./places.ts";

/** Rows of activations of a chunk. */
const CHUNK_ROWS = 128;
/**
 * Bounds of the weights of a chunk, an eighth of all of them in between: long enough for each thread to read runs of
 * memory, as for ternary weights.
 */
const CHUNK_WEIGHTS = { least: 65_536, most: 1_048_576 } as const;
/** How far ahead of its use a line of weights is asked for: processors' own prefetching stops at pages of 4 KiB. */
const PREFETCH_BYTES = 8192;
/** Registers for lines, words of codes and scales, beside those of sums. */
const OTHER_REGISTERS = 8;
/** Rows of activations of a register block at most. */
const ROWS_MAX = 8;

interface BlockProduct {
  readonly x: Q8Layout;
  readonly w: BlockLayout;
  /** Rows of activations, and bytes of codes and of scales from one to the next. */
  readonly count: number;
  readonly codeBytes: number;
  readonly scaleBytes: number;
  /** Vectors of sums, and of what is multiplied. */
  readonly words: LoopType;
  readonly floats: LoopType;
  /** Rows and vectors of a register block; vectors that hold a word of each row of a band. */
  readonly rows: number;
  readonly vectors: number;
  readonly quads: number;
  /** Whether bytes above 127 are multiplied as they are, and not in two parts. */
  readonly wholeBytes: boolean;
  /** How far ahead weights are asked for, where they come from memory, each of them once; else 0. */
  readonly aheadBytes: number;
  /** Whether processors themselves follow lines that lie in a row better than when they are asked for. */
  readonly followed: boolean;
}

export function lowerBlockLinear(context: LowerContext): void {
  const product = productOf(context);
  const { w, count, rows, vectors, quads } = product;
  const { least, most } = CHUNK_WEIGHTS;
  const chunkWeights = Math.min(Math.max((w.rows * w.columns) / 8, least), most) / Math.min(count, CHUNK_ROWS);
  const atOnce = count === 1 ? placesAtOnce(context) : 1;
  const places = placesOf(Math.ceil(w.rows / BAND_ROWS), atOnce, chunkWeights / (BAND_ROWS * w.columns));
  const rowChunks = Math.ceil(count / CHUNK_ROWS);
  const buffers = [context.input(0), context.input(1), context.result(0)];
  if (context.node.inputs.length > 2) buffers.push(context.input(2));
  const work = 2 * count * w.rows * w.columns;
  context.call("block_linear", rowChunks * places.chunks, work, buffers, (k, [x, weights, y, list]) => {
    const first = k.mul(k.div(k.chunk, k.index(places.chunks)), k.index(CHUNK_ROWS));
    const end = k.min(k.add(first, k.index(CHUNK_ROWS)), k.index(count));
    const corrections = correctRows(k, product, x!, first, k.sub(end, first));
    const rest = count % rows;
    const whole = k.sub(end, k.rem(k.sub(end, first), k.index(rows)));
    const multiply = (bands: readonly LoopValue[], jump?: LoopValue): void => {
      // Where bands are left out, what is asked for ahead lies in the next one that is not.
      const askedBytes = product.followed ? 0 : product.aheadBytes;
      const aheadBytes = jump ? Math.min(product.aheadBytes, w.bandBytes) : askedBytes;
      const block = (row: LoopValue, height: number): void => {
        for (let quad = 0; quad < quads; quad += vectors) {
          const ofRow = k.offset(corrections, k.sub(row, first), product.scaleBytes);
          const bases = bands.map((one) => k.offset(weights!, one, w.bandBytes));
          const place = { x: x!, bands: bases, row, quad, corrections: ofRow, jump };
          const sums = bandSums(k, { ...product, aheadBytes, rows: height }, place);
          const each = sums.length / bands.length;
          bands.forEach((one, i) => storeSums(k, product, y!, row, one, quad, sums.slice(i * each, (i + 1) * each)));
        }
      };
      k.loop(first, whole, rows, (row) => block(row, rows));
      if (rest > 0) k.loop(whole, end, rest, (row) => block(row, rest));
    };
    const all = (): LoopValue[] => {
      eachBlock(k, places, k.rem(k.chunk, k.index(places.chunks)), (band, of) => {
        multiply(Array.from({ length: of }, (_, place) => k.add(band, k.index(place * places.length))));
      });
      return [];
    };
    if (list === undefined) all();
    else {
      const groups = { list, groups: places.blocks, chunks: places.chunks, atOnce };
      // Mostly all are wanted, and then addresses of neighbours are known before.
      k.if(areAllChosen(k, groups), all, () => multiplyChosen(k, product, y!, groups, multiply));
    }
  });
}

/** Multiplies the bands that are wanted of one row (chosen_linear.ts). */
function multiplyChosen(
  k: KernelBuilder,
  product: BlockProduct,
  y: LoopValue,
  groups: ChosenGroups,
  multiply: (bands: readonly LoopValue[], jump?: LoopValue) => void,
): LoopValue[] {
  const nothing = Array.from({ length: product.quads }, () => k.constant(product.floats, -Infinity));
  const take = (bands: readonly LoopValue[], next: readonly LoopValue[]): void => {
    const between = k.sub(k.sub(next[0]!, bands[0]!), k.index(1));
    multiply(bands, bands.length > 1 ? undefined : k.mul(between, k.index(product.w.bandBytes)));
  };
  const leaveOut = (from: LoopValue, to: LoopValue): void => {
    k.loop(from, to, 1, (band) => storeSums(k, product, y, k.index(0), band, 0, nothing));
  };
  eachChosen(k, groups, take, leaveOut);
  return [];
}

function productOf(context: LowerContext): BlockProduct {
  const [x, w] = context.node.inputs;
  invariant(isBlocked(w!.dtype), "weights are of blocks");
  const [xLayout, layout] = [q8Layout(x!.shape), blockLayout(w!.shape, w!.dtype)];
  const count = (xLayout.rows * xLayout.columns) / layout.columns;
  const lanes = Math.min(context.lanes, BAND_ROWS);
  const quads = BAND_ROWS / lanes;
  const joined = context.joinsVectors ? 2 : 1;
  // One row of activations reads all rows of a band side by side; of several, each has sums of its own.
  const vectors = count === 1 ? quads : Math.min(quads, joined);
  const sumsEach = ((layout.minima ? 2 : 1) + GROUP_COLUMNS / layout.scaleColumns) * (vectors / joined);
  const fitting = Math.max(1, Math.floor((context.registers - OTHER_REGISTERS) / sumsEach));
  const rows = Math.min(count, ROWS_MAX, fitting);
  return {
    x: xLayout,
    w: layout,
    count,
    codeBytes: layout.columns,
    scaleBytes: (layout.columns / layout.scaleColumns) * 4,
    words: loopType("i32", lanes),
    floats: loopType("f32", lanes),
    rows,
    vectors,
    quads,
    wholeBytes: context.dot4Unsigned || !layout.planes.includes(8),
    aheadBytes: rows < count ? 0 : PREFETCH_BYTES,
    // Measured where the first cache waits for few lines: one row with codes of four bits, not several, nor others.
    followed: context.prefetchCache === 2 && count === 1 && layout.planes.length === 1 && layout.planes[0] === 4,
  };
}

/**
 * What the sums of activations correct, for `height` rows from `first` on: [row][scale], in scratch. Sums of products
 * begin with -centre sum q; those of minima are of scale sum q.
 */
function correctRows(
  k: KernelBuilder,
  { x, w, count, words, floats, scaleBytes }: BlockProduct,
  base: LoopValue,
  first: LoopValue,
  height: LoopValue,
): LoopValue {
  // Vectors may write a little beyond the last row.
  const to = k.allocateScratch(Math.min(count, CHUNK_ROWS) * scaleBytes + words.lanes * 4);
  const from = k.offset(base, first, scaleBytes);
  k.loop(0, k.mul(height, k.index(scaleBytes / 4)), words.lanes, (i) => {
    const at = k.offset(from, i, 4);
    const sums = k.load(words, at, x.sumsOffset);
    const corrections = w.minima
      ? k.mul(k.convert(floats, sums), k.load(floats, at, x.scalesOffset))
      : k.unary("neg", k.shift("shl", sums, Math.log2(w.centre)));
    k.store(corrections, k.offset(to, i, 4));
  });
  return to;
}

/**
 * The first row of a register block with its corrections, its bands and the first vector of those; and how much further
 * on the bands that come next are than right behind these, if that is known.
 */
interface BlockPlace {
  readonly x: LoopValue;
  readonly bands: readonly LoopValue[];
  readonly row: LoopValue;
  readonly quad: number;
  readonly corrections: LoopValue;
  readonly jump: LoopValue | undefined;
}

/** Addresses of a record's first activations, their scales and corrections, and of its weights. */
interface RecordPlace {
  readonly codes: LoopValue;
  readonly scales: LoopValue;
  readonly corrections: LoopValue;
  readonly record: LoopValue;
  readonly quad: number;
  /** Added to what is asked for ahead. */
  readonly jump: LoopValue | undefined;
}

/** The results of a register block: [band][row][vector]. */
function bandSums(k: KernelBuilder, product: BlockProduct, at: BlockPlace): readonly LoopValue[] {
  const { x, bands, row, quad } = at;
  const { w, rows, vectors, floats, codeBytes, scaleBytes } = product;
  const codes = k.offset(x, row, codeBytes);
  const scales = k.add(k.offset(x, row, scaleBytes), k.index(product.x.scalesOffset));
  const zeros = Array.from({ length: bands.length * rows * vectors }, () => k.constant(floats, 0));
  const add = w.nested ? addNestedRecord : addRecord;
  // The first record for which lines of the next band are asked for.
  const firstBehind = k.index(Math.ceil((w.bandBytes - product.aheadBytes) / w.recordBytes));
  const record = (number: LoopValue, groups: number, carried: readonly LoopValue[]): readonly LoopValue[] =>
    bands.flatMap((band, i) => {
      const ofScales = (w.recordColumns / w.scaleColumns) * 4;
      const place: RecordPlace = {
        codes: k.offset(codes, number, w.recordColumns),
        scales: k.offset(scales, number, ofScales),
        corrections: k.offset(at.corrections, number, ofScales),
        record: k.offset(band, number, w.recordBytes),
        quad,
        jump: at.jump && k.select(k.compare("ge", number, firstBehind), at.jump, k.index(0)),
      };
      prefetchLines(k, product, ahead(k, place.record, place), 0, w.codesOffset / LINE_BYTES);
      return add(k, product, place, groups, carried.slice(i * rows * vectors, (i + 1) * rows * vectors));
    });
  const perRecord = w.recordColumns / GROUP_COLUMNS;
  const whole = Math.floor(w.groups / perRecord);
  const rest = w.groups % perRecord;
  const totals = k.for(0, whole, 1, zeros, (number, carried) => record(number, perRecord, carried));
  return rest === 0 ? totals : record(k.index(whole), rest, totals);
}

/** Adds the first groups of a record whose scales are float16 numbers. */
function addRecord(
  k: KernelBuilder,
  product: BlockProduct,
  place: RecordPlace,
  groups: number,
  carried: readonly LoopValue[],
): readonly LoopValue[] {
  const { w, floats } = product;
  let sums = carried;
  for (let group = 0; group < groups; group++) {
    sums = addGroup(k, product, groupPlace(k, product, place, k.index(group)), sums, (part, vector) => {
      const index = (group * GROUP_COLUMNS) / w.scaleColumns + part;
      return k.load(floats, place.record, (index * BAND_ROWS + (place.quad + vector) * floats.lanes) * 2, "f16");
    });
  }
  return sums;
}

/** Adds a record whose scales have parts: sums with those are multiplied with the numbers of the block at the end. */
function addNestedRecord(
  k: KernelBuilder,
  product: BlockProduct,
  place: RecordPlace,
  groups: number,
  carried: readonly LoopValue[],
): readonly LoopValue[] {
  const { w, rows, vectors, floats } = product;
  const half = (offset: number, vector: number): LoopValue =>
    k.load(floats, place.record, offset + (place.quad + vector) * floats.lanes * 2, "f16");
  const count = rows * vectors;
  const none = Array.from({ length: w.minima ? 2 * count : count }, () => k.constant(floats, 0));
  const sums = k.for(0, groups, 1, none, (group, partial) => {
    const at = groupPlace(k, product, place, group);
    const parts =
      (offset: number) =>
      (part: number, vector: number): LoopValue => {
        const of = k.offset(place.record, group, (GROUP_COLUMNS / w.scaleColumns) * BAND_ROWS);
        const byte = offset + part * BAND_ROWS + (place.quad + vector) * floats.lanes;
        return k.convert(floats, k.load(product.words, of, byte, "i8"));
      };
    const products = addGroup(k, product, at, partial.slice(0, count), parts(w.scalePartsOffset));
    if (!w.minima) return products;
    return [...products, ...addMinima(k, product, at, partial.slice(count), parts(w.minimumPartsOffset))];
  });
  const scales = Array.from({ length: vectors }, (_, vector) => half(0, vector));
  const totals = carried.map((sum, i) => k.fma(sums[i]!, scales[i % vectors]!, sum));
  if (!w.minima) return totals;
  const minima = Array.from({ length: vectors }, (_, vector) => k.unary("neg", half(w.minimaOffset, vector)));
  return totals.map((sum, i) => k.fma(sums[count + i]!, minima[i % vectors]!, sum));
}

/** Addresses of a group: its activations with their scales and corrections, and its lines. */
interface GroupPlace {
  readonly codes: LoopValue;
  readonly scales: LoopValue;
  readonly corrections: LoopValue;
  readonly lines: LoopValue;
  readonly jump: LoopValue | undefined;
}

function groupPlace(k: KernelBuilder, { w, words }: BlockProduct, place: RecordPlace, group: LoopValue): GroupPlace {
  const ofScales = (GROUP_COLUMNS / w.scaleColumns) * 4;
  const lines = k.offset(k.add(place.record, k.index(w.codesOffset)), group, w.groupBytes);
  return {
    codes: k.offset(place.codes, group, GROUP_COLUMNS),
    scales: k.offset(place.scales, group, ofScales),
    corrections: k.offset(place.corrections, group, ofScales),
    lines: k.add(lines, k.index(place.quad * words.lanes * 4)),
    jump: place.jump,
  };
}

/** Adds the products of a group to sums [row][vector]; `scale` gives the weights' scales of a part of it. */
function addGroup(
  k: KernelBuilder,
  product: BlockProduct,
  at: GroupPlace,
  sums: readonly LoopValue[],
  scale: (part: number, vector: number) => LoopValue,
): readonly LoopValue[] {
  const { w, vectors, floats, scaleBytes } = product;
  const parts = GROUP_COLUMNS / w.scaleColumns;
  const dots = groupDots(k, product, at);
  const out = [...sums];
  for (let part = 0; part < parts; part++) {
    const scales = Array.from({ length: vectors }, (_, vector) => scale(part, vector));
    dots[part]!.forEach((dot, i) => {
      const offset = Math.floor(i / vectors) * scaleBytes + part * 4;
      const scaled = k.mul(k.convert(floats, dot), k.loadSplat(floats, at.scales, offset));
      out[i] = k.fma(scaled, scales[i % vectors]!, out[i]!);
    });
  }
  return out;
}

/** The sums of activations times codes of a group, part by part: [part][row][vector]. */
function groupDots(k: KernelBuilder, product: BlockProduct, at: GroupPlace): readonly LoopValue[][] {
  const { w, rows, vectors, words, codeBytes, scaleBytes, wholeBytes } = product;
  const { codes, lines, corrections } = at;
  const bytes = loopType("i8", 4 * words.lanes);
  const linesEach = w.groupBytes / LINE_BYTES / GROUP_WORDS;
  const ofVectors = Array.from({ length: vectors }, (_, vector) =>
    codeWords(k, w, words, (line) => k.load(words, lines, line * LINE_BYTES + vector * words.lanes * 4)),
  );
  const perPart = w.scaleColumns / 4;
  const next = ahead(k, lines, at);
  return Array.from({ length: GROUP_WORDS / perPart }, (_, part) => {
    const zero = k.constant(words, 0);
    const first = Array.from({ length: rows }, (_, row) =>
      w.minima ? zero : k.loadSplat(words, corrections, row * scaleBytes + part * 4),
    );
    const lowest = first.flatMap((sum) => Array.from({ length: vectors }, () => sum));
    const sums = wholeBytes ? lowest : lowest.map(() => zero);
    for (let word = 0; word < perPart; word++) {
      prefetchLines(k, product, next, (part * perPart + word) * linesEach, linesEach);
      const vectorsOfWord = ofVectors.map((generator) => generator.next().value as LoopValue);
      for (let row = 0; row < rows; row++) {
        const four = k.bitcast(bytes, k.loadSplat(words, codes, row * codeBytes + (part * perPart + word) * 4));
        const dot = (code: LoopValue, sum: LoopValue): LoopValue => k.dot4(four, k.bitcast(bytes, code), sum);
        vectorsOfWord.forEach((bytesOfRows, vector) => {
          const i = row * vectors + vector;
          if (wholeBytes) {
            sums[i] = dot(bytesOfRows, sums[i]!);
            return;
          }
          const half = k.binary("and", k.shift("shr_u", bytesOfRows, 1), k.constant(words, 0x7f7f7f7f));
          sums[i] = dot(half, sums[i]!);
          lowest[i] = dot(k.binary("and", bytesOfRows, k.constant(words, 0x01010101)), lowest[i]!);
        });
      }
    }
    return wholeBytes ? sums : sums.map((sum, i) => k.add(k.shift("shl", sum, 1), lowest[i]!));
  });
}

/**
 * Asks for `count` lines from `first` on, some way ahead; of fractions, those that begin there. A few at a time,
 * between products: where many are asked for at once, they wait for each other, and products for them.
 */
function prefetchLines(
  k: KernelBuilder,
  { aheadBytes }: BlockProduct,
  lines: LoopValue,
  first: number,
  count: number,
): void {
  if (aheadBytes === 0) return;
  for (let line = Math.ceil(first); line < first + count; line++) k.prefetch(lines, aheadBytes + line * LINE_BYTES);
}

/** Where lines are that stand for these, as far as they are asked for ahead. */
function ahead(k: KernelBuilder, lines: LoopValue, { jump }: { readonly jump: LoopValue | undefined }): LoopValue {
  return jump === undefined ? lines : k.add(lines, jump);
}

/** Adds the products of the sums of a group's activations with the parts of its minima. */
function addMinima(
  k: KernelBuilder,
  { vectors, floats, scaleBytes }: BlockProduct,
  at: GroupPlace,
  carried: readonly LoopValue[],
  minimum: (part: number, vector: number) => LoopValue,
): LoopValue[] {
  const minima = Array.from({ length: vectors }, (_, vector) => minimum(0, vector));
  return carried.map((sum, i) => {
    const total = k.loadSplat(floats, at.corrections, Math.floor(i / vectors) * scaleBytes);
    return k.fma(total, minima[i % vectors]!, sum);
  });
}

/** Writes the results of a register block that lie within the result. */
function storeSums(
  k: KernelBuilder,
  { w, vectors, floats }: BlockProduct,
  y: LoopValue,
  firstRow: LoopValue,
  band: LoopValue,
  quad: number,
  sums: readonly LoopValue[],
): void {
  const to = k.offset(k.offset(y, firstRow, w.rows * 4), band, BAND_ROWS * 4);
  const write = (count: number) => (): LoopValue[] => {
    sums.forEach((sum, i) => {
      const rowAt = k.add(to, k.index(Math.floor(i / vectors) * w.rows * 4));
      storeUpTo(k, sum, rowAt, (quad + (i % vectors)) * floats.lanes, count);
    });
    return [];
  };
  const rest = w.rows % BAND_ROWS;
  if (rest === 0) write(BAND_ROWS)();
  else if (w.rows < BAND_ROWS) write(rest)();
  else k.if(k.compare("eq", band, k.index(Math.floor(w.rows / BAND_ROWS))), write(rest), write(BAND_ROWS));
}

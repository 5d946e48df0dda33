// Ternary weights times many rows of activations where a vector of 16-bit lanes is permuted as fast as bytes are
// multiplied. Three codes are one of 27 cases. For three columns of a row of activations a vector, the table, holds the
// sum q0 t0 + q1 t1 + q2 t2 of each case; the cases of 32 rows of weights are 32 indices into it. So a permutation and
// an addition do 96 multiply-adds, where dot4 does 64. Look-ups in place of products are the idea of T-MAC (Wei et al.
// 2024, arXiv 2407.00088), whose tables have 16 bytes and are rounded; these have 32 entries of 16 bits, and sums stay
// exact. On Zen 5 permutations have two of the four vector units. Plain additions take all four, and so delay
// permutations; saturating ones take the other two: a product with 128 rows does 1070 GOP/s, all included, where the
// peak of dot4 is 975. On Zen 4 saturating ones take one of those two and one that permutes; plain ones come to the
// free ones where some permutations in a row are before them: 489 GOP/s, where the peak of dot4 is 467.
//
// Weights become indices once a call: a step is three lines of four columns (ternary_codes.ts: a line is a group's
// plane), so four triples, column j of each line; a word of 16 bits holds the indices of two, of which a permutation
// takes the low five bits. The upper ones are loaded as they lie, from a byte further on: loads have units of their
// own, shifts do not. Halves of 32-bit lanes: row r of a block below, row r of the next block above.
//
// Sums of 16 bits hold a strip of 84 triples, and are then added to words in the result's own memory, which the last
// strip makes float32.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { BufferHandle } from "../../op.ts";
import { BLOCK_ROWS, GROUP_BYTES } from "./ternary_codes.ts";
import type { TernaryOperands, TernaryShapes } from "./ternary_codes.ts";
import { codeOfByte } from "./ternary_decoding.ts";

/** Lines of a step, and triples in it. */
const STEP = { lines: 3, triples: 4, columns: 12 } as const;
/** 16 bits hold sums of so many steps: 4 * 21 triples of up to 3 * 128. */
const STRIP_STEPS_MAX = Math.floor(0x7fff / (3 * 128) / STEP.triples);
const VECTOR_BYTES = 64;
/** Indices of 32 rows for a step. */
const STEP_BYTES = 2 * VECTOR_BYTES;
/** Sums in registers: rows of activations, and vectors of 32 rows of weights. */
const TILE = { rows: 4, vectors: 4 } as const;
/** Rows of activations of a chunk: what is to be read for them stays in the second-level cache. */
const CHUNK_ROWS = 16;
/** Fewer rows of activations do not pay for making indices. */
const ROWS_MIN = 64;
/** Making a table takes as long as looking up four times; fewer vectors of weights do not pay for it. */
const VECTORS_MIN = 32;
/** Chunks for as many threads; where rows are few, of parts of the weights, each of which makes the tables anew. */
const CHUNKS_WANTED = 16;
const PART_VECTORS_MIN = 64;
/** What a part's indices of a strip and sums may take of the second-level cache: they come back before long. */
const PART_CACHE_SHARE = 3;
/** How far ahead weights are asked for, and indices: half a tile, of which twice and a third are both slower. */
const [AHEAD_BYTES, INDICES_AHEAD_BYTES] = [8192, 6144];

const SHORTS = loopType("i16", 32);
const WORDS = loopType("i32", 16);
const FLOATS = loopType("f32", 16);
const BYTES = loopType("i8", 64);

/** Whether look-ups are the way. */
export function fitsTriples({ context, x, w, lanes }: TernaryShapes): boolean {
  const wide = lanes === BLOCK_ROWS && context.permutes && context.lookupEntries >= 128 && !context.tiles;
  return wide && x.rows >= ROWS_MIN && w.rows % (2 * BLOCK_ROWS) === 0 && w.rows >= 2 * BLOCK_ROWS * VECTORS_MIN;
}

/** How steps and vectors of weights are cut. */
interface Cut {
  readonly vectors: number;
  /** Lines with columns: the last group may have more, which meet nothing of the activations. */
  readonly lines: number;
  readonly steps: number;
  readonly strips: number;
  readonly stripSteps: number;
}

function cutOf({ w }: TernaryShapes): Cut {
  const lines = Math.ceil(w.columns / 4);
  const steps = Math.ceil(lines / STEP.lines);
  const strips = Math.ceil(steps / STRIP_STEPS_MAX);
  return { vectors: w.blocks / 2, lines, steps, strips, stripSteps: Math.ceil(steps / strips) };
}

/** The steps of a strip: the last may have fewer. */
function stepsOf(k: KernelBuilder, { steps, stripSteps }: Cut, strip: LoopValue): LoopValue {
  return k.min(k.index(stripSteps), k.sub(k.index(steps), k.mul(strip, k.index(stripSteps))));
}

export function lowerTriples(shapes: TernaryShapes): void {
  const { context, x, w } = shapes;
  const cut = cutOf(shapes);
  const indices = prepareIndices(shapes, cut);
  const rowChunks = Math.ceil(x.rows / CHUNK_ROWS);
  const tiles = Math.ceil(cut.vectors / TILE.vectors);
  const partTiles = Math.ceil(tiles / partsOf(shapes, cut, rowChunks));
  const parts = Math.ceil(tiles / partTiles);
  const work = x.rows * w.rows * w.columns;
  const buffers = [context.input(0), context.input(1), context.result(0), indices];
  context.call("ternary_linear_triples", rowChunks * parts, work, buffers, (k, [xBase, wBase, yBase, from]) => {
    const operands: TernaryOperands = { x: xBase!, w: wBase!, y: yBase! };
    const tables = k.allocateScratch(TILE.rows * cut.stripSteps * STEP.triples * VECTOR_BYTES);
    const first = k.mul(k.div(k.chunk, k.index(parts)), k.index(CHUNK_ROWS));
    const end = k.min(k.add(first, k.index(CHUNK_ROWS)), k.index(x.rows));
    const part = { first: k.mul(k.rem(k.chunk, k.index(parts)), k.index(partTiles)), count: partTiles };
    k.loop(0, cut.strips, 1, (strip) => {
      const rows = (row: LoopValue, height: number): void => {
        const place: Place = { row, height, strip, steps: stepsOf(k, cut, strip) };
        makeTables(k, shapes, cut, operands, place, tables);
        lookUp(k, shapes, cut, operands, place, tables, from!, part);
      };
      const rest = x.rows % TILE.rows;
      const whole = k.sub(end, k.rem(k.sub(end, first), k.index(TILE.rows)));
      k.loop(first, whole, TILE.rows, (row) => rows(row, TILE.rows));
      if (rest > 0) k.loop(whole, end, rest, (row) => rows(row, rest));
    });
  });
}

/** How many parts the weights come in at most. */
function partsOf({ context }: TernaryShapes, { vectors, stripSteps }: Cut, rowChunks: number): number {
  const vectorBytes = stripSteps * STEP_BYTES + CHUNK_ROWS * 2 * VECTOR_BYTES;
  const forCache = Math.ceil((vectors * vectorBytes) / (PART_CACHE_SHARE * context.cacheBytes.l2));
  const forThreads = Math.min(Math.floor(vectors / PART_VECTORS_MIN), Math.ceil(CHUNKS_WANTED / rowChunks));
  return Math.max(1, forCache, forThreads);
}

/** Some rows of activations and a strip of columns. */
interface Place {
  readonly row: LoopValue;
  readonly height: number;
  readonly strip: LoopValue;
  readonly steps: LoopValue;
}

/** Where a tile of vectors begins in a strip's indices: [strip][tile][step][word][vector of the tile][row]. */
function tileOffset(k: KernelBuilder, cut: Cut, strip: LoopValue, steps: LoopValue, tile: LoopValue): LoopValue {
  const ofStrip = k.mul(strip, k.index(cut.stripSteps * cut.vectors * STEP_BYTES));
  return k.add(ofStrip, k.mul(k.mul(tile, k.index(TILE.vectors * STEP_BYTES)), steps));
}

/** The weights as indices, a chunk of work for each vector of 32 rows. */
function prepareIndices(shapes: TernaryShapes, cut: Cut): BufferHandle {
  const { context, w } = shapes;
  const { vectors, steps } = cut;
  // The last upper indices are loaded with a byte that lies behind them.
  const sizeBytes = vectors * steps * STEP_BYTES + VECTOR_BYTES;
  return context.prepare("ternary_indices", 1, sizeBytes, vectors, w.rows * w.columns, (k, [wBase, to]) => {
    const tile = k.div(k.chunk, k.index(TILE.vectors));
    const width = k.min(k.index(TILE.vectors), k.sub(k.index(vectors), k.mul(tile, k.index(TILE.vectors))));
    const vector = k.sub(k.chunk, k.mul(tile, k.index(TILE.vectors)));
    const from = k.offset(wBase!, k.chunk, 2 * w.blockBytes);
    /** The steps of three groups, which are as many as a group has planes, or the last of fewer. */
    const convert = (turn: LoopValue, groups: number, count: number): void => {
      const at = k.offset(from, turn, STEP.lines * GROUP_BYTES);
      for (const block of [0, w.blockBytes]) {
        for (let group = 0; group < groups; group++) k.prefetch(at, block + group * GROUP_BYTES + AHEAD_BYTES);
      }
      const blocks = [0, w.blockBytes].map((block) =>
        Array.from({ length: groups }, (_, group) => k.load(BYTES, at, block + group * GROUP_BYTES)),
      );
      for (let i = 0; i < count; i++) {
        const step = k.add(k.mul(turn, k.index(w.planes)), k.index(i));
        const strip = k.div(step, k.index(cut.stripSteps));
        const inStrip = k.sub(step, k.mul(strip, k.index(cut.stripSteps)));
        const offset = tileOffset(k, cut, strip, stepsOf(k, cut, strip), tile);
        const out = k.add(k.add(to!, offset), k.mul(k.mul(inStrip, width), k.index(STEP_BYTES)));
        const place = k.offset(out, vector, VECTOR_BYTES);
        const [low, high] = blocks.map((bytes) => casesOf(k, bytes, w.planes, i));
        const mask = k.constant(WORDS, 0xffff);
        // Past the caches: threads that fetched what they then write over would wait for each other's memory.
        k.storeNontemporal(k.binary("or", k.binary("and", low!, mask), k.shift("shl", high!, 16)), place);
        const upper = k.binary("and", high!, k.unary("not", mask));
        const next = k.add(place, k.mul(width, k.index(VECTOR_BYTES)));
        k.storeNontemporal(k.binary("or", k.shift("shr_u", low!, 16), upper), next);
      }
    };
    const turns = Math.floor(steps / w.planes);
    const rest = steps - turns * w.planes;
    k.loop(0, turns, 1, (turn) => convert(turn, STEP.lines, w.planes));
    if (rest > 0) convert(k.index(turns), w.groups - turns * STEP.lines, rest);
  });
}

/**
 * t0 + 3 t1 + 9 t2 of a step's lines, byte by byte, from groups whose lines follow each other. A look-up for each group
 * that the step has lines of tells what they add; lines that there are not add nothing.
 */
function casesOf(k: KernelBuilder, groups: readonly LoopValue[], planes: number, step: number): LoopValue {
  const terms = groups.flatMap((bytes, group) => {
    const places = Array.from({ length: STEP.lines }, (_, place) => place);
    const planeOf = (place: number): number => STEP.lines * step + place - planes * group;
    const own = places.filter((place) => planeOf(place) >= 0 && planeOf(place) < planes);
    if (own.length === 0) return [];
    const table = Array.from({ length: 256 }, (_, byte) =>
      own.reduce((sum, place) => sum + codeOfByte(byte, planeOf(place), planes) * 3 ** place, 0),
    );
    return [k.lookup(bytes, table)];
  });
  const sum = terms.reduce((total, term) => k.add(total, term));
  return k.bitcast(WORDS, sum);
}

/** -1, 0 or 1: what a line's code is in each case. */
function codesOfCases(k: KernelBuilder, line: number): LoopValue {
  const [minus, zero, one] = [-1, 0, 1].map((code) => k.constant(SHORTS, code));
  const lanes = Array.from({ length: SHORTS.lanes }, (_, lane) => lane);
  const codeOf = (lane: number): number => Math.floor(lane / 3 ** line) % 3;
  const below = k.shuffle(
    minus!,
    zero!,
    lanes.map((lane) => (codeOf(lane) === 0 ? lane : SHORTS.lanes + lane)),
  );
  return k.shuffle(
    below,
    one!,
    lanes.map((lane) => (codeOf(lane) === 2 ? SHORTS.lanes + lane : lane)),
  );
}

/** Tables of a strip for some rows of activations: [step][triple][row][case]. */
function makeTables(
  k: KernelBuilder,
  { x }: TernaryShapes,
  cut: Cut,
  operands: TernaryOperands,
  { row, height, strip, steps }: Place,
  tables: LoopValue,
): void {
  const codes = Array.from({ length: STEP.lines }, (_, line) => codesOfCases(k, line));
  const from = k.add(k.offset(operands.x, row, x.rowBytes), k.mul(strip, k.index(cut.stripSteps * STEP.columns)));
  const make = (step: LoopValue, lines: number): void => {
    const at = k.offset(from, step, STEP.columns);
    const to = k.offset(tables, step, STEP.triples * height * VECTOR_BYTES);
    for (let r = 0; r < height; r++) {
      const columns = k.load(SHORTS, at, r * x.rowBytes, "i8");
      for (let triple = 0; triple < STEP.triples; triple++) {
        const sum = codes
          .slice(0, lines)
          .map((of, line) => k.mul(k.permute(columns, k.constant(SHORTS, 4 * line + triple)), of))
          .reduce((total, term) => k.add(total, term));
        k.store(sum, to, (triple * height + r) * VECTOR_BYTES);
      }
    }
  };
  const lines = cut.lines % STEP.lines;
  // Lines that there are not may lie beyond the activations.
  const isCut = lines > 0;
  const isLast = k.compare("eq", strip, k.index(cut.strips - 1));
  const whole = isCut ? k.sub(steps, k.select(isLast, k.index(1), k.index(0))) : steps;
  k.loop(0, whole, 1, (step) => make(step, STEP.lines));
  if (isCut) k.loop(whole, steps, 1, (step) => make(step, lines));
}

/** Adds a strip's look-ups for some rows of activations and a part of the weights to the sums in the result. */
function lookUp(
  k: KernelBuilder,
  shapes: TernaryShapes,
  cut: Cut,
  operands: TernaryOperands,
  place: Place,
  tables: LoopValue,
  indices: LoopValue,
  part: { readonly first: LoopValue; readonly count: number },
): void {
  const whole = Math.floor(cut.vectors / TILE.vectors);
  const rest = cut.vectors % TILE.vectors;
  const tile = (number: LoopValue, width: number): void => {
    const from = k.add(indices, tileOffset(k, cut, place.strip, place.steps, number));
    const to = k.offset(k.offset(operands.y, place.row, shapes.w.rows * 4), number, TILE.vectors * 2 * BLOCK_ROWS * 4);
    for (let r = 0; r < place.height; r++) {
      for (let line = 0; line < 2 * width; line++) k.prefetch(to, r * shapes.w.rows * 4 + line * VECTOR_BYTES);
    }
    finishTile(k, shapes, cut, operands, place, to, tileSums(k, shapes, place, from, tables, width));
  };
  const end = k.add(part.first, k.index(part.count));
  k.loop(part.first, k.min(end, k.index(whole)), 1, (number) => tile(number, TILE.vectors));
  if (rest > 0)
    k.if(
      k.compare("gt", end, k.index(whole)),
      () => (tile(k.index(whole), rest), []),
      () => [],
    );
}

/** Sums of 16 bits: [row][vector]. A turn takes one word of indices: more, and sums wait for registers. */
function tileSums(
  k: KernelBuilder,
  { context }: TernaryShapes,
  { height, steps }: Place,
  from: LoopValue,
  tables: LoopValue,
  width: number,
): readonly LoopValue[] {
  const zeros = Array.from({ length: height * width }, () => k.constant(SHORTS, 0));
  return k.for(0, k.mul(steps, k.index(2)), 1, zeros, (turn, carried) => {
    const out = [...carried];
    const words = k.offset(from, turn, width * VECTOR_BYTES);
    const table = k.offset(tables, turn, (STEP.triples / 2) * height * VECTOR_BYTES);
    let cases = Array.from({ length: width }, (_, v) => {
      k.prefetch(words, v * VECTOR_BYTES + INDICES_AHEAD_BYTES);
      return k.load(SHORTS, words, v * VECTOR_BYTES);
    });
    for (let half = 0; half < 2; half++) {
      if (half === 1) cases = cases.map((_, v) => k.load(SHORTS, words, v * VECTOR_BYTES + 1));
      for (let row = 0; row < height; row++) {
        const sums = k.load(SHORTS, table, (half * height + row) * VECTOR_BYTES);
        const at = row * width;
        if (context.saturatesBesidePermutes) {
          cases.forEach((value, v) => (out[at + v] = k.binary("add_sat", out[at + v]!, k.permute(sums, value))));
        } else {
          const found = cases.map((value) => k.permute(sums, value));
          found.forEach((value, v) => (out[at + v] = k.add(out[at + v]!, value)));
        }
      }
    }
    return out;
  });
}

/** Adds sums of 16 bits to the words that the strips before left, and makes results of them after the last. */
function finishTile(
  k: KernelBuilder,
  { x, w }: TernaryShapes,
  cut: Cut,
  operands: TernaryOperands,
  { row, height, strip }: Place,
  to: LoopValue,
  sums: readonly LoopValue[],
): void {
  const width = sums.length / height;
  const write = (isFirst: boolean, isLast: boolean) => (): LoopValue[] => {
    for (let r = 0; r < height; r++) {
      const scale = isLast ? scaleOf(k, { x, w }, operands, k.add(row, k.index(r))) : undefined;
      for (let v = 0; v < width; v++) {
        const words = k.bitcast(WORDS, sums[r * width + v]!);
        const halves = [k.shift("shr_s", k.shift("shl", words, 16), 16), k.shift("shr_s", words, 16)];
        for (const [block, half] of halves.entries()) {
          const at = r * w.rows * 4 + (2 * v + block) * VECTOR_BYTES;
          const total = isFirst ? half : k.add(half, k.load(WORDS, to, at));
          k.store(scale === undefined ? total : k.mul(k.convert(FLOATS, total), scale), to, at);
        }
      }
    }
    return [];
  };
  const isAt = (number: number): LoopValue => k.compare("eq", strip, k.index(number));
  if (cut.strips === 1) return void write(true, true)();
  const later = (): LoopValue[] => {
    k.if(isAt(cut.strips - 1), write(false, true), write(false, false));
    return [];
  };
  k.if(isAt(0), write(true, false), later);
}

/** What makes results of a row's sums. */
function scaleOf(
  k: KernelBuilder,
  { x, w }: Pick<TernaryShapes, "x" | "w">,
  operands: TernaryOperands,
  row: LoopValue,
): LoopValue {
  const ofRow = k.load(F32, k.offset(operands.x, row, 4), x.scalesOffset);
  return k.splat(k.mul(ofRow, k.load(F32, operands.w, w.scaleOffset)), BLOCK_ROWS);
}

// States that wait in scratch while time runs, as recurrences over a matrix of states [rows, columns] have them: rows
// are independent of each other and lie in lanes, a few vectors of them at a time (a piece), so that sums over columns
// are plain sums of vectors. In scratch a piece is [columns, rows]; in memory it lies with the axes exchanged.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, loopType } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import type { RowPiece } from "./lanes.ts";
import { foldLanes, LaneTree, laneWidths, rowPieces, sumEach } from "./lanes.ts";

/** Chunks that are enough to share among threads. */
const ENOUGH_CHUNKS = 16;
/** Columns that are taken one after the other in code; more of them run in loops of as many. */
const UNROLLED_COLUMNS = 16;
/** Steps of a span. */
const [SPAN_MIN, SPAN_MAX] = [8, 64];

/** Vectors that are summed over their lanes together. */
const TOGETHER_MIN = 8;
/** Steps that rows are asked for ahead, and what comes at once. */
export const STEPS_AHEAD = 6;
export const LINE_BYTES = 64;

/** How the rows of a matrix are cut into chunks: whole pieces of `vectors` vectors, but for what is left over. */
export interface RowBlocks {
  readonly rows: number;
  readonly vectors: number;
  readonly lanes: number;
  /** Rows of a block. */
  readonly width: number;
  readonly blocks: number;
}

/** Blocks of the rows of each of `matrices`. */
export function cutRows(matrices: number, rows: number, lanes: number, vectors: number): RowBlocks {
  const pieces = Math.ceil(rows / (vectors * lanes));
  const perBlock = Math.ceil(pieces / Math.min(pieces, Math.ceil(ENOUGH_CHUNKS / matrices)));
  const width = Math.min(rows, perBlock * vectors * lanes);
  return { rows, vectors, lanes, width, blocks: Math.ceil(rows / width) };
}

/** A piece of a chunk's rows: `first` is its first row, and `block` the number of its block in matrix `matrix`. */
export interface PiecePlace {
  readonly piece: RowPiece;
  readonly matrix: LoopValue;
  readonly block: LoopValue;
  readonly first: LoopValue;
}

/** A chunk's rows: those from `first` on of matrix `matrix`, its block `block`. */
export interface BlockPlace {
  readonly rows: number;
  readonly matrix: LoopValue;
  readonly block: LoopValue;
  readonly first: LoopValue;
}

/** Runs this chunk, a block of one matrix: in other code where it is what is left over. */
export function eachBlock(
  k: KernelBuilder,
  { rows, width, blocks }: RowBlocks,
  run: (place: BlockPlace) => void,
): void {
  const matrix = k.div(k.chunk, k.index(blocks));
  const block = k.rem(k.chunk, k.index(blocks));
  const first = k.mul(block, k.index(width));
  const all = (count: number) => (): readonly LoopValue[] => {
    run({ rows: count, matrix, block, first });
    return [];
  };
  const rest = rows % width;
  if (rest === 0) all(width)();
  else k.if(k.compare("eq", block, k.index(blocks - 1)), all(rest), all(width));
}

/** Runs the pieces of this chunk one after the other. */
export function eachPiece(k: KernelBuilder, cut: RowBlocks, run: (place: PiecePlace) => void): void {
  eachBlock(k, cut, ({ rows, matrix, block, first }) => {
    for (const piece of rowPieces(rows, cut.lanes, cut.vectors)) {
      run({ piece, matrix, block, first: k.add(first, k.index(piece.offset / 4)) });
    }
  });
}

/** Rows of the largest piece. */
export function rowsMax({ rows, vectors, lanes }: RowBlocks): number {
  return Math.min(rows, vectors * lanes);
}

/** Rows of a piece. */
export function rowsOf({ type, count }: RowPiece): number {
  return type.lanes * count;
}

/** Copies [rows, columns] in memory to [columns, rows] in scratch, times a factor. */
export function gatherStates(
  k: KernelBuilder,
  from: LoopValue,
  to: LoopValue,
  rows: number,
  columns: number,
  factor = 1,
): void {
  k.loop(0, rows, 1, (row) => {
    k.loop(0, columns, 1, (column) => {
      const value = k.load(F32, k.offset(k.offset(from, row, columns * 4), column, 4));
      const scaled = factor === 1 ? value : k.mul(value, k.constant(F32, factor));
      k.store(scaled, k.offset(k.offset(to, column, rows * 4), row, 4));
    });
  });
}

/** Copies [columns, rows] in scratch to [rows, columns] in memory. */
export function scatterStates(k: KernelBuilder, from: LoopValue, to: LoopValue, rows: number, columns: number): void {
  k.loop(0, rows, 1, (row) => {
    k.loop(0, columns, 1, (column) => {
      const value = k.load(F32, k.offset(k.offset(from, column, rows * 4), row, 4));
      k.store(value, k.offset(k.offset(to, row, columns * 4), column, 4));
    });
  });
}

/** Copies a piece of states in scratch. */
export function copyStates(k: KernelBuilder, piece: RowPiece, columns: number, from: LoopValue, to: LoopValue): void {
  eachVector(k, piece, columns, (at) => k.store(k.load(piece.type, k.add(from, at)), k.add(to, at)));
}

/** Every vector of a piece of states in scratch, by its byte offset. */
export function eachVector(k: KernelBuilder, piece: RowPiece, columns: number, use: (at: LoopValue) => void): void {
  k.loop(0, columns * rowsOf(piece) * 4, piece.type.lanes * 4, use);
}

/** Some columns: row `i` of an array whose rows belong to columns, as an address and a byte offset. */
export interface ColumnTurn {
  readonly count: number;
  row(array: LoopValue, i: number, strideBytes: number): readonly [address: LoopValue, offset: number];
}

/** Takes all columns in turns of at most `turn`, in code where they are few and else in a loop, with carried values. */
export function eachColumn(
  k: KernelBuilder,
  columns: number,
  turn: number,
  carried: readonly LoopValue[],
  take: (turn: ColumnTurn, carried: readonly LoopValue[]) => readonly LoopValue[],
): readonly LoopValue[] {
  const fixed = (start: number): ColumnTurn => ({
    count: Math.min(turn, columns - start),
    row: (array, i, strideBytes) => [array, (start + i) * strideBytes],
  });
  const looped = columns <= UNROLLED_COLUMNS ? 0 : columns - (columns % turn);
  let values = carried;
  if (looped > 0) {
    values = k.for(0, looped, turn, values, (start, now) => {
      const rows = new Map<string, LoopValue>();
      const row = (array: LoopValue, i: number, strideBytes: number): readonly [LoopValue, number] => {
        const key = `${array.id} ${strideBytes}`;
        if (!rows.has(key)) rows.set(key, k.offset(array, start, strideBytes));
        return [rows.get(key)!, i * strideBytes];
      };
      return take({ count: turn, row }, now);
    });
  }
  for (let start = looped; start < columns; start += turn) values = take(fixed(start), values);
  return values;
}

/**
 * Steps of a span: states are kept at borders of spans, and then at each step of one, so that both are few. More of
 * them turn round less often, which costs what was asked for ahead; fewer are nearer.
 */
export function spanOf(time: number): number {
  return Math.min(SPAN_MAX, Math.max(SPAN_MIN, Math.ceil(Math.sqrt(time) * 0.75)));
}

/** What goes over all steps forwards, and then span by span back. States are addresses of pieces in scratch. */
export interface SpanWork {
  readonly piece: RowPiece;
  readonly columns: number;
  readonly time: number;
  /** Steps of a span: what `spanOf` says of `time`, unless they keep more than states. */
  readonly span?: number;
  /** The first states; then those that went forward. */
  readonly h: LoopValue;
  /** [spans, columns, rows] and [span + 1, columns, rows] in scratch. */
  readonly borders: LoopValue;
  readonly history: LoopValue;
  /** Step t takes states to the next ones; `step` counts from the start of the span where it is known. */
  advance(t: LoopValue, states: LoopValue, next: LoopValue, step?: LoopValue): void;
  /** Step t backwards: with the states before it, which those after it follow in scratch. */
  goBack(t: LoopValue, before: LoopValue, step: LoopValue): void;
}

/** All steps forwards, keeping states at borders; and span by span from the last: its states again, then backwards. */
export function forthAndBack(k: KernelBuilder, work: SpanWork): void {
  const { piece, columns, time, span = spanOf(time), h, borders, history, advance, goBack } = work;
  const spans = Math.ceil(time / span);
  const stateBytes = columns * rowsOf(piece) * 4;
  k.loop(0, spans - 1, 1, (number) => {
    copyStates(k, piece, columns, h, k.offset(borders, number, stateBytes));
    const start = k.mul(number, k.index(span));
    k.loop(start, k.add(start, k.index(span)), 1, (t) => advance(t, h, h));
  });
  copyStates(k, piece, columns, h, k.offset(borders, spans - 1, stateBytes));
  k.loop(0, spans, 1, (done) => {
    const number = k.sub(k.index(spans - 1), done);
    const start = k.mul(number, k.index(span));
    const steps = k.min(k.index(span), k.sub(k.index(time), start));
    copyStates(k, piece, columns, k.offset(borders, number, stateBytes), history);
    k.loop(0, steps, 1, (step) => {
      const before = k.offset(history, step, stateBytes);
      advance(k.add(start, step), before, k.add(before, k.index(stateBytes)), step);
    });
    k.loop(0, steps, 1, (taken) => {
      const step = k.sub(k.sub(steps, k.index(1)), taken);
      goBack(k.add(start, step), k.offset(history, step, stateBytes), step);
    });
  });
}

/**
 * Sums of rows over the lanes, column by column, of at most as many columns as lanes; what is beyond is not defined.
 */
export class ColumnSums {
  readonly #k: KernelBuilder;
  readonly #tree: LaneTree;
  #partial: LoopValue | undefined;

  constructor(k: KernelBuilder) {
    this.#k = k;
    this.#tree = new LaneTree(k, (p, q) => k.add(p, q));
  }

  /** Adds the product of two vectors to the sum of the present column. */
  add(x: LoopValue, y: LoopValue): void {
    this.#partial = this.#partial === undefined ? this.#k.mul(x, y) : this.#k.fma(x, y, this.#partial);
  }

  /** Goes on to the next column. */
  next(): void {
    this.#tree.push(this.#partial!);
    this.#partial = undefined;
  }

  /** Stores the sums of all columns, times a factor, or adds them to what is there. */
  store([address, offset]: readonly [LoopValue, number], adds: boolean, factor?: LoopValue): void {
    const total = this.#tree.result();
    const sum = factor === undefined ? total : this.#k.mul(total, factor);
    const before = adds ? this.#k.load(sum.type, address, offset) : undefined;
    this.#k.store(before === undefined ? sum : this.#k.add(sum, before), address, offset);
  }
}

/** Asks for the lines of `size` elements, so many elements further on (or back), into the first or the second cache. */
export function askRow(k: KernelBuilder, row: LoopValue, further: number, size: number, cache: 1 | 2 = 1): void {
  const start = further < 0 ? k.sub(row, k.index(-further * 4)) : k.add(row, k.index(further * 4));
  for (let at = 0; at < size * 4; at += LINE_BYTES) k.prefetch(start, at, cache);
}

/** All elements of a row, in vectors and then in narrower ones, by their byte offset. */
export function eachElement(
  k: KernelBuilder,
  count: number,
  lanes: number,
  use: (type: LoopType, at: LoopValue) => void,
): void {
  let done = 0;
  for (const width of laneWidths(lanes)) {
    const end = count - ((count - done) % width);
    if (end > done) k.loop(done * 4, end * 4, width * 4, (at) => use(loopType("f32", width), at));
    done = end;
  }
}

/** A sum over the elements of a row, by their byte offsets: in vectors, then in narrower ones, then across lanes. */
export function sumRow(
  k: KernelBuilder,
  count: number,
  lanes: number,
  add: (type: LoopType, at: LoopValue, sum: LoopValue) => LoopValue,
): LoopValue {
  return sumRows(k, count, lanes, 1, (type, at, _row, sum) => add(type, at, sum))[0]!;
}

/** The same for some rows at once, which do not wait for each other. */
export function sumRows(
  k: KernelBuilder,
  count: number,
  lanes: number,
  rows: number,
  add: (type: LoopType, at: LoopValue, row: number, sum: LoopValue) => LoopValue,
): readonly LoopValue[] {
  const sums: (readonly LoopValue[])[] = [];
  let done = 0;
  for (const width of laneWidths(lanes)) {
    const end = count - ((count - done) % width);
    if (end === done) continue;
    sums.push(sumLanes(k, totalRows(k, loopType("f32", width), done, end, rows, add)));
    done = end;
  }
  return sums.reduce((p, q) => p.map((sum, row) => k.add(sum, q[row]!)));
}

/** The same, stored side by side, so that all lanes can load one: `to` has room for a vector beyond. */
export function storeRowSums(
  k: KernelBuilder,
  count: number,
  lanes: number,
  rows: number,
  add: (type: LoopType, at: LoopValue, row: number, sum: LoopValue) => LoopValue,
  to: LoopValue,
): void {
  let done = 0;
  for (const width of laneWidths(lanes)) {
    const end = count - ((count - done) % width);
    if (end === done) continue;
    const totals = totalRows(k, loopType("f32", width), done, end, rows, add);
    for (let first = 0; first < rows; first += width) {
      const sums = sumEach(k, totals.slice(first, first + width));
      const before = done === 0 ? undefined : k.load(sums.type, to, first * 4);
      k.store(before === undefined ? sums : k.add(before, sums), to, first * 4);
    }
    done = end;
  }
}

/** For each of some rows, a sum over the vectors of its elements from `start` to `end`. */
function totalRows(
  k: KernelBuilder,
  type: LoopType,
  start: number,
  end: number,
  rows: number,
  add: (type: LoopType, at: LoopValue, row: number, sum: LoopValue) => LoopValue,
): readonly LoopValue[] {
  const none = Array.from({ length: rows }, () => k.constant(type, 0));
  return k.for(start * 4, end * 4, type.lanes * 4, none, (at, so) => so.map((sum, row) => add(type, at, row, sum)));
}

/** The sum over the lanes of each of some vectors: of many together, since of few each for itself is there sooner. */
function sumLanes(k: KernelBuilder, vectors: readonly LoopValue[]): readonly LoopValue[] {
  const { lanes } = vectors[0]!.type;
  if (lanes === 1 || vectors.length < TOGETHER_MIN) {
    return vectors.map((vector) => foldLanes(k, vector, (p, q) => k.add(p, q)));
  }
  const sums: LoopValue[] = [];
  for (let first = 0; first < vectors.length; first += lanes) {
    const some = vectors.slice(first, first + lanes);
    const all = sumEach(k, some);
    sums.push(...some.map((_, i) => k.extract(all, i)));
  }
  return sums;
}

/**
 * Vectors that rows share, loaded once for all of them: rows that are written might, for all that a compiler knows, be
 * where those are.
 */
export function sharedByRows<T>(load: (type: LoopType, at: LoopValue) => T): (type: LoopType, at: LoopValue) => T {
  let last: { readonly at: LoopValue; readonly vectors: T } | undefined;
  return (type, at) => {
    if (last?.at !== at) last = { at, vectors: load(type, at) };
    return last.vectors;
  };
}

/** Rows of a chunk that a single step takes at once: so many if it can be divided so. */
export function rowsAtOnce(rows: number, perChunk: number, many: number): number {
  return rows % many === 0 && perChunk % many === 0 ? many : 1;
}

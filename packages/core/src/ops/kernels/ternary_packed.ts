// Packed ternary weights times few rows of activations: bound by reading the weights, once, in order. What meets the
// activations is as ternary_decoding.ts has it: sums are weighed and shifted once, at the end.

import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { TernaryLayout } from "../../storage.ts";
import { BLOCK_ROWS, GROUP_BYTES, dotWords, finishRow, halfMost, sumGroups } from "./ternary_codes.ts";
import type { TernaryOperands, TernaryShapes } from "./ternary_codes.ts";
import { productDecoding } from "./ternary_decoding.ts";
import type { Decoding } from "./ternary_decoding.ts";
import { TRITS } from "./trits.ts";

/**
 * Up to so many rows of activations, taking a block apart anew for other rows costs less than to unpack it to memory:
 * of weights of 2 and of 1.6 bits where a vector has all rows of a block, since less of it is taken apart for each
 * product. Elsewhere up to so many times. Matrix registers want it unpacked.
 */
const [VECTOR_ROWS_MAX, PASSES_MAX] = [{ masked: 64, trits: 40 }, 3] as const;
/**
 * Bounds of the weights of a chunk, an eighth of all of them in between. A chunk of the smallest size takes a
 * microsecond from the cache; in memory, threads that alternate on pieces that short read at a third of the speed.
 */
const CHUNK_WEIGHTS = { least: 65_536, most: 1_048_576 } as const;
/**
 * How far ahead of its use a line of weights is asked for: processors' own prefetching stops at pages of 4 KiB. Where
 * the first cache waits for few lines (Zen 4), weights of 1.6 bits are asked for into the second, and again, as that
 * forgets what it cannot take note of: decoding a model of 2.4B is 1.04 to 1.09 times as fast; with 2 bits 0.97.
 */
const PREFETCH_BYTES: Readonly<Record<1 | 2, readonly number[]>> = { 1: [8192], 2: [20480, 10240] };

/** How many sums are in registers at a time. */
interface Schedule {
  readonly decoding: Decoding;
  /** Rows of activations that share what is read and taken apart of the weights. */
  readonly rows: number;
  /**
   * By turn and term, which of a vector's sums its products are added to. Terms of one weight may share; where there
   * are more of them in one sum than in another, groups take turns, since a sum waits for each of its products.
   */
  readonly sumOf: readonly (readonly number[])[];
}

/** Whether there are few rows of activations. */
export function fitsPacked(shapes: TernaryShapes): boolean {
  const { masked, trits } = VECTOR_ROWS_MAX;
  const vectorRows = shapes.w.planes === TRITS ? trits : masked;
  return shapes.x.rows <= (isWhole(shapes) ? vectorRows : PASSES_MAX * scheduleOf(shapes).rows);
}

/** Whether products are those of vectors that have all rows of a block. */
function isWhole({ context, quads }: TernaryShapes): boolean {
  return quads === 1 && !context.tiles;
}

function scheduleOf(shapes: TernaryShapes): Schedule {
  const { context, x, quads } = shapes;
  const { registers, joinsVectors } = context;
  const vectors = joinsVectors ? quads / 2 : quads;
  const decoding = productDecoding(shapes);
  const { terms, spread } = decoding;
  const weights = [...new Set(terms.map(({ weight }) => weight))];
  const shared = weights.length * spread;
  // A vector that has all rows of a block meets activations in memory, so that sums may have three of four registers.
  const forSums = isWhole(shapes) && context.dot4 ? (registers * 3) / 4 : registers / 2;
  const rows = Math.min(x.rows, Math.max(1, Math.floor(forSums / (vectors * shared))));
  // A sum for each term shortens the chains of additions that wait for each other.
  const ownSums = rows * vectors * terms.length <= registers / 4;
  const sumOf = Array.from({ length: ownSums ? 1 : spread }, (_, turn) =>
    terms.map(({ weight }, term) => {
      if (ownSums) return term;
      const before = terms.slice(0, term).filter((other) => other.weight === weight).length;
      return weights.indexOf(weight) * spread + ((before + turn) % spread);
    }),
  );
  return { decoding, rows, sumOf };
}

/** How many weights a chunk takes, about. */
export function weightsPerChunk({ rows, columns }: TernaryLayout): number {
  const { least, most } = CHUNK_WEIGHTS;
  return Math.min(Math.max((rows * columns) / 8, least), most);
}

export function lowerPacked(shapes: TernaryShapes): void {
  const { context, x, w, quads } = shapes;
  const schedule = scheduleOf(shapes);
  const blocksPerChunk = Math.max(1, Math.floor(weightsPerChunk(w) / (BLOCK_ROWS * x.columns)));
  const chunks = Math.ceil(w.blocks / blocksPerChunk);
  const buffers = [context.input(0), context.input(1), context.result(0)];
  const work = x.rows * w.rows * w.columns;
  context.call("ternary_linear_packed", chunks, work, buffers, (k, [xBase, wBase, yBase]) => {
    const operands: TernaryOperands = { x: xBase!, w: wBase!, y: yBase! };
    const first = k.mul(k.chunk, k.index(blocksPerChunk));
    const last = k.min(k.add(first, k.index(blocksPerChunk)), k.index(w.blocks));
    k.loop(first, last, 1, (block) => {
      for (let firstRow = 0; firstRow < x.rows; firstRow += schedule.rows) {
        const rows = Math.min(schedule.rows, x.rows - firstRow);
        const codes = k.add(operands.x, k.index(firstRow * x.rowBytes));
        const sums = packedSums(k, shapes, { ...schedule, rows }, codes, k.offset(operands.w, block, w.blockBytes));
        for (let row = 0; row < rows; row++) {
          const ofRow = sums.slice(row * quads, (row + 1) * quads);
          finishRow(k, shapes, operands, k.index(firstRow + row), block, ofRow, schedule.decoding.excess);
        }
      }
    });
  });
}

/** The sums of rows of activations times the codes of a block: [row][quad]. */
function packedSums(
  k: KernelBuilder,
  shapes: TernaryShapes,
  { decoding, rows, sumOf }: Schedule,
  codes: LoopValue,
  block: LoopValue,
): LoopValue[] {
  const { quads, lanes, w } = shapes;
  const { terms, shift } = decoding;
  const words = loopType("i32", lanes);
  const count = Math.max(...sumOf.flat()) + 1;
  const termsOf = Array.from({ length: count }, (_, sum) => terms.filter((_term, i) => sumOf[0]![i] === sum));
  const most = Math.max(...termsOf.map((of) => of.reduce((total, term) => total + halfMost(term.most), 0)));
  const steps = stepsOf(shapes);
  const sizes = { count: rows * quads * count, most, turns: sumOf.length };
  const cache = w.planes === TRITS ? shapes.context.prefetchCache : 1;
  const sums = sumGroups(k, shapes, sizes, (group, carried, turn) => {
    const out = [...carried];
    const activations = activationsOf(k, shapes, k.offset(codes, group, w.groupColumns));
    const at = k.offset(block, group, GROUP_BYTES);
    for (const ahead of PREFETCH_BYTES[cache]) k.prefetch(at, ahead, cache);
    for (const step of steps) {
      const decoded = step.map((quad) => decoding.vectors(k, k.load(words, at, quad * lanes * 4))[Symbol.iterator]());
      for (const [term, { plane }] of terms.entries()) {
        const vectors = decoded.map((one) => one.next().value!);
        for (const [i, quad] of step.entries()) {
          for (let row = 0; row < rows; row++) {
            const sum = (row * quads + quad) * count + sumOf[turn]![term]!;
            out[sum] = dotWords(k, activations(row, plane), vectors[i]!, out[sum]!);
          }
        }
      }
    }
    return out;
  });
  return Array.from({ length: rows * quads }, (_, output) => {
    const weighed = termsOf.map(([{ weight }], sum) => {
      const value = sums[output * count + sum]!;
      return weight === 1 ? value : k.mul(value, k.constant(words, weight));
    });
    const whole = k.shift(
      "shr_s",
      weighed.reduce((total, sum) => k.add(total, sum)),
      shift,
    );
    return withoutRest(k, shapes, decoding.excess, codes, Math.floor(output / quads), whole);
  });
}

/**
 * A sum without what codes with an excess took from behind a row of activations, where the last group goes further:
 * their sum does not count that, and it is not 0.
 */
function withoutRest(
  k: KernelBuilder,
  shapes: TernaryShapes,
  excess: number,
  codes: LoopValue,
  row: number,
  sum: LoopValue,
): LoopValue {
  const { x, w } = shapes;
  const read = w.groups * w.groupColumns;
  if (excess === 0 || read <= x.rowBytes) return sum;
  const activations = activationsOf(k, shapes, k.offset(codes, k.index(w.groups - 1), w.groupColumns));
  const every = k.constant(sum.type, 0x01010101 * excess);
  let rest: LoopValue = k.constant(sum.type, 0);
  for (let plane = w.planes - (read - x.rowBytes) / 4; plane < w.planes; plane++) {
    rest = dotWords(k, activations(row, plane), every, rest);
  }
  return k.sub(sum, rest);
}

/**
 * The quads of a block that are taken apart side by side. Engines that join vectors have one of each two left, and
 * registers for both: neither waits for the other. Elsewhere a vector at a time needs fewest registers.
 */
function stepsOf({ context, quads }: TernaryShapes): readonly (readonly number[])[] {
  const all = Array.from({ length: quads }, (_, quad) => quad);
  return context.joinsVectors ? [all] : all.map((quad) => [quad]);
}

/** Four activations of a row and a plane of a group of columns, repeated in each word. */
export function activationsOf(
  k: KernelBuilder,
  { quads, lanes, x, w }: TernaryShapes,
  group: LoopValue,
): (row: number, plane: number) => LoopValue {
  const words = loopType("i32", lanes);
  const load = (row: number, plane: number): LoopValue => k.loadSplat(words, group, row * x.rowBytes + 4 * plane);
  // For a single vector a value can be an operand that is read from memory; several share it, from its first use on.
  if (quads === 1) return load;
  const loaded = new Map<number, LoopValue>();
  return (row, plane) => {
    const place = row * w.planes + plane;
    const value = loaded.get(place) ?? load(row, plane);
    loaded.set(place, value);
    return value;
  };
}

// What a chunk of the generalised delta rule (delta_chunk.ts) brings from memory to scratch and back, and how it asks
// for what the next chunk brings. Rows of a head are far apart, and lie in the same lines of the first cache as each
// other.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32 } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { expOf } from "../../loop/math.ts";
import type { ChunkScratch, ChunkShape, HeadKeys, KeyRows, StepRows } from "./delta_chunk.ts";
import type { BlockOperands } from "./register_block.ts";
import { UNROLL } from "./register_block.ts";
import { eachElement, LINE_BYTES } from "./row_states.ts";

/** Some steps of a sequence: those of a chunk that there are. */
export interface StepRange {
  readonly first: LoopValue;
  readonly count: LoopValue;
}

/** The steps of chunk `number`. */
export function stepsOf(k: KernelBuilder, { dims, steps }: ChunkShape, number: LoopValue): StepRange {
  const first = k.mul(number, k.index(steps));
  const count = dims.time % steps === 0 ? k.index(steps) : k.min(k.index(steps), k.sub(k.index(dims.time), first));
  return { first, count };
}

/**
 * Rows in memory that the next chunk reads or writes. Those of a head are too far apart for the processor to foresee
 * them, and more than it can wait for at once: so they are asked for a few lines at a time, between products.
 */
export interface Ask {
  /** The row of the first of its steps. */
  readonly at: LoopValue;
  readonly strideBytes: number;
  readonly sizeBytes: number;
}

/** Some rows of an `Ask`. */
interface AskPart {
  readonly ask: Ask;
  readonly first: number;
  readonly count: number;
}

/** Asks for what turn `turn` of `turns` is to ask for. */
function askTurn(k: KernelBuilder, parts: readonly AskPart[], turn: LoopValue, turns: number): void {
  for (const { ask, first, count } of parts) {
    const lines = Math.ceil(ask.sizeBytes / LINE_BYTES);
    let each = Math.ceil((count * lines) / turns);
    while (each % lines > 0 && lines % each > 0) each++;
    const done = k.mul(turn, k.index(each));
    const [row, line] = [k.add(k.div(done, k.index(lines)), k.index(first)), k.rem(done, k.index(lines))];
    const start = k.offset(k.offset(ask.at, row, ask.strideBytes), line, LINE_BYTES);
    for (let i = 0; i < each; i++) {
      k.prefetch(start, Math.floor(i / lines) * ask.strideBytes + (i % lines) * LINE_BYTES);
    }
  }
}

/**
 * Shares what is asked for among the loops that may ask, of which there are `places`: if `halves`, half of the rows of
 * one array and of its neighbour, then their other halves; else array by array.
 */
export class Asking {
  readonly #parts: readonly AskPart[];
  readonly #places: number;
  #place = 0;

  constructor(asks: readonly Ask[], steps: number, places: number, halves = true) {
    const half = halves ? Math.ceil(steps / 2) : steps;
    const parts: AskPart[] = [];
    for (let i = 0; i < asks.length; i += 2) {
      const pair = asks.slice(i, i + 2);
      parts.push(...pair.map((ask) => ({ ask, first: 0, count: half })));
      if (half < steps) parts.push(...pair.map((ask) => ({ ask, first: half, count: steps - half })));
    }
    this.#parts = parts;
    this.#places = places;
  }

  /** What the next of the loops asks for in each of its turns. */
  next(k: KernelBuilder, turns: number): (turn: LoopValue) => void {
    const place = this.#place++;
    const parts = this.#parts.filter((_part, i) => Math.floor((i * this.#places) / this.#parts.length) === place);
    return (turn) => askTurn(k, parts, turn, turns);
  }
}

/** What a register block of `depth` steps does besides: it asks for what is next. */
export function asksOf(k: KernelBuilder, asking: Asking | undefined, depth: number): Pick<BlockOperands, "eachTurn"> {
  return asking === undefined ? {} : { eachTurn: asking.next(k, Math.max(1, Math.floor(depth / UNROLL))) };
}

/** The rows of keys of the steps from `step` on; those of q only with `outputs`. */
export function askKeys(
  k: KernelBuilder,
  { dims }: ChunkShape,
  from: HeadKeys,
  step: LoopValue,
  outputs = true,
): Ask[] {
  const { heads, groups, keySize, decays } = dims;
  const row = (at: LoopValue | undefined, rows: number, size: number): Ask[] => {
    const strideBytes = rows * size * 4;
    return at === undefined ? [] : [{ at: k.offset(at, step, strideBytes), strideBytes, sizeBytes: size * 4 }];
  };
  return [
    ...row(outputs ? from.q : undefined, groups, keySize),
    ...row(from.k, groups, keySize),
    ...row(from.decays, heads, decays),
    ...row(from.a, heads, keySize),
    ...row(from.b, heads, keySize),
  ];
}

/** The rows of values of the steps from `step` on. */
export function askValues(k: KernelBuilder, { dims }: ChunkShape, { at, count }: ValueRows, step: LoopValue): Ask {
  const strideBytes = dims.heads * dims.valueSize * 4;
  return { at: k.offset(at, step, strideBytes), strideBytes, sizeBytes: count * 4 };
}

/** How a chunk's keys are brought to scratch. */
interface Staging {
  /** Whether q is needed. */
  readonly outputs: boolean;
  /** Whether keys are needed later on, and not only by what follows. */
  readonly keeps: boolean;
}

/**
 * Brings what steps read to scratch, and says where the rows of keys are: in memory still, where all of their vectors
 * and steps are whole and nobody needs them later. Steps that there are not change no state: their decays are 1, and
 * all else is 0.
 */
export function stageKeys(
  k: KernelBuilder,
  { dims, lanes, steps, keyBytes }: ChunkShape,
  range: StepRange,
  from: HeadKeys,
  { own, decays }: ChunkScratch,
  { outputs, keeps }: Staging,
): KeyRows {
  const { heads, groups, keySize } = dims;
  const isWhole = dims.time % steps === 0 && keySize % lanes === 0;
  const stage = (base: LoopValue | undefined, to: LoopValue | undefined, rows: number, size: number): void => {
    if (base === undefined || to === undefined) return;
    // One decay for all keys is one number a step.
    const stepBytes = to === decays && size === 1 ? 4 : keyBytes;
    k.loop(0, range.count, 1, (step) => {
      const row = k.offset(base, k.add(range.first, step), rows * size * 4);
      const at = k.offset(to, step, stepBytes);
      eachElement(k, size, lanes, (type, offset) => {
        const value = k.load(type, k.add(row, offset));
        k.store(to === decays ? expOf(k, value) : value, k.add(at, offset));
      });
    });
    if (dims.time % steps === 0) return;
    k.loop(range.count, steps, 1, (step) => {
      const at = k.offset(to, step, stepBytes);
      eachElement(k, size, lanes, (type, offset) => {
        k.store(k.constant(type, to === decays ? 1 : 0), k.add(at, offset));
      });
    });
  };
  stage(from.decays, decays, heads, dims.decays);
  if (isWhole && !keeps) {
    const rows = (base: LoopValue, count: number): StepRows => {
      const strideBytes = count * keySize * 4;
      return { at: k.offset(base, range.first, strideBytes), strideBytes };
    };
    const { q, k: key, a, b } = from;
    return { q: rows(q, groups), k: rows(key, groups), a: a && rows(a, heads), b: b && rows(b, heads) };
  }
  if (outputs) stage(from.q, own.q, groups, keySize);
  stage(from.k, own.k, groups, keySize);
  stage(from.a, own.a, heads, keySize);
  stage(from.b, own.b, heads, keySize);
  const rows = (at: LoopValue): StepRows => ({ at, strideBytes: keyBytes });
  return { q: rows(own.q), k: rows(own.k), a: own.a && rows(own.a), b: own.b && rows(own.b) };
}

/** Rows of values in memory, from step 0 on, of which a piece takes `count` elements. */
export interface ValueRows {
  readonly at: LoopValue;
  readonly count: number;
}

/** Brings values of steps to scratch, [steps, rows]. */
export function stageValues(
  k: KernelBuilder,
  { dims, lanes, steps, rowBytes }: ChunkShape,
  range: StepRange,
  { at, count }: ValueRows,
  to: LoopValue,
): void {
  const strideBytes = dims.heads * dims.valueSize * 4;
  k.loop(0, range.count, 1, (step) => {
    const row = k.offset(at, k.add(range.first, step), strideBytes);
    const scratch = k.offset(to, step, rowBytes);
    eachElement(k, count, lanes, (type, offset) => k.store(k.load(type, k.add(row, offset)), k.add(scratch, offset)));
  });
  if (dims.time % steps !== 0) {
    k.loop(range.count, steps, 1, (step) => {
      eachElement(k, count, lanes, (type, offset) =>
        k.store(k.constant(type, 0), k.add(k.offset(to, step, rowBytes), offset)),
      );
    });
  }
}

/** Writes rows of values [steps, rows] to the steps that there are. */
export function storeValues(
  k: KernelBuilder,
  shape: ChunkShape,
  range: StepRange,
  from: LoopValue,
  { at, count }: ValueRows,
): void {
  const { dims, lanes, rowBytes } = shape;
  const strideBytes = dims.heads * dims.valueSize * 4;
  k.loop(0, range.count, 1, (step) => {
    const row = k.offset(at, k.add(range.first, step), strideBytes);
    const scratch = k.offset(from, step, rowBytes);
    eachElement(k, count, lanes, (type, at) => storeResult(k, shape, k.load(type, k.add(scratch, at)), k.add(row, at)));
  });
}

/** Stores to a result. */
export function storeResult(k: KernelBuilder, { pastCaches }: ChunkShape, value: LoopValue, to: LoopValue): void {
  if (pastCaches) k.storeNontemporal(value, to);
  else k.store(value, to);
}

/** Copies states [rows, keys] in memory to [keys, rows] in scratch, or back. */
export function exchangeStates(
  k: KernelBuilder,
  { dims, rowBytes }: ChunkShape,
  memory: LoopValue,
  scratch: LoopValue,
  rows: number,
  way: "in" | "out",
): void {
  const { keySize } = dims;
  k.loop(0, rows, 1, (row) => {
    k.loop(0, keySize, 1, (key) => {
      const outside = k.offset(k.offset(memory, row, keySize * 4), key, 4);
      const inside = k.offset(k.offset(scratch, key, rowBytes), row, 4);
      if (way === "in") k.store(k.load(F32, outside), inside);
      else k.store(k.load(F32, inside), outside);
    });
  });
}

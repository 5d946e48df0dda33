// A chunk of the generalised delta rule backwards (delta_chunk.ts): the cotangents of its keys and decays, which are
// sums over the rows of states. With S the states before the chunk and G the cotangents of those after it, what q and
// a read gives S^T do and S^T e, what k and b wrote gives G^T v and G^T u, times the decays between, and each step the
// keys of the others, weighed by the products of their values. These run over the rows of S and G, which are therefore
// turned to [rows, keys] here, a few keys at a time, so that what is turned stays in the first cache.
//
// The cotangent of the logarithm of step t's decay is what goes through it: all that a later step reads of what an
// earlier one wrote. It is summed up as that, and not as the difference of what is read and what is written.

import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { ChunkKeys, ChunkScratch, ChunkShape } from "./delta_chunk.ts";
import type { Asking } from "./delta_chunk_rows.ts";
import type { Reader, Weights, Written } from "./delta_chunk_weights.ts";
import { BLOCK, loadDecay, weightAt, weightBytes } from "./delta_chunk_weights.ts";
import { transposeSquare } from "./lanes.ts";
import { multiplyBlock, UNROLL } from "./register_block.ts";

/** Vectors of keys whose states are turned at once: a register block with all steps of a chunk. */
const TURNED = 2;

/** Rows of values of a chunk, [steps, rows]: what goes with each of its keys. */
export interface KeyValues {
  /** do, and v. */
  readonly q: LoopValue;
  readonly k: LoopValue;
  /** e, and u. */
  readonly a: LoopValue | undefined;
  readonly b: LoopValue | undefined;
}

/** Rows of cotangents of a chunk's keys and decays, [steps, keys]. */
export interface KeyCotangents extends ChunkKeys {
  readonly decay: LoopValue;
}

/** Scratch of a chunk on its way back. */
export interface BackScratch {
  /** Products of values of a chunk's steps, laid out as the weights of its keys: of do and of e, with v and with u. */
  readonly weights: Weights;
  readonly sums: KeyCotangents;
  /** S and G of a few vectors of keys, as [rows, these keys]. */
  readonly states: LoopValue;
  readonly cotangents: LoopValue;
  /** Sums over rows of their products, [keys]. */
  readonly through: LoopValue;
}

export function allocateBack(k: KernelBuilder, shape: ChunkShape): BackScratch {
  const { dims, lanes, steps, keyBytes, rows } = shape;
  const weights = (): LoopValue => k.allocateScratch(weightBytes(shape));
  const row = (): LoopValue => k.allocateScratch(steps * keyBytes);
  const [q, key, decay] = [row(), row(), row()];
  return {
    weights: { k: weights(), b: dims.erases ? weights() : undefined },
    sums: { q, k: key, decay, a: dims.erases ? row() : undefined, b: dims.erases ? row() : undefined },
    states: k.allocateScratch(rows * TURNED * lanes * 4),
    cotangents: k.allocateScratch(rows * TURNED * lanes * 4),
    through: k.allocateScratch(keyBytes),
  };
}

/** Some vectors of keys, whose first has a byte offset in a row of keys, and the number of those before it. */
interface KeyGroup {
  readonly count: number;
  readonly at: LoopValue;
  readonly number: LoopValue;
}

/** Takes all keys, a few vectors at a time, so that what is turned of states stays near. */
function eachKeyGroup(k: KernelBuilder, { keyBytes, lanes }: ChunkShape, use: (group: KeyGroup) => void): void {
  const bytes = TURNED * lanes * 4;
  const whole = keyBytes - (keyBytes % bytes);
  if (whole > 0) k.loop(0, whole, bytes, (at) => use({ count: TURNED, at, number: k.div(at, k.index(bytes)) }));
  if (whole < keyBytes) {
    const [at, number] = [whole, whole / bytes].map((value) => k.index(value)) as [LoopValue, LoopValue];
    use({ count: (keyBytes - whole) / (lanes * 4), at, number });
  }
}

/** States [keys, rows] of some keys as [rows, these keys], all in scratch. */
function turnStates(
  k: KernelBuilder,
  { lanes, rows, rowBytes }: ChunkShape,
  { count, at }: KeyGroup,
  from: LoopValue,
  to: LoopValue,
): void {
  const type = loopType("f32", lanes);
  const turnedBytes = count * lanes * 4;
  const start = k.offset(from, k.div(at, k.index(4)), rowBytes);
  for (let v = 0; v < count; v++) {
    k.loop(0, rows, lanes, (row) => {
      const source = k.add(k.offset(start, row, 4), k.index(v * lanes * rowBytes));
      const target = k.add(k.offset(to, row, turnedBytes), k.index(v * lanes * 4));
      const square = Array.from({ length: lanes }, (_, i) => k.load(type, source, i * rowBytes));
      transposeSquare(k, square).forEach((vector, i) => k.store(vector, target, i * turnedBytes));
    });
  }
}

/**
 * What the borders of a chunk give to the cotangents of its keys: rows of values of all steps times the states before
 * it, or times the cotangents of those after it, [keys, rows]; and the sums over rows of the products of these two.
 */
export function multiplyStates(
  k: KernelBuilder,
  shape: ChunkShape,
  values: KeyValues,
  states: LoopValue,
  cotangents: LoopValue,
  back: BackScratch,
  asking: Asking,
): void {
  const { lanes, steps, keyBytes, rows, rowBytes } = shape;
  const type = loopType("f32", lanes);
  const turns = Math.max(1, Math.floor(rows / UNROLL));
  const groups = Math.ceil(keyBytes / (TURNED * lanes * 4));
  const products = (["q", "k", "a", "b"] as const).flatMap((name) => {
    const [of, to] = [values[name], back.sums[name]];
    const right = name === "q" || name === "a" ? back.states : back.cotangents;
    return of === undefined || to === undefined ? [] : [{ of, to, right, ask: asking.next(k, groups * turns) }];
  });
  eachKeyGroup(k, shape, (group) => {
    const { count, at, number } = group;
    const turnedBytes = count * lanes * 4;
    turnStates(k, shape, group, states, back.states);
    turnStates(k, shape, group, cotangents, back.cotangents);
    for (const { of, to, right, ask } of products) {
      const operands = {
        left: of,
        leftRowBytes: rowBytes,
        leftStepBytes: 4,
        right,
        rightStepBytes: turnedBytes,
        eachTurn: (turn: LoopValue) => ask(k.offset(turn, number, turns)),
      };
      const none = Array.from({ length: steps * count }, () => k.constant(type, 0));
      const sums = multiplyBlock(k, operands, steps, { type, count }, rows, none);
      sums.forEach((sum, i) => {
        k.store(sum, k.add(to, at), Math.floor(i / count) * keyBytes + (i % count) * lanes * 4);
      });
    }
    const none = Array.from({ length: BLOCK * count }, () => k.constant(type, 0));
    const parts = k.for(0, rows * turnedBytes, BLOCK * turnedBytes, none, (row, partial) => {
      const [state, cotangent] = [back.states, back.cotangents].map((base) => k.add(base, row));
      return partial.map((sum, i) =>
        k.fma(k.load(type, state!, i * lanes * 4), k.load(type, cotangent!, i * lanes * 4), sum),
      );
    });
    for (let v = 0; v < count; v++) {
      const all = parts.filter((_part, i) => i % count === v).reduce((sum, part) => k.add(sum, part));
      k.store(all, k.add(back.through, at), v * lanes * 4);
    }
  });
}

/**
 * Cotangents of the keys and decays of a chunk, from those that its borders give, which `sums` hold but for their
 * decays, and from its steps.
 */
export function finishKeys(k: KernelBuilder, shape: ChunkShape, chunk: ChunkScratch, back: BackScratch): void {
  const { lanes, keyBytes } = shape;
  k.loop(0, keyBytes, lanes * 4, (at) => {
    const keys = new KeyVector(k, shape, chunk, back, at);
    keys.goForth();
    keys.goBack();
    keys.storeDecays();
  });
}

/** One vector of keys in all steps of a chunk. */
class KeyVector {
  readonly #k: KernelBuilder;
  readonly #shape: ChunkShape;
  readonly #chunk: ChunkScratch;
  readonly #back: BackScratch;
  readonly #at: LoopValue;
  /** What goes through each step's decays from steps, or the start, before it. */
  readonly #through: LoopValue[];
  /** What goes to the chunk's end from each step. */
  readonly #beyond: LoopValue[] = [];
  readonly #decays: readonly LoopValue[];

  constructor(k: KernelBuilder, shape: ChunkShape, chunk: ChunkScratch, back: BackScratch, at: LoopValue) {
    this.#k = k;
    this.#shape = shape;
    this.#chunk = chunk;
    this.#back = back;
    this.#at = at;
    const steps = Array.from({ length: shape.steps }, (_, t) => t);
    this.#through = steps.map(() => this.#constant(0));
    this.#decays = steps.map((t) => loadDecay(k, shape, chunk, t, at));
  }

  #constant(value: number): LoopValue {
    return this.#k.constant(loopType("f32", this.#shape.lanes), value);
  }

  #load(rows: LoopValue, t: number): LoopValue {
    return this.#k.load(loopType("f32", this.#shape.lanes), this.#k.add(rows, this.#at), t * this.#shape.keyBytes);
  }

  #store(value: LoopValue, rows: LoopValue, t: number): void {
    this.#k.store(value, this.#k.add(rows, this.#at), t * this.#shape.keyBytes);
  }

  /** The product of values of steps `t` and `s`, repeated. */
  #weight(reader: Reader, written: Written, t: number, s: number): LoopValue {
    const type = loopType("f32", this.#shape.lanes);
    return this.#k.loadSplat(type, this.#back.weights[written]!, weightAt(this.#shape, reader, t, s));
  }

  /** Cotangents of what reads, from the first step to the last, past whom the keys decay. */
  goForth(): void {
    const k = this.#k;
    const { own } = this.#chunk;
    const { sums } = this.#back;
    const kept: { readonly written: Written; readonly vectors: LoopValue[] }[] = [{ written: "k", vectors: [] }];
    if (own.b !== undefined) kept.push({ written: "b", vectors: [] });
    let decayed = this.#constant(1);
    const read = (reader: Reader, t: number, count: number): void => {
      const key = this.#load(own[reader]!, t);
      let sum = k.mul(decayed, this.#load(sums[reader]!, t));
      // What goes through the decays of step s was there before it: of steps before s, and of the chunk's start.
      for (let s = 0; s < count; s++) {
        this.#through[s] = k.fma(key, sum, this.#through[s]!);
        for (const { written, vectors } of kept) sum = k.fma(this.#weight(reader, written, t, s), vectors[s]!, sum);
      }
      this.#store(sum, sums[reader]!, t);
    };
    for (let t = 0; t < this.#shape.steps; t++) {
      if (own.a !== undefined) read("a", t, t);
      for (const { written, vectors } of kept) {
        vectors.forEach((vector, s) => (vectors[s] = k.mul(vector, this.#decays[t]!)));
        vectors.push(this.#load(own[written]!, t));
      }
      decayed = k.mul(decayed, this.#decays[t]!);
      read("q", t, t + 1);
    }
  }

  /** Cotangents of what is written, from the last step to the first, past whom the readers decay. */
  goBack(): void {
    const k = this.#k;
    const { own } = this.#chunk;
    const { sums } = this.#back;
    const { steps } = this.#shape;
    const readers: { readonly reader: Reader; readonly vectors: (LoopValue | undefined)[] }[] = [
      { reader: "q", vectors: [] },
    ];
    if (own.a !== undefined) readers.push({ reader: "a", vectors: [] });
    let decayed = this.#constant(1);
    for (let s = steps - 1; s >= 0; s--) {
      readers[0]!.vectors[s] = this.#load(own.q, s);
      let beyond = this.#constant(0);
      for (const written of ["k", "b"] as const) {
        const [key, rows] = [own[written], sums[written]];
        if (key === undefined || rows === undefined) continue;
        let sum = k.mul(decayed, this.#load(rows, s));
        beyond = k.fma(this.#load(key, s), sum, beyond);
        for (const { reader, vectors } of readers) {
          vectors.forEach((vector, t) => {
            if (vector !== undefined) sum = k.fma(this.#weight(reader, written, t, s), vector, sum);
          });
        }
        this.#store(sum, rows, s);
      }
      this.#beyond[s] = beyond;
      decayed = k.mul(decayed, this.#decays[s]!);
      for (const { vectors } of readers) {
        vectors.forEach((vector, t) => (vectors[t] = vector && k.mul(vector, this.#decays[s]!)));
      }
      if (own.a !== undefined) readers[1]!.vectors[s] = this.#load(own.a, s);
    }
  }

  /** Stores what goes through each step's decays: also from steps, and from the start, to the chunk's end. */
  storeDecays(): void {
    const k = this.#k;
    const { through, sums } = this.#back;
    let ends = k.mul(this.#load(through, 0), this.#load(this.#chunk.product, 0));
    this.#through.forEach((value, t) => {
      this.#store(k.add(value, ends), sums.decay, t);
      ends = k.add(ends, this.#beyond[t]!);
    });
  }
}

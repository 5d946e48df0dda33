// The tokens that may still be chosen, with their weights. Filters take candidates from a heap in the order of a key
// and only as far as they reach, so a small k never sorts the vocabulary. Nothing is allocated after construction.

import type { Peaks } from "./peaks.ts";

/** Weights of less than 2^-63 are all as light. */
const LIGHTEST = 63;

export class Candidates {
  readonly scores: Float64Array;
  /** [vocabSize]: exp of the scores over the highest one, at the temperature that was asked for last. */
  readonly weights: Float64Array;
  /** [vocabSize]: what an order by another measure than the weights goes by. */
  readonly keys: Float64Array;
  /** The first `count` are the candidates. */
  readonly tokens: Int32Array;
  count = 0;
  /** Whether the candidates stand in the order of falling weights. */
  #isSorted = false;
  /** The weights as pairs of words, the one with the exponent second, as all that Node and browsers run on has it. */
  readonly #weightBits: Uint32Array;
  readonly #exponentSums = new Float64Array(LIGHTEST + 1);

  /** @param scores [vocabSize]: what tokens are chosen by, which others set */
  constructor(scores: Float64Array) {
    const vocabSize = scores.length;
    this.scores = scores;
    this.weights = new Float64Array(vocabSize);
    this.#weightBits = new Uint32Array(this.weights.buffer);
    this.keys = new Float64Array(vocabSize);
    this.tokens = new Int32Array(vocabSize);
  }

  /** All that have a score, in the order of their ids. */
  begin(): void {
    const { scores, tokens } = this;
    const { length } = scores;
    let count = 0;
    for (let token = 0; token < length; token++) {
      if (scores[token] > -Infinity) tokens[count++] = token;
    }
    this.count = count;
    this.#isSorted = false;
  }

  /** Those of at least a score, in the order of their ids, found by their peaks. */
  beginAbove(least: number, peaks: Peaks): void {
    this.count = peaks.list(least, this.tokens);
    this.#isSorted = false;
  }

  /** Sets the weights of the candidates at a temperature; the likeliest of score `best` weighs 1. */
  weigh(best: number, temperature: number): void {
    const { scores, weights, tokens, count } = this;
    for (let rank = 0; rank < count; rank++) {
      const token = tokens[rank];
      weights[token] = Math.exp((scores[token] - best) / temperature);
    }
  }

  /** Keeps the `limit` of the highest scores, highest first; the candidates are in the order of their ids. */
  keepHighest(limit: number): void {
    const { scores, tokens, count } = this;
    // The kept ones are a heap with the lowest on top. Nearly all of a large vocabulary are below it.
    for (let parent = (limit >> 1) - 1; parent >= 0; parent--) siftDown(tokens, scores, parent, limit, comesAfter);
    for (let rank = this.#nextAbove(limit); rank < count; rank = this.#nextAbove(rank + 1)) {
      tokens[0] = tokens[rank];
      siftDown(tokens, scores, 0, limit, comesAfter);
    }
    for (let last = limit - 1; last > 0; last--) {
      const token = tokens[0];
      tokens[0] = tokens[last];
      tokens[last] = token;
      siftDown(tokens, scores, 0, last, comesAfter);
    }
    this.count = limit;
    this.#isSorted = true;
  }

  /** The next candidate from `rank` on whose score is above that of the first; `count` where there is none. */
  #nextAbove(rank: number): number {
    const { scores, tokens, count } = this;
    const bound = scores[tokens[0]];
    let next = rank;
    while (next < count && scores[tokens[next]] <= bound) next++;
    return next;
  }

  /** The sum of the candidates' weights. */
  total(): number {
    const { weights, tokens, count } = this;
    let sum = 0;
    for (let rank = 0; rank < count; rank++) sum += weights[tokens[rank]];
    return sum;
  }

  /** Keeps the `limit` heaviest, heaviest first. */
  keepHeaviest(limit: number): void {
    this.#keepFirst(this.weights, limit, Infinity);
    this.#isSorted = true;
  }

  /** Keeps the fewest of the heaviest whose weights reach `sum`, at least one, heaviest first. */
  keepUntil(sum: number): void {
    if (this.#isSorted) {
      let reached = 0;
      let taken = 0;
      while (taken < this.count && (taken === 0 || reached < sum)) reached += this.weights[this.tokens[taken++]];
      this.count = taken;
      return;
    }
    this.#leaveOutLight(sum);
    this.#keepFirst(this.weights, this.count, sum);
    this.#isSorted = true;
  }

  /** Leaves out candidates so light that heavier ones reach `sum` without them, told by the exponents of weights. */
  #leaveOutLight(sum: number): void {
    const { tokens, weights } = this;
    const sums = this.#exponentSums.fill(0);
    for (let rank = 0; rank < this.count; rank++) sums[this.#lightness(tokens[rank])] += weights[tokens[rank]];
    let [most, reached] = [0, 0];
    while (most < sums.length - 1 && reached < sum) reached += sums[most++];
    // One more, since sums are rounded.
    let kept = 0;
    for (let rank = 0; rank < this.count; rank++) {
      if (this.#lightness(tokens[rank]) <= most) tokens[kept++] = tokens[rank];
    }
    this.count = kept;
  }

  /** Halvings from 1 down to a token's weight, up to a number. */
  #lightness(token: number): number {
    return Math.min(1023 - ((this.#weightBits[2 * token + 1] >>> 20) & 0x7ff), LIGHTEST);
  }

  /** Keeps the fewest of the highest `keys` whose weights reach `sum`, at least one. */
  keepKeysUntil(sum: number): void {
    this.#keepFirst(this.keys, this.count, sum);
    this.#isSorted = false;
  }

  /** Keeps those that weigh at least `least`, or the heaviest where none does. */
  keepAtLeast(least: number): void {
    let kept = 0;
    for (let rank = 0; rank < this.count; rank++) {
      const token = this.tokens[rank];
      if (this.weights[token] >= least) this.tokens[kept++] = token;
    }
    if (kept > 0) this.count = kept;
    else this.keepHeaviest(1);
  }

  /** The candidate in whose stretch of the line of weights `uniform` (0 to 1) of the whole lies. */
  draw(uniform: number): number {
    const position = uniform * this.total();
    let end = 0;
    for (let rank = 0; rank < this.count; rank++) {
      end += this.weights[this.tokens[rank]];
      if (position < end) return this.tokens[rank];
    }
    return this.tokens[0]; // only rounding can bring us here
  }

  /** A token's share of the weights; 0 for one that is no candidate. */
  probabilityOf(token: number): number {
    for (let rank = 0; rank < this.count; rank++) {
      if (this.tokens[rank] === token) return this.weights[token] / this.total();
    }
    return 0;
  }

  /** Writes every token's share of the weights to `into` [vocabSize]. */
  probabilities(into: Float64Array): void {
    into.fill(0);
    const total = this.total();
    for (let rank = 0; rank < this.count; rank++) into[this.tokens[rank]] = this.weights[this.tokens[rank]] / total;
  }

  /** A candidate, drawn as `draw` does from what the candidates' shares have more than `others` [vocabSize]. */
  drawExcess(uniform: number, others: Float64Array): number {
    const total = this.total();
    const excess = (rank: number): number =>
      Math.max(0, this.weights[this.tokens[rank]] - total * others[this.tokens[rank]]);
    let sum = 0;
    for (let rank = 0; rank < this.count; rank++) sum += excess(rank);
    const position = uniform * sum;
    let end = 0;
    for (let rank = 0; rank < this.count; rank++) {
      end += excess(rank);
      if (position < end) return this.tokens[rank];
    }
    return this.tokens[0]; // only rounding can bring us here
  }

  /** Takes candidates in the order of falling keys until there are `limit` or their weights reach `sum`. */
  #keepFirst(keys: Float64Array, limit: number, sum: number): void {
    const size = this.count;
    for (let parent = (size >> 1) - 1; parent >= 0; parent--) siftDown(this.tokens, keys, parent, size, comesBefore);
    let taken = 0;
    let reached = 0;
    while (taken < size && taken < limit && (taken === 0 || reached < sum)) {
      const top = this.tokens[0];
      reached += this.weights[top];
      this.tokens[0] = this.tokens[size - 1 - taken];
      this.tokens[size - 1 - taken] = top;
      taken++;
      siftDown(this.tokens, keys, 0, size - taken, comesBefore);
    }
    // What was taken lies at the end, the last one first.
    for (let low = 0, high = size - 1; low < high && low < taken; low++, high--) {
      const token = this.tokens[high];
      this.tokens[high] = this.tokens[low];
      this.tokens[low] = token;
    }
    this.count = taken;
  }
}

type Order = (keys: Float64Array, a: number, b: number) => boolean;

/** Puts the token at `start` in its place of a heap of `size` tokens, the first of an order on top. */
function siftDown(heap: Int32Array, keys: Float64Array, start: number, size: number, comesFirst: Order): void {
  const moved = heap[start];
  let slot = start;
  for (let child = 2 * slot + 1; child < size; child = 2 * slot + 1) {
    if (child + 1 < size && comesFirst(keys, heap[child + 1], heap[child])) child++;
    if (!comesFirst(keys, heap[child], moved)) break;
    heap[slot] = heap[child];
    slot = child;
  }
  if (size > 0) heap[slot] = moved;
}

/** Falling keys, and rising ids among equals, so that the order never depends on the heap's history. */
function comesBefore(keys: Float64Array, a: number, b: number): boolean {
  return keys[a] > keys[b] || (keys[a] === keys[b] && a < b);
}

/** The other way round. */
function comesAfter(keys: Float64Array, a: number, b: number): boolean {
  return comesBefore(keys, b, a);
}

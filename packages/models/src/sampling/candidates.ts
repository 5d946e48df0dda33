// The tokens that may still be chosen, with their weights. Filters take candidates from a heap in the order of a key
// and only as far as they reach, so a small k never sorts the vocabulary. Nothing is allocated after construction.

export class Candidates {
  /** [vocabSize]: the logits as biases and penalties left them. */
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

  constructor(vocabSize: number) {
    this.scores = new Float64Array(vocabSize);
    this.weights = new Float64Array(vocabSize);
    this.keys = new Float64Array(vocabSize);
    this.tokens = new Int32Array(vocabSize);
  }

  /** All tokens that are not masked, in the order of their ids. */
  begin(): void {
    this.count = 0;
    this.#isSorted = false;
    for (let token = 0; token < this.scores.length; token++) {
      if (this.scores[token] > -Infinity) this.tokens[this.count++] = token;
    }
  }

  /** Sets the weights of the candidates at a temperature; the likeliest of score `best` weighs 1. */
  weigh(best: number, temperature: number): void {
    for (let rank = 0; rank < this.count; rank++) {
      const token = this.tokens[rank];
      this.weights[token] = Math.exp((this.scores[token] - best) / temperature);
    }
  }

  /** The sum of the candidates' weights. */
  total(): number {
    let sum = 0;
    for (let rank = 0; rank < this.count; rank++) sum += this.weights[this.tokens[rank]];
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
    this.#keepFirst(this.weights, this.count, sum);
    this.#isSorted = true;
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
    for (let parent = (size >> 1) - 1; parent >= 0; parent--) this.#siftDown(keys, parent, size);
    let taken = 0;
    let reached = 0;
    while (taken < size && taken < limit && (taken === 0 || reached < sum)) {
      const top = this.tokens[0];
      reached += this.weights[top];
      this.tokens[0] = this.tokens[size - 1 - taken];
      this.tokens[size - 1 - taken] = top;
      taken++;
      this.#siftDown(keys, 0, size - taken);
    }
    // What was taken lies at the end, the last one first.
    for (let low = 0, high = size - 1; low < high && low < taken; low++, high--) {
      const token = this.tokens[high];
      this.tokens[high] = this.tokens[low];
      this.tokens[low] = token;
    }
    this.count = taken;
  }

  #siftDown(keys: Float64Array, start: number, size: number): void {
    const heap = this.tokens;
    const moved = heap[start];
    let slot = start;
    for (let child = 2 * slot + 1; child < size; child = 2 * slot + 1) {
      if (child + 1 < size && comesBefore(keys, heap[child + 1], heap[child])) child++;
      if (!comesBefore(keys, heap[child], moved)) break;
      heap[slot] = heap[child];
      slot = child;
    }
    if (size > 0) heap[slot] = moved;
  }
}

/** Falling keys, and rising ids among equals, so that the order never depends on the heap's history. */
function comesBefore(keys: Float64Array, a: number, b: number): boolean {
  return keys[a] > keys[b] || (keys[a] === keys[b] && a < b);
}

// Byte-pair encoding's loop (Sennrich, Haddow and Birch 2016, arXiv 1508.07909; SentencePiece's form of it, arXiv
// 1808.06226): of all neighbours that may merge, the pair that comes first in the order of merges does, the leftmost
// among equals, until none may. The symbols form a linked list and the possible merges a heap (merge-heap.ts), so that
// n symbols take n log n steps, however they repeat.

import { MergeHeap } from "./merge-heap.ts";

/** Which neighbours merge. */
export interface MergeRules {
  /** The rule for two neighbours that spell `text` from `start` to `end`; -1 where they stay apart. */
  find(left: number, right: number, text: string, start: number, end: number): number;
  /** How eagerly a rule is used; higher first. */
  priority(rule: number): number;
  /** The token that a rule makes. */
  result(rule: number): number;
}

/** Words of up to this many symbols share one set of arrays. */
const SHARED_COUNT = 512;

/** The symbols of one word. The arrays are reused from word to word. */
export class SymbolList {
  count = 0;
  tokens = new Int32Array(SHARED_COUNT); // a token, or -1 for text that has none; free where merged away
  starts = new Int32Array(SHARED_COUNT + 1); // where each symbol begins in the text, and where the text ends
  #next = new Int32Array(SHARED_COUNT);
  #previous = new Int32Array(SHARED_COUNT);
  #heap = new MergeHeap(SHARED_COUNT);

  /** Forgets the symbols and makes room for `capacity` of them. */
  reset(capacity: number): void {
    this.count = 0;
    const size = Math.max(capacity, SHARED_COUNT);
    if (size <= this.tokens.length && this.tokens.length <= Math.max(SHARED_COUNT, 4 * capacity)) return;
    this.tokens = new Int32Array(size);
    this.starts = new Int32Array(size + 1);
    this.#next = new Int32Array(size);
    this.#previous = new Int32Array(size);
    this.#heap = new MergeHeap(size);
  }

  /** Adds a symbol that begins at `start`. */
  push(token: number, start: number): void {
    this.tokens[this.count] = token;
    this.starts[this.count++] = start;
  }

  /** Merges what `rules` merge; the symbols that are left then stand at the front, in order. */
  merge(text: string, rules: MergeRules): void {
    const { count, tokens, starts } = this;
    const [next, previous, heap] = [this.#next, this.#previous, this.#heap];
    starts[count] = text.length;
    for (let at = 0; at < count; at++) [next[at], previous[at]] = [at + 1, at - 1];
    const offer = (at: number): void => {
      const right = next[at];
      if (right >= count) return;
      const rule = rules.find(tokens[at], tokens[right], text, starts[at], starts[next[right]]);
      if (rule >= 0) heap.push(rules.priority(rule), at, tokens[at], tokens[right], rule);
    };
    for (let at = 0; at < count; at++) offer(at);
    while (heap.pop()) {
      const at = heap.position;
      const right = next[at];
      // A symbol only ever grows, so an offer still holds exactly when both of its tokens are still there.
      if (tokens[at] !== heap.left || right >= count || tokens[right] !== heap.right) continue;
      tokens[at] = rules.result(heap.merged);
      tokens[right] = -2;
      next[at] = next[right];
      if (next[at] < count) previous[next[at]] = at;
      if (previous[at] >= 0) offer(previous[at]);
      offer(at);
    }
    this.count = 0;
    for (let at = 0; at < count; at = next[at]) this.push(tokens[at], starts[at]);
    starts[this.count] = text.length;
  }
}

// A tree of texts by their characters (Fredkin 1960), for the longest text that begins at a place, or all of them. The
// edges lie in one flat hash table (pair-table.ts), so that a vocabulary of 250,000 texts makes no objects.

import { PairTable } from "./pair-table.ts";

export class Trie {
  readonly #edges: PairTable;
  readonly #values: number[] = [-1]; // by node; -1 where no text ends
  /** 1 for the low byte of each first character, so that most places of a text need one look. */
  readonly #firsts = new Uint8Array(256);
  /** The length of the text that `longest` found. */
  length = 0;

  /** @param expected about how many characters the texts have together */
  constructor(expected = 64) {
    this.#edges = new PairTable(expected);
  }

  /** Adds a text with its value, an integer from 0. A text that is there keeps its value; the empty text is none. */
  add(text: string, value: number): void {
    if (text === "") return;
    let node = 0;
    for (let at = 0; at < text.length; at++) {
      const unit = text.charCodeAt(at);
      let next = this.#edges.get(node, unit);
      if (next < 0) {
        next = this.#values.push(-1) - 1;
        this.#edges.add(node, unit, next);
      }
      node = next;
    }
    this.#firsts[text.charCodeAt(0) & 0xff] = 1;
    if (this.#values[node] < 0) this.#values[node] = value;
  }

  /** The value of the longest text that begins at `at`, and its `length`; -1 where none does. */
  longest(text: string, at: number): number {
    let found = -1;
    this.each(text, at, (value, length) => {
      found = value;
      this.length = length;
    });
    return found;
  }

  /** Calls `found` for every text that begins at `at`, shorter ones first. */
  each(text: string, at: number, found: (value: number, length: number) => void): void {
    if (at >= text.length || this.#firsts[text.charCodeAt(at) & 0xff] === 0) return;
    let node = 0;
    for (let end = at; end < text.length; end++) {
      node = this.#edges.get(node, text.charCodeAt(end));
      if (node < 0) return;
      if (this.#values[node] >= 0) found(this.#values[node], end + 1 - at);
    }
  }
}

// Finding added tokens in a text: at each place the longest one that begins there, from left to right.

import { whiteSpace, wordCharacters } from "./character-set.ts";
import type { AddedToken } from "./pipeline-spec.ts";
import { Trie } from "./trie.ts";

export class AddedTokenFinder {
  readonly #added: readonly AddedToken[];
  readonly #trie: Trie;

  /** @param textOf what is looked for, where that is not the token's text itself */
  constructor(added: readonly AddedToken[], textOf: (added: AddedToken) => string = ({ text }) => text) {
    this.#added = added;
    this.#trie = new Trie(added.length * 8);
    for (const [index, token] of added.entries()) this.#trie.add(textOf(token), index);
  }

  /** Calls `between` for each text without added tokens and `found` for each token, in order. */
  cut(text: string, between: (start: number, end: number) => void, found: (token: number) => void): void {
    let last = 0;
    for (let at = 0; at < text.length; at++) {
      const index = this.#added.length === 0 ? -1 : this.#trie.longest(text, at);
      if (index < 0) continue;
      const { token, stripLeft, stripRight, wholeWord } = this.#added[index];
      const length = this.#trie.length;
      if (wholeWord && (isWord(text, at - 1) || isWord(text, at + length))) continue;
      let [start, end] = [at, at + length];
      if (stripLeft) while (start > last && whiteSpace.has(text.charCodeAt(start - 1))) start--;
      if (stripRight) while (end < text.length && whiteSpace.has(text.charCodeAt(end))) end++;
      if (start > last) between(last, start);
      found(token);
      last = end;
      at = end - 1;
    }
    if (last < text.length) between(last, text.length);
  }
}

function isWord(text: string, at: number): boolean {
  return at >= 0 && at < text.length && wordCharacters.has(text.charCodeAt(at));
}

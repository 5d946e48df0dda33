// SentencePiece's unigram model (Kudo 2018, arXiv 1804.10959): of all ways to cut a text into pieces of the vocabulary,
// the one with the highest sum of scores, found by Viterbi's algorithm over the pieces that begin at each character. A
// character that no piece covers costs the lowest score and 10 more, and unknown neighbours become one token.

import type { ScoredSpec } from "./pipeline-spec.ts";
import { Trie } from "./trie.ts";
import { Vocabulary } from "./vocabulary.ts";
import type { TokenBuffer, WordModel } from "./vocabulary.ts";

const UNKNOWN_PENALTY = 10;

export class UnigramModel implements WordModel {
  readonly #vocabulary: Vocabulary;
  readonly #trie: Trie;
  readonly #scores: readonly number[];
  readonly #unknownScore: number;

  constructor(spec: ScoredSpec) {
    this.#vocabulary = new Vocabulary(spec, spec);
    this.#trie = new Trie(spec.tokens.length * 4);
    this.#scores = spec.scores;
    let lowest = 0;
    for (const [text, token] of this.#vocabulary.tokens) {
      if (token === spec.special.unk) continue;
      this.#trie.add(text, token);
      lowest = Math.min(lowest, spec.scores[token]);
    }
    this.#unknownScore = lowest - UNKNOWN_PENALTY;
  }

  spell(word: string, out: TokenBuffer): void {
    const best = new Float64Array(word.length + 1).fill(-Infinity);
    const tokens = new Int32Array(word.length + 1).fill(-1); // the token that ends here on the best way; -1 for unknown
    const starts = new Int32Array(word.length + 1);
    best[0] = 0;
    for (let at = 0; at < word.length;) {
      const end = at + ((word.charCodeAt(at) & 0xfc00) === 0xd800 ? 2 : 1);
      let isCovered = false;
      this.#trie.each(word, at, (token, length) => {
        if (at + length === end) isCovered = true;
        const score = best[at] + this.#scores[token];
        if (score > best[at + length]) {
          best[at + length] = score;
          tokens[at + length] = token;
          starts[at + length] = at;
        }
      });
      if (!isCovered && best[at] + this.#unknownScore > best[end]) {
        best[end] = best[at] + this.#unknownScore;
        tokens[end] = -1;
        starts[end] = at;
      }
      at = end;
    }
    this.#collect(word, tokens, starts, out);
  }

  #collect(word: string, tokens: Int32Array, starts: Int32Array, out: TokenBuffer): void {
    const ends: number[] = [];
    for (let end = word.length; end > 0; end = starts[end]) ends.push(end);
    let unknownFrom = -1;
    for (let index = ends.length - 1; index >= 0; index--) {
      const end = ends[index];
      if (tokens[end] < 0) {
        if (unknownFrom < 0) unknownFrom = starts[end];
        continue;
      }
      if (unknownFrom >= 0) this.#vocabulary.spellUnknown(word.slice(unknownFrom, starts[end]), out);
      unknownFrom = -1;
      out.push(tokens[end]);
    }
    if (unknownFrom >= 0) this.#vocabulary.spellUnknown(word.slice(unknownFrom), out);
  }
}

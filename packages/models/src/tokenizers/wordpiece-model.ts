// WordPiece, as BERT spells words (Devlin and others 2018, arXiv 1810.04805; Schuster and Nakajima 2012): the longest
// piece that the word begins with, then the longest that its rest begins with, and so on. A word that leaves a rest is
// unknown as a whole.

import type { WordPieceSpec } from "./pipeline-spec.ts";
import { Trie } from "./trie.ts";
import { unknownText, Vocabulary } from "./vocabulary.ts";
import type { TokenBuffer, WordModel } from "./vocabulary.ts";

export class WordPieceModel implements WordModel {
  readonly #unknown: number | undefined;
  readonly #wordPrefix: string;
  readonly #wordLength: number;
  /** Pieces that begin a word, with the prefix of words; and those that continue one, without theirs. */
  readonly #firsts: Trie;
  readonly #others: Trie;

  constructor(spec: WordPieceSpec) {
    const { tokens } = new Vocabulary(spec, { byteFallback: false });
    this.#unknown = spec.special.unk;
    this.#wordPrefix = spec.wordPrefix;
    this.#wordLength = spec.wordLength;
    this.#firsts = new Trie(spec.tokens.length * 4);
    this.#others = new Trie(spec.tokens.length * 2);
    for (const [text, token] of tokens) {
      this.#firsts.add(text, token);
      if (text.startsWith(spec.continuingPrefix)) this.#others.add(text.slice(spec.continuingPrefix.length), token);
    }
  }

  spell(word: string, out: TokenBuffer): void {
    const text = this.#wordPrefix + word;
    const pieces: number[] = [];
    const isLong = this.#wordLength > 0 && word.length > this.#wordLength && Array.from(word).length > this.#wordLength;
    for (let at = isLong ? text.length : 0; at < text.length;) {
      const trie = at === 0 ? this.#firsts : this.#others;
      const token = trie.longest(text, at);
      if (token < 0) break;
      pieces.push(token);
      at += trie.length;
      if (at === text.length) {
        for (const piece of pieces) out.push(piece);
        return;
      }
    }
    if (this.#unknown === undefined) throw unknownText(word);
    out.push(this.#unknown);
  }
}

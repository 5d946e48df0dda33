// The tokenizer of RWKV's world models: the longest token that the bytes of the text begin with, again and again
// (rwkv_tokenizer.py of BlinkDL/RWKV-LM). Its tokens are bytes, written with Python's escapes, and every byte is one.

import { fromEscapes, toLatin1 } from "./byte-text.ts";
import type { RwkvSpec } from "./pipeline-spec.ts";
import { Trie } from "./trie.ts";
import { unknownText, Vocabulary } from "./vocabulary.ts";
import type { TokenBuffer, WordModel } from "./vocabulary.ts";

const encoder = new TextEncoder();

export class RwkvModel implements WordModel {
  readonly #trie: Trie;
  readonly #unknown: number | undefined;

  constructor(spec: RwkvSpec) {
    this.#trie = new Trie(spec.tokens.length * 4);
    this.#unknown = spec.special.unk;
    const { tokens } = new Vocabulary(spec, { byteFallback: false });
    for (const [text, token] of tokens) this.#trie.add(toLatin1(fromEscapes(text)), token);
  }

  spell(word: string, out: TokenBuffer): void {
    const bytes = toLatin1(encoder.encode(word));
    for (let at = 0; at < bytes.length;) {
      const token = this.#trie.longest(bytes, at);
      if (token < 0 && this.#unknown === undefined) throw unknownText(word);
      out.push(token < 0 ? this.#unknown! : token);
      at += token < 0 ? 1 : this.#trie.length;
    }
  }
}

// The texts of a vocabulary by their tokens and the other way round, as the ways to spell a word need them.

import { byteName } from "./byte-text.ts";
import type { PipelineSpec } from "./pipeline-spec.ts";
import { UnknownCharacterError } from "./tokenizer.ts";

/** Spells words. */
export interface WordModel {
  /** Adds the tokens of a word, which is not empty. Throws `UnknownCharacterError`. */
  spell(word: string, out: TokenBuffer): void;
}

/** Tokens in a row that grows. */
export class TokenBuffer {
  length = 0;
  #tokens = new Int32Array(256);

  push(token: number): void {
    if (this.length === this.#tokens.length) this.#reserve(1);
    this.#tokens[this.length++] = token;
  }

  pushAll(tokens: Int32Array): void {
    if (this.length + tokens.length > this.#tokens.length) this.#reserve(tokens.length);
    this.#tokens.set(tokens, this.length);
    this.length += tokens.length;
  }

  /** A copy of the tokens from `start` on. */
  slice(start = 0): Int32Array {
    return this.#tokens.slice(start, this.length);
  }

  /** Turns the tokens from `start` on round. */
  reverse(start: number): void {
    this.#tokens.subarray(start, this.length).reverse();
  }

  #reserve(more: number): void {
    const grown = new Int32Array(Math.max(this.#tokens.length * 2, this.length + more));
    grown.set(this.#tokens);
    this.#tokens = grown;
  }
}

export class Vocabulary {
  readonly texts: readonly (string | null)[];
  /**
   * The token of a text: of those that words may be spelled with. Special tokens are not among them, nor are the names
   * of bytes, so that no text can spell them by chance or on purpose.
   */
  readonly tokens = new Map<string, number>();
  /** The tokens of the 256 bytes where the vocabulary names them (<0x00> to <0xFF>); -1 for those that it has not. */
  readonly bytes = new Int32Array(256).fill(-1);
  readonly unknown: number | undefined;
  /** Texts of special tokens, which nothing else is to be spelled as. */
  readonly reserved: ReadonlySet<string>;

  constructor(spec: PipelineSpec, options: { readonly byteFallback: boolean }) {
    this.texts = spec.tokens;
    this.unknown = spec.special.unk;
    const special = new Set(spec.added.filter((added) => added.special).map((added) => added.token));
    this.reserved = new Set(Array.from(special, (token) => spec.tokens[token] ?? ""));
    for (const [token, text] of spec.tokens.entries()) {
      if (text === null || special.has(token)) continue;
      if (!this.tokens.has(text)) this.tokens.set(text, token);
    }
    if (!options.byteFallback) return;
    for (let byte = 0; byte < 256; byte++) {
      const token = this.tokens.get(byteName(byte));
      if (token === undefined || special.has(token)) continue;
      this.bytes[byte] = token;
      this.tokens.delete(byteName(byte));
    }
  }

  /** Adds the tokens of a text's bytes, or the unknown token. Throws `UnknownCharacterError` where there is neither. */
  spellUnknown(text: string, out: TokenBuffer): void {
    const bytes = new TextEncoder().encode(text);
    if (bytes.every((byte) => this.bytes[byte] >= 0)) for (const byte of bytes) out.push(this.bytes[byte]);
    else if (this.unknown !== undefined) out.push(this.unknown);
    else throw unknownText(text);
  }
}

export function unknownText(text: string): UnknownCharacterError {
  return new UnknownCharacterError("the vocabulary cannot spell the text", {
    where: JSON.stringify(text.slice(0, 40)),
    expected: "characters or bytes of the vocabulary; it has no token for unknown ones",
    got: Array.from(text.slice(0, 8), (character) => `U+${character.codePointAt(0)!.toString(16)}`).join(" "),
  });
}

// The byte vocabulary: a token is a byte of UTF-8. It spells every text with 256 tokens and needs no training.

import { byteName } from "./byte-text.ts";
import { checkToken, decodeAll, utf8Stream } from "./tokenizer.ts";
import type { Tokenizer, TokenizerSpec, TokenStream } from "./tokenizer.ts";

const byteVocabSize = 256;
const encoder = new TextEncoder();
const singleBytes = Array.from({ length: byteVocabSize }, (_, byte) => Uint8Array.of(byte));

export class ByteTokenizer implements Tokenizer {
  readonly kind = "byte";
  readonly vocabSize = byteVocabSize;
  readonly stopTokens = [];
  readonly specialTokens = {};

  encode(text: string): Int32Array {
    return Int32Array.from(encoder.encode(text));
  }

  decode(tokens: ArrayLike<number>): string {
    return decodeAll(this.stream(), tokens);
  }

  stream(): TokenStream {
    return utf8Stream((token) => {
      checkToken(token, byteVocabSize);
      return singleBytes[token];
    });
  }

  tokenText(token: number): string {
    checkToken(token, byteVocabSize);
    return byteName(token);
  }

  tokenBytes(token: number): Uint8Array {
    checkToken(token, byteVocabSize);
    return singleBytes[token];
  }

  toJSON(): TokenizerSpec {
    return { kind: "byte" };
  }
}

// What every tokenizer is: text to ids and back, a stream that never splits a character, and a plain value that a model
// file can keep. The three kinds, one file each, share the errors and the UTF-8 stream below.

import { FidelityError } from "@fidelity/units";

/** A tokenizer as plain JSON; `tokenizerFromJSON` turns it back. */
export type TokenizerSpec =
  | { readonly kind: "byte" }
  | { readonly kind: "character"; /** Every character once, in rising code points. */ readonly characters: string }
  | { readonly kind: "sentencepiece"; /** A llama2.c tokenizer file in base64. */ readonly file: string };

/** Text from tokens that arrive one by one. */
export interface TokenStream {
  /** The text that this token completes; empty while a character's bytes are still missing. */
  push(token: number): string;
  /** What is left, with U+FFFD for a character that was never completed. The stream then starts afresh. */
  end(): string;
}

/** Text to token ids and back. */
export interface Tokenizer {
  readonly kind: TokenizerSpec["kind"];
  readonly vocabSize: number;
  /** The token that a sequence begins with, when the model expects one. `encode` does not add it. */
  readonly bosToken?: number;
  /** Tokens that end a generated text. */
  readonly stopTokens: readonly number[];
  /** The ids of a text. Throws `UnknownCharacterError` when the vocabulary cannot spell it. */
  encode(text: string): Int32Array;
  /** The text of ids. Throws `UnknownTokenError` for an id outside the vocabulary. */
  decode(tokens: ArrayLike<number>): string;
  stream(): TokenStream;
  toJSON(): TokenizerSpec;
}

/** Any problem with a vocabulary, a text or a token. */
export class TokenizerError extends FidelityError {}

/** The text has a character that the vocabulary has no token for. */
export class UnknownCharacterError extends TokenizerError {}

/** A token id that the vocabulary does not have. */
export class UnknownTokenError extends TokenizerError {}

/** The vocabulary itself is unusable: damaged, of another format, or of another size than the model. */
export class VocabularyError extends TokenizerError {}

/** Throws `UnknownTokenError` unless `token` is an integer from 0 to `vocabSize` - 1. */
export function checkToken(token: number, vocabSize: number): void {
  if (Number.isInteger(token) && token >= 0 && token < vocabSize) return;
  throw new UnknownTokenError(`there is no token ${token} in the vocabulary`, {
    expected: `an integer from 0 to ${vocabSize - 1}`,
    got: String(token),
    hint: "use the tokenizer that the model was trained with",
  });
}

/** All of a stream at once: the text of `tokens`. */
export function decodeAll(stream: TokenStream, tokens: ArrayLike<number>): string {
  let text = "";
  for (let index = 0; index < tokens.length; index++) text += stream.push(tokens[index]);
  return text + stream.end();
}

/** A stream over tokens that stand for bytes; `bytesOf` gives a token's bytes and may remember the token before it. */
export function utf8Stream(bytesOf: (token: number) => Uint8Array): TokenStream {
  // ignoreBOM keeps a byte order mark as the character that it is; without it, decoding would lose text.
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return {
    push: (token) => decoder.decode(bytesOf(token), { stream: true }),
    end: () => decoder.decode(),
  };
}

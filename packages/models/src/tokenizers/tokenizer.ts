// What every tokenizer is: text to ids and back, a stream that never splits a character, and a plain value that a model
// file can keep. All kinds share the errors and the UTF-8 stream below.

import { FidelityError } from "@fidelity/units";
import type { PipelineSpec } from "./pipeline-spec.ts";

/** A tokenizer as plain JSON; `tokenizerFromJSON` turns it back. */
export type TokenizerSpec =
  | { readonly kind: "byte" }
  | { readonly kind: "character"; /** Every character once, in rising code points. */ readonly characters: string }
  | { readonly kind: "sentencepiece"; /** A llama2.c tokenizer file in base64. */ readonly file: string }
  | PipelineSpec;

/** The tokens that a vocabulary gives a part to; a part that it has no token for is absent. */
export interface SpecialTokens {
  /** Begins a text, where the model wants that: see `bosToken`. [CLS] in BERT. */
  readonly bos?: number;
  /** Ends a text. */
  readonly eos?: number;
  /** Ends a turn of a conversation. */
  readonly eot?: number;
  /** Stands for what cannot be spelled. */
  readonly unk?: number;
  /** Fills a batch up. */
  readonly pad?: number;
  /** Stands between two texts; [SEP] in BERT. */
  readonly sep?: number;
  /** Stands for a word to be guessed. */
  readonly mask?: number;
}

export interface EncodeOptions {
  /**
   * Special tokens that are written out in the text, such as `<|im_end|>`, become those tokens. The default is false:
   * what a user typed cannot end a turn. True for what a chat template rendered.
   */
  readonly specials?: boolean;
  /**
   * Puts before the tokens what the model expects there: `bosToken`, or nothing for a model without. Default: false.
   */
  readonly addBos?: boolean;
  /** Puts after the tokens what the model expects there, `eosToken` or nothing. Default: false. */
  readonly addEos?: boolean;
}

export interface DecodeOptions {
  /** Special tokens are written out instead of being left out. Default: false. */
  readonly specials?: boolean;
}

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
  /** The token that a sequence begins with, when the model expects one. `encode` adds it if it is asked to. */
  readonly bosToken?: number;
  /** The token that a sequence ends with, when the model expects one there, as BERT and T5 do. */
  readonly eosToken?: number;
  /** Tokens that end a generated text. */
  readonly stopTokens: readonly number[];
  readonly specialTokens: SpecialTokens;
  /** The ids of a text. Throws `UnknownCharacterError` when the vocabulary cannot spell it. */
  encode(text: string, options?: EncodeOptions): Int32Array;
  /** The text of ids. Throws `UnknownTokenError` for an id outside the vocabulary. */
  decode(tokens: ArrayLike<number>, options?: DecodeOptions): string;
  stream(options?: DecodeOptions): TokenStream;
  /** A token as the vocabulary writes it, such as `<s>` or `▁the`. Throws `UnknownTokenError`. */
  tokenText(token: number): string;
  /**
   * The bytes that a token adds to a text that has begun; none for those that only mark something, such as `<s>`. A
   * token that is the first of a text may add a space less, and one that follows the end of a word a space more: see
   * `stream`. Throws `UnknownTokenError`.
   */
  tokenBytes(token: number): Uint8Array;
  toJSON(): TokenizerSpec;
}

/** Any problem with a vocabulary, a text or a token. */
export class TokenizerError extends FidelityError {}

/** The text has a character that the vocabulary has no token for. */
export class UnknownCharacterError extends TokenizerError {}

/** A token id that the vocabulary does not have. */
export class UnknownTokenError extends TokenizerError {}

/** A pattern of a tokenizer file cannot be read, or takes too long over a text. */
export class PatternError extends TokenizerError {}

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

/** `tokens` with what `options` ask for before and after them. */
export function withEnds(
  tokens: Int32Array,
  before: readonly number[],
  after: readonly number[],
  options: EncodeOptions = {},
): Int32Array {
  if (options.addBos !== true && options.addEos !== true) return tokens;
  const start = options.addBos === true ? before : [];
  const end = options.addEos === true ? after : [];
  const result = new Int32Array(start.length + tokens.length + end.length);
  result.set(start);
  result.set(tokens, start.length);
  result.set(end, start.length + tokens.length);
  return result;
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

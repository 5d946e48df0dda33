// SentencePiece's byte-pair encoding as llama2.c runs it (`encode` and `decode` in run.c of karpathy/llama2.c): a space
// goes before the text, each character becomes its token or else the tokens of its bytes, and then the neighbours whose
// union has the highest score merge, leftmost first among equals, until none is left.
//
// llama2.c scans the whole text for each merge; merge.ts gives the same tokens in n log n steps.
//
// Leaves out: the normalisation of the SentencePiece library, and decoding <unk> as anything but its piece.

import { toLatin1 } from "./byte-text.ts";
import { SymbolList } from "./merge.ts";
import type { MergeRules } from "./merge.ts";
import { checkToken, decodeAll, utf8Stream, VocabularyError, withEnds } from "./tokenizer.ts";
import type {
  DecodeOptions,
  EncodeOptions,
  SpecialTokens,
  Tokenizer,
  TokenizerSpec,
  TokenStream,
} from "./tokenizer.ts";
import { firstByteToken, readVocabularyFile, writeVocabularyFile } from "./vocabulary-file.ts";
import type { VocabularyPiece } from "./vocabulary-file.ts";

const bosToken = 1;
const eosToken = 2;
const spaceByte = 0x20;
const noBytes = new Uint8Array(0);

/** llama2.c starts its search for the best merge here, so a lower score never merges. */
const lowestMergeScore = -1e10;

const encoder = new TextEncoder();

export class SentencePieceTokenizer implements Tokenizer {
  readonly kind = "sentencepiece";
  readonly vocabSize: number;
  readonly bosToken = bosToken;
  readonly stopTokens = [bosToken, eosToken];
  readonly specialTokens: SpecialTokens = { bos: bosToken, eos: eosToken };
  readonly #pieces: readonly VocabularyPiece[];
  readonly #tokens = new Map<string, number>(); // by the bytes of the piece, a character each
  readonly #spaceToken: number;
  readonly #longest: number;
  readonly #symbols = new SymbolList();
  readonly #rules: MergeRules = {
    find: (_left, _right, text, start, end) => {
      const token = end - start > this.#longest ? undefined : this.#tokens.get(text.slice(start, end));
      return token === undefined || this.#pieces[token].score <= lowestMergeScore ? -1 : token;
    },
    priority: (token) => this.#pieces[token].score,
    result: (token) => token,
  };

  /**
   * @param file a llama2.c tokenizer file
   * @param fileName how errors call it
   * Throws `VocabularyError` when llama2.c could not use the file.
   */
  constructor(file: Uint8Array, fileName = "the tokenizer file") {
    this.#pieces = readVocabularyFile(file, fileName);
    this.vocabSize = this.#pieces.length;
    for (const [token, piece] of this.#pieces.entries()) {
      const key = toLatin1(piece.bytes);
      if (!this.#tokens.has(key)) this.#tokens.set(key, token);
    }
    this.#longest = this.#pieces.reduce((length, { bytes }) => Math.max(length, bytes.length), 0);
    const spaceToken = this.#tokens.get(" ");
    if (spaceToken === undefined) {
      throw new VocabularyError(`${fileName} has no token for a single space`, {
        where: fileName,
        expected: "a piece of one space, which llama2.c puts before every text",
        got: `${this.vocabSize} pieces without it`,
      });
    }
    this.#spaceToken = spaceToken;
  }

  /** Special tokens are never read from a text: llama2.c's files do not name them. */
  encode(text: string, options?: EncodeOptions): Int32Array {
    const tokens = text === "" ? new Int32Array(0) : this.#spell(text);
    return withEnds(tokens, [bosToken], [], options);
  }

  decode(tokens: ArrayLike<number>, options?: DecodeOptions): string {
    return decodeAll(this.stream(options), tokens);
  }

  /** The space that `encode` put before the text is dropped after the BOS token, so push that first. */
  stream(options: DecodeOptions = {}): TokenStream {
    let previous = -1;
    const stream = utf8Stream((token) => {
      checkToken(token, this.vocabSize);
      const isControl = token === bosToken || token === eosToken;
      const bytes = isControl && options.specials === true ? this.#pieces[token].bytes : this.#bytesOf(token, previous);
      previous = token;
      return bytes;
    });
    return {
      push: stream.push,
      end: () => {
        previous = -1;
        return stream.end();
      },
    };
  }

  /** The bytes and the score of a token, as the file has them. Throws `UnknownTokenError`. */
  pieceOf(token: number): VocabularyPiece {
    checkToken(token, this.vocabSize);
    return this.#pieces[token];
  }

  tokenText(token: number): string {
    return new TextDecoder().decode(this.pieceOf(token).bytes);
  }

  tokenBytes(token: number): Uint8Array {
    checkToken(token, this.vocabSize);
    return this.#bytesOf(token, -1);
  }

  toJSON(): TokenizerSpec {
    return { kind: "sentencepiece", file: writeVocabularyFile(this.#pieces).toBase64() };
  }

  #bytesOf(token: number, previous: number): Uint8Array {
    if (token === bosToken || token === eosToken) return noBytes;
    const byte = token - firstByteToken;
    if (byte >= 0 && byte < 256) return Uint8Array.of(byte);
    const { bytes } = this.#pieces[token];
    return previous === bosToken && bytes[0] === spaceByte ? bytes.subarray(1) : bytes;
  }

  /** The space and then one token a character, or one a byte for characters that have no token; then merged. */
  #spell(text: string): Int32Array {
    const bytes = encoder.encode(` ${text}`);
    const key = toLatin1(bytes);
    const symbols = this.#symbols;
    symbols.reset(bytes.length);
    symbols.push(this.#spaceToken, 0);
    for (let start = 1; start < bytes.length;) {
      let end = start + 1;
      while (end < bytes.length && (bytes[end] & 0xc0) === 0x80) end++;
      const token = this.#tokens.get(key.slice(start, end));
      if (token !== undefined) symbols.push(token, start);
      else for (let at = start; at < end; at++) symbols.push(bytes[at] + firstByteToken, at);
      start = end;
    }
    symbols.merge(key, this.#rules);
    return symbols.tokens.slice(0, symbols.count);
  }
}

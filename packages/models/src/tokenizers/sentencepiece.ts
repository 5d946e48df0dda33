// SentencePiece's byte-pair encoding as llama2.c runs it (`encode` and `decode` in run.c of karpathy/llama2.c): a space
// goes before the text, each character becomes its token or else the tokens of its bytes, and then the neighbours whose
// union has the highest score merge, leftmost first among equals, until none is left.
//
// llama2.c scans the whole text for each merge. Here the tokens form a linked list and the possible merges a heap
// (merge-heap.ts), which gives the same tokens in n log n steps.
//
// Leaves out: the normalisation of the SentencePiece library, and decoding <unk> as anything but its piece.

import { MergeHeap } from "./merge-heap.ts";
import { checkToken, decodeAll, utf8Stream, VocabularyError } from "./tokenizer.ts";
import type { Tokenizer, TokenizerSpec, TokenStream } from "./tokenizer.ts";
import { bytesToKey, firstByteToken, readVocabularyFile, writeVocabularyFile } from "./vocabulary-file.ts";
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
  readonly #pieces: readonly VocabularyPiece[];
  readonly #keys: readonly string[];
  readonly #tokens = new Map<string, number>();
  readonly #spaceToken: number;
  /** Token that two neighbours merge to, by left * vocabSize + right; -1 where they do not. Filled as texts need it. */
  readonly #merges = new Map<number, number>();

  /**
   * @param file a llama2.c tokenizer file
   * @param fileName how errors call it
   * Throws `VocabularyError` when llama2.c could not use the file.
   */
  constructor(file: Uint8Array, fileName = "the tokenizer file") {
    this.#pieces = readVocabularyFile(file, fileName);
    this.vocabSize = this.#pieces.length;
    this.#keys = this.#pieces.map((piece) => bytesToKey(piece.bytes));
    for (const [token, key] of this.#keys.entries()) {
      if (!this.#tokens.has(key)) this.#tokens.set(key, token);
    }
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

  encode(text: string): Int32Array {
    if (text === "") return new Int32Array(0);
    const tokens = this.#spell(text);
    return this.#merge(tokens);
  }

  decode(tokens: ArrayLike<number>): string {
    return decodeAll(this.stream(), tokens);
  }

  /** The space that `encode` put before the text is dropped after the BOS token, so push that first. */
  stream(): TokenStream {
    let previous = -1;
    const stream = utf8Stream((token) => {
      checkToken(token, this.vocabSize);
      const bytes = this.#bytesOf(token, previous);
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

  /** The space and then one token a character, or one a byte for characters that have no token. */
  #spell(text: string): Int32Array {
    const bytes = encoder.encode(text);
    const tokens = new Int32Array(bytes.length + 1);
    tokens[0] = this.#spaceToken;
    let count = 1;
    for (let start = 0; start < bytes.length;) {
      let end = start + 1;
      while (end < bytes.length && (bytes[end] & 0xc0) === 0x80) end++;
      const token = this.#tokens.get(bytesToKey(bytes.subarray(start, end)));
      if (token !== undefined) tokens[count++] = token;
      else for (let at = start; at < end; at++) tokens[count++] = bytes[at] + firstByteToken;
      start = end;
    }
    return tokens.slice(0, count);
  }

  /** Merges neighbours, best first; `tokens` is spent on the way. */
  #merge(tokens: Int32Array): Int32Array {
    const count = tokens.length;
    // A list over positions: a merged token stays at its left position, and the right one leaves with token -1.
    const next = Int32Array.from({ length: count }, (_, at) => at + 1);
    const previous = Int32Array.from({ length: count }, (_, at) => at - 1);
    const heap = new MergeHeap(count);
    const offer = (at: number): void => {
      const right = next[at];
      if (right >= count) return;
      const merged = this.#mergedToken(tokens[at], tokens[right]);
      if (merged >= 0) heap.push(this.#pieces[merged].score, at, tokens[at], tokens[right], merged);
    };
    for (let at = 0; at < count; at++) offer(at);
    let leftCount = count;
    while (heap.pop()) {
      const at = heap.position;
      const right = next[at];
      // A piece only ever grows, so an offer still holds exactly when both of its tokens are still there.
      if (tokens[at] !== heap.left || right >= count || tokens[right] !== heap.right) continue;
      tokens[at] = heap.merged;
      tokens[right] = -1;
      next[at] = next[right];
      if (next[at] < count) previous[next[at]] = at;
      leftCount--;
      if (previous[at] >= 0) offer(previous[at]);
      offer(at);
    }
    const result = new Int32Array(leftCount);
    let length = 0;
    for (let at = 0; at < count; at = next[at]) result[length++] = tokens[at];
    return result;
  }

  #mergedToken(left: number, right: number): number {
    const pair = left * this.vocabSize + right;
    const known = this.#merges.get(pair);
    if (known !== undefined) return known;
    const token = this.#tokens.get(this.#keys[left] + this.#keys[right]);
    const merged = token === undefined || this.#pieces[token].score <= lowestMergeScore ? -1 : token;
    this.#merges.set(pair, merged);
    return merged;
  }
}

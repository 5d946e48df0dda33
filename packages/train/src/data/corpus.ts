// A corpus: text files in a fixed order, read one after another and never all at once, and what they become, an array
// of tokens in the smallest integer type that holds the vocabulary.

import { createHash } from "node:crypto";
import type { Tokenizer } from "@fidelity/models";
import { checkPositiveInteger, EmptyTextError } from "./errors.ts";
import { findTextFiles } from "./find-files.ts";
import type { CorpusFile } from "./find-files.ts";
import { readText } from "./read-text.ts";

/** Tokens, one element each, in the smallest of the three types that the vocabulary fits. */
export type TokenArray = Uint8Array | Uint16Array | Int32Array;

/** The tokens of a corpus, and enough to tell whether a later run sees the same ones. */
export interface TokenData {
  readonly tokens: TokenArray;
  readonly vocabSize: number;
  /** The first 16 hex digits of the SHA-256 of the tokens. */
  readonly fingerprint: string;
}

export interface CorpusOptions {
  /** What folders are searched for, with the dot; default `defaultExtensions`. */
  readonly extensions?: readonly string[];
  /** Read only this much text, from the start of the list. */
  readonly limitBytes?: number;
}

export class TextCorpus {
  readonly files: readonly CorpusFile[];
  /** How much of the files is read: their sizes together, or the limit. */
  readonly sizeBytes: number;

  /** Throws `EmptyTextError` when the files hold nothing. */
  constructor(files: readonly CorpusFile[], limitBytes = Number.MAX_SAFE_INTEGER) {
    checkPositiveInteger("the limit of a corpus in bytes", limitBytes);
    this.files = files;
    const availableBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
    this.sizeBytes = Math.min(availableBytes, limitBytes);
    if (availableBytes > 0) return;
    const names = files.map((file) => file.path);
    throw new EmptyTextError("there is no text in what was given", {
      where: names.slice(0, 3).join(", ") + (names.length > 3 ? ", ..." : ""),
      expected: "at least one file that is not empty",
      got: `${files.length} file${files.length === 1 ? "" : "s"} of 0 bytes`,
      hint: "pass --data PATH with a text file, a folder or a glob",
    });
  }

  /** The corpus that files, folders and globs name; see `findTextFiles` for the order and the errors. */
  static open(inputs: readonly string[], options: CorpusOptions = {}): TextCorpus {
    return new TextCorpus(findTextFiles(inputs, options.extensions), options.limitBytes);
  }

  /** The text, piece by piece, in order. Throws `BinaryDataError` or `UnreadableFileError` on the way. */
  *texts(): Generator<string, void, undefined> {
    for (const piece of this.#pieces()) yield piece.text;
  }

  /**
   * Encodes the whole corpus, or its first `limitTokens` tokens. Each file begins with the tokenizer's BOS token where
   * it has one.
   */
  tokenize(tokenizer: Tokenizer, limitTokens = Number.MAX_SAFE_INTEGER): TokenData {
    checkPositiveInteger("the limit of tokens", limitTokens);
    const tokens = new TokenBuffer(tokenizer.vocabSize);
    for (const { text, startsFile } of this.#pieces()) {
      if (startsFile && tokenizer.bosToken !== undefined) tokens.append(Int32Array.of(tokenizer.bosToken));
      tokens.append(tokenizer.encode(text));
      if (tokens.length >= limitTokens) break;
    }
    const array = tokens.finish(limitTokens);
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    const fingerprint = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
    return { tokens: array, vocabSize: tokenizer.vocabSize, fingerprint };
  }

  *#pieces(): Generator<{ text: string; startsFile: boolean }, void, undefined> {
    let leftBytes = this.sizeBytes;
    let endsLine = true;
    for (const file of this.files) {
      if (leftBytes === 0) return;
      let startsFile = true;
      for (const text of readText(file.path, leftBytes)) {
        // A file that ends without a newline must not run into the first line of the next.
        yield { text: startsFile && !endsLine ? `\n${text}` : text, startsFile };
        endsLine = text.endsWith("\n");
        startsFile = false;
      }
      leftBytes -= Math.min(leftBytes, file.sizeBytes);
    }
  }
}

/** A growing array of tokens; the memory doubles as it fills and is cut to size at the end. */
class TokenBuffer {
  length = 0;
  readonly #arrayType: Uint8ArrayConstructor | Uint16ArrayConstructor | Int32ArrayConstructor;
  #buffer = new ArrayBuffer(1 << 16);
  #tokens: TokenArray;

  constructor(vocabSize: number) {
    this.#arrayType = vocabSize <= 1 << 8 ? Uint8Array : vocabSize <= 1 << 16 ? Uint16Array : Int32Array;
    this.#tokens = new this.#arrayType(this.#buffer);
  }

  append(tokens: Int32Array): void {
    const neededLength = this.length + tokens.length;
    if (neededLength > this.#tokens.length) this.#resize(Math.max(neededLength, 2 * this.#tokens.length));
    this.#tokens.set(tokens, this.length);
    this.length = neededLength;
  }

  finish(limitTokens: number): TokenArray {
    this.#resize(Math.min(this.length, limitTokens));
    return this.#tokens;
  }

  #resize(length: number): void {
    // transfer() lets the allocator extend the block in place, where a copy would need both at once.
    this.#buffer = this.#buffer.transfer(length * this.#arrayType.BYTES_PER_ELEMENT);
    this.#tokens = new this.#arrayType(this.#buffer);
  }
}

// The character vocabulary: a token is one Unicode code point of the training text, numbered in rising order, as in the
// character data sets of karpathy/nanoGPT. A text with any other character cannot be encoded, and the error says which.

import { checkToken, decodeAll, UnknownCharacterError, VocabularyError } from "./tokenizer.ts";
import type { Tokenizer, TokenizerSpec, TokenStream } from "./tokenizer.ts";

export class CharacterTokenizer implements Tokenizer {
  readonly kind = "character";
  readonly vocabSize: number;
  readonly stopTokens = [];
  readonly specialTokens = {};
  readonly #characters: readonly string[];
  readonly #tokens: ReadonlyMap<number, number>;

  /** @param characters every character once, in rising code points; throws `VocabularyError` otherwise */
  constructor(characters: string) {
    this.#characters = Array.from(characters);
    this.vocabSize = this.#characters.length;
    const tokens = new Map<number, number>();
    let previous = -1;
    for (const [token, character] of this.#characters.entries()) {
      const codePoint = character.codePointAt(0) ?? 0;
      if (codePoint <= previous) {
        throw new VocabularyError("the characters of a character vocabulary are out of order", {
          where: `token ${token}`,
          expected: "every character once, in rising code points",
          got: `${nameCharacter(codePoint)} after ${nameCharacter(previous)}`,
        });
      }
      tokens.set(codePoint, token);
      previous = codePoint;
    }
    if (tokens.size === 0) {
      throw new VocabularyError("a character vocabulary needs at least one character", { got: "an empty text" });
    }
    this.#tokens = tokens;
  }

  /** The vocabulary of a text, or of several texts read one after another. */
  static fromTexts(texts: Iterable<string>): CharacterTokenizer {
    const codePoints = new Set<number>();
    for (const text of texts) {
      for (let index = 0; index < text.length; index++) {
        const codePoint = text.codePointAt(index) ?? 0;
        codePoints.add(codePoint);
        if (codePoint > 0xffff) index++;
      }
    }
    const sorted = Array.from(codePoints).sort((a, b) => a - b);
    return new CharacterTokenizer(sorted.map((codePoint) => String.fromCodePoint(codePoint)).join(""));
  }

  encode(text: string): Int32Array {
    const tokens = new Int32Array(text.length);
    let count = 0;
    for (let index = 0; index < text.length; index++) {
      const codePoint = text.codePointAt(index) ?? 0;
      const token = this.#tokens.get(codePoint);
      if (token === undefined) throw this.#unknownCharacter(text, index, codePoint);
      tokens[count++] = token;
      if (codePoint > 0xffff) index++;
    }
    return count === text.length ? tokens : tokens.slice(0, count);
  }

  decode(tokens: ArrayLike<number>): string {
    return decodeAll(this.stream(), tokens);
  }

  stream(): TokenStream {
    return {
      push: (token) => {
        checkToken(token, this.vocabSize);
        return this.#characters[token];
      },
      end: () => "",
    };
  }

  tokenText(token: number): string {
    checkToken(token, this.vocabSize);
    return this.#characters[token];
  }

  tokenBytes(token: number): Uint8Array {
    return new TextEncoder().encode(this.tokenText(token));
  }

  toJSON(): TokenizerSpec {
    return { kind: "character", characters: this.#characters.join("") };
  }

  #unknownCharacter(text: string, index: number, codePoint: number): UnknownCharacterError {
    const before = text.slice(0, index);
    const line = before.split("\n").length;
    const column = index - before.lastIndexOf("\n");
    const known = this.#characters.slice(0, 80).join("");
    return new UnknownCharacterError(`the vocabulary has no token for ${nameCharacter(codePoint)}`, {
      where: `line ${line}, column ${column} of the text`,
      expected: `one of ${this.vocabSize} characters: ${JSON.stringify(known)}`,
      got: nameCharacter(codePoint),
      hint: "leave the character out, or train with a byte vocabulary, which spells every text",
    });
  }
}

/** `"é" (U+00E9)`, with an escape for characters that do not print. */
function nameCharacter(codePoint: number): string {
  const hex = codePoint.toString(16).toUpperCase().padStart(4, "0");
  return `${JSON.stringify(String.fromCodePoint(codePoint))} (U+${hex})`;
}

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { ByteTokenizer, CharacterTokenizer, SentencePieceTokenizer, tokenizerFromJSON } from "./index.ts";
import { UnknownCharacterError, UnknownTokenError, VocabularyError, writeVocabularyFile } from "./index.ts";
import type { Tokenizer, VocabularyPiece } from "./index.ts";

const texts = fc.string({ unit: fc.constantFrom(..."the cat sat. é€😀\n\uFEFF\0"), maxLength: 60 });
const sharedVocabulary = join(import.meta.dirname, "../../../../../shared/data/stories260K/tok512.bin");
const sharedText = join(import.meta.dirname, "../../../../../shared/data/tinystories-valid-sample.txt");
const encoder = new TextEncoder();

const piece = (text: string, score: number): VocabularyPiece => ({ bytes: encoder.encode(text), score });

/** Control and byte tokens, then words to merge and single characters, as llama2.c orders them. */
function syntheticPieces(): VocabularyPiece[] {
  const bytes = Array.from({ length: 256 }, (_, byte) =>
    piece(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`, 0),
  );
  const merges = [" t", "he", " the", " c", "at", " cat", "th", "the", "aa", "tt", "ta", "é€"];
  return [
    ...["<unk>", "\n<s>\n", "\n</s>\n"].map((text) => piece(text, 0)),
    ...bytes,
    // "th" and "he" tie, so the leftmost of them wins.
    ...merges.map((text, rank) => piece(text, text === "th" ? -1 : -rank)),
    ...Array.from(" thecasé€.\n", (character) => piece(character, -100)),
  ];
}

/** llama2.c's `encode`, line by line: scan everything for the best merge, merge, scan again. */
function slowEncode(pieces: readonly VocabularyPiece[], text: string): number[] {
  const keys = pieces.map(({ bytes }) => String.fromCharCode(...bytes));
  const tokens = text === "" ? [] : [keys.indexOf(" ")];
  for (const character of text) {
    const bytes = encoder.encode(character);
    const token = keys.indexOf(String.fromCharCode(...bytes));
    if (token >= 0) tokens.push(token);
    else tokens.push(...Array.from(bytes, (byte) => byte + 3));
  }
  for (;;) {
    let best = { score: -1e10, token: -1, at: -1 };
    for (let at = 0; at + 1 < tokens.length; at++) {
      const token = keys.indexOf(keys[tokens[at]] + keys[tokens[at + 1]]);
      if (token >= 0 && pieces[token].score > best.score) best = { score: pieces[token].score, token, at };
    }
    if (best.token < 0) return tokens;
    tokens.splice(best.at, 2, best.token);
  }
}

const synthetic = new SentencePieceTokenizer(writeVocabularyFile(syntheticPieces()));
const characters = CharacterTokenizer.fromTexts(["the cat sat. é€", "😀\n\uFEFF\0"]);
const tokenizers: readonly Tokenizer[] = [new ByteTokenizer(), characters, synthetic];

test("every tokenizer gives a text back, at once and token by token, and survives JSON", () => {
  for (const tokenizer of tokenizers) {
    const restored = tokenizerFromJSON(JSON.parse(JSON.stringify(tokenizer)));
    assert.equal(restored.vocabSize, tokenizer.vocabSize);
    fc.assert(
      fc.property(texts, (text) => {
        const encoded = tokenizer.encode(text);
        const tokens = [...(tokenizer.bosToken === undefined ? [] : [tokenizer.bosToken]), ...encoded];
        assert.ok(tokens.every((token) => token >= 0 && token < tokenizer.vocabSize));
        assert.equal(tokenizer.decode(tokens), text);
        assert.deepEqual(restored.encode(text), encoded);
        const stream = restored.stream();
        const parts = tokens.map((token) => stream.push(token));
        assert.equal(parts.join("") + stream.end(), text);
        assert.ok(parts.every((part) => part.isWellFormed() && !part.includes("\uFFFD")));
      }),
    );
  }
});

test("a stream waits for the last byte of a character, and marks one that never came", () => {
  const stream = new ByteTokenizer().stream();
  assert.deepEqual(
    [0xf0, 0x9f, 0x98, 0x80].map((byte) => stream.push(byte)),
    ["", "", "", "😀"],
  );
  assert.equal(stream.push(0xe2), "");
  assert.equal(stream.end(), "\uFFFD");
  assert.equal(stream.push(0x41), "A");
});

test("characters are numbered in rising code points, and an unknown one is named with its place", () => {
  assert.deepEqual(Array.from(CharacterTokenizer.fromTexts(["b\na", "😀a"]).encode("\nab😀")), [0, 1, 2, 3]);
  const tokenizer = CharacterTokenizer.fromTexts(["abc\n"]);
  assert.throws(
    () => tokenizer.encode("abc\nab😀"),
    (error) => {
      assert.ok(error instanceof UnknownCharacterError);
      assert.match(error.message, /"😀" \(U\+1F600\)\n +where: +line 2, column 3/);
      return true;
    },
  );
  assert.throws(() => CharacterTokenizer.fromTexts([""]), VocabularyError);
  assert.throws(() => new CharacterTokenizer("ba"), /out of order(.|\n)*token 1/);
  assert.throws(() => new CharacterTokenizer("aab"), VocabularyError);
});

test("the heap merges as llama2.c's scan does, ties and byte fallback included", () => {
  const pieces = syntheticPieces();
  assert.deepEqual(Array.from(synthetic.encode("the")), slowEncode(pieces, "the"));
  const units = fc.constantFrom(..."tthheeccaa  .z😀é€");
  fc.assert(
    fc.property(fc.string({ unit: units, maxLength: 40 }), (text) => {
      assert.deepEqual(Array.from(synthetic.encode(text)), slowEncode(pieces, text));
    }),
    { numRuns: 300 },
  );
});

test("random scores with many ties merge alike", () => {
  const score = fc.integer({ min: -4, max: 0 });
  const merges = fc.uniqueArray(fc.string({ unit: fc.constantFrom(..." ab"), minLength: 2, maxLength: 5 }), {
    minLength: 1,
    maxLength: 30,
  });
  fc.assert(
    fc.property(
      merges,
      fc.array(score, { minLength: 30, maxLength: 30 }),
      fc.string({ unit: fc.constantFrom(..." ab") }),
      (words, scores, text) => {
        const pieces = [
          ...syntheticPieces().slice(0, 259),
          ...words.map((word, index) => piece(word, scores[index])),
          ...Array.from(" ab", (character) => piece(character, -9)),
        ];
        const tokenizer = new SentencePieceTokenizer(writeVocabularyFile(pieces));
        assert.deepEqual(Array.from(tokenizer.encode(text)), slowEncode(pieces, text));
      },
    ),
  );
});

test("the dummy space goes after BOS only, control tokens are silent, byte tokens are bytes", () => {
  const tokens = synthetic.encode("the cat");
  assert.equal(synthetic.decode([1, ...tokens]), "the cat");
  assert.equal(synthetic.decode(tokens), " the cat");
  assert.equal(synthetic.decode([1, ...tokens, 2]), "the cat");
  assert.equal(synthetic.decode([0xf0, 0x9f, 0x98, 0x80].map((byte) => byte + 3)), "😀");
  assert.deepEqual(Array.from(synthetic.encode("")), []);
});

test("a token outside the vocabulary is refused by every kind", () => {
  for (const tokenizer of tokenizers) {
    for (const token of [-1, tokenizer.vocabSize, 0.5, NaN]) {
      assert.throws(() => tokenizer.decode([token]), UnknownTokenError);
    }
  }
});

test("tokens have texts as their vocabulary writes them; BOS goes before a text where it is asked for", () => {
  assert.equal(new ByteTokenizer().tokenText(0x0a), "<0x0A>");
  assert.equal(characters.tokenText(characters.encode("é")[0]), "é");
  assert.equal(synthetic.tokenText(1), "\n<s>\n");
  for (const tokenizer of tokenizers) {
    assert.throws(() => tokenizer.tokenText(tokenizer.vocabSize), UnknownTokenError);
    const before = tokenizer.bosToken === undefined ? [] : [tokenizer.bosToken];
    assert.deepEqual(
      Array.from(tokenizer.encode("the", { addBos: true, addEos: true })),
      [...before, ...tokenizer.encode("the")],
      tokenizer.kind,
    );
  }
  assert.equal(synthetic.decode([1, ...synthetic.encode("the")], { specials: true }), "\n<s>\nthe");
});

test("hostile vocabulary files are refused with the offset", () => {
  const good = writeVocabularyFile(syntheticPieces());
  const changed = (byteOffset: number, value: number): Uint8Array => {
    const copy = good.slice();
    new DataView(copy.buffer).setInt32(byteOffset, value, true);
    return copy;
  };
  const cases: readonly (readonly [file: Uint8Array, message: RegExp])[] = [
    [new Uint8Array(2), /at least 4 bytes/],
    [good.subarray(0, 4), /at least 259 tokens(.|\n)*0 tokens/],
    [good.subarray(0, good.length - 1), /the last 0 bytes|the last \d+ bytes/],
    [changed(0, -1), /byte 0/],
    [changed(0, 2 ** 30), /longest piece/],
    [changed(4, 0x7fc00000), /finite score for token 0(.|\n)*NaN/],
    [changed(8, -7), /byte 8/],
    [changed(8, 2 ** 31 - 1), /a piece of 1 to 6 bytes/],
    [writeVocabularyFile(syntheticPieces().with(65, piece("A", 0))), /token 65 to be <0x3E>(.|\n)*"A"/],
    [writeVocabularyFile(syntheticPieces().slice(0, 259)), /single space/],
  ];
  for (const [file, message] of cases) {
    assert.throws(
      () => new SentencePieceTokenizer(file, "tok.bin"),
      (error) => {
        assert.ok(error instanceof VocabularyError);
        assert.match(error.message, message);
        return true;
      },
    );
  }
  fc.assert(
    fc.property(fc.integer({ min: 0, max: good.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const damaged = good.slice();
      damaged[at] ^= flip;
      try {
        new SentencePieceTokenizer(damaged).encode("the cat");
      } catch (error) {
        assert.ok(error instanceof VocabularyError, String(error));
      }
    }),
  );
});

test("a model file's description of a tokenizer is checked like any input", () => {
  const specs: readonly unknown[] = [
    null,
    5,
    {},
    { kind: "word" },
    { kind: "character" },
    { kind: "character", characters: "" },
    { kind: "sentencepiece", file: "?" },
    { kind: "sentencepiece", file: "AAAA" },
    undefined,
  ];
  for (const spec of specs) assert.throws(() => tokenizerFromJSON(spec), VocabularyError);
});

test("long text takes n log n steps, and tok512 spells a real sample where it is present", () => {
  const text = "the cat at the ".repeat(20_000);
  assert.equal(synthetic.decode([1, ...synthetic.encode(text)]), text);
  if (!existsSync(sharedVocabulary)) return;
  const file = readFileSync(sharedVocabulary);
  const tokenizer = new SentencePieceTokenizer(file, sharedVocabulary);
  assert.equal(tokenizer.vocabSize, 512);
  assert.deepEqual(tokenizer.toJSON(), { kind: "sentencepiece", file: file.toString("base64") });
  const pieces = Array.from({ length: 512 }, (_, token) => tokenizer.pieceOf(token));
  const sample = readFileSync(sharedText, "utf8");
  assert.equal(tokenizer.decode([1, ...tokenizer.encode(sample)]), sample);
  assert.deepEqual(Array.from(tokenizer.encode(sample.slice(0, 600))), slowEncode(pieces, sample.slice(0, 600)));
});

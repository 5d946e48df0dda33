// Tokenizers from tokenizer.json beside @huggingface/tokenizers, on small vocabularies of every kind.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Tokenizer as Peer } from "@huggingface/tokenizers";
import fc from "fast-check";
import { byteName, toByteText } from "./byte-text.ts";
import { PatternError, tokenizerFromHuggingFace, tokenizerFromJSON, VocabularyError } from "./index.ts";
import type { Tokenizer } from "./index.ts";

const sample = "The cat sat on the mat; the other cat's hat was 12345 times as red. I'LL go, isn't it?\n\n  Ja: 3.14";
const alphabet = Array.from({ length: 0x180 }, (_, code) => String.fromCharCode(code)).filter((character) => {
  const code = character.charCodeAt(0);
  return (code > 0x20 && code < 0x7f) || (code > 0xa0 && code !== 0xad && code < 0x144);
});

const llama3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" +
  "\\s+(?!\\S)|\\s+";

type Json = Record<string, unknown>;

function file(parts: Json): Json {
  return { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, ...parts };
}

function added(id: number, content: string, options: Json = {}): Json {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  return { id, content, ...flags, ...options };
}

function vocabOf(tokens: readonly string[]): Json {
  return Object.fromEntries([...new Set(tokens)].map((token, id) => [token, id]));
}

/** Merges that build each word of a text from its left, and the pieces that they make. */
function chains(words: readonly string[]): { merges: string[]; pieces: string[] } {
  const merges = new Set<string>();
  const pieces = new Set<string>();
  for (const word of words) {
    const characters = Array.from(word);
    for (let at = 1; at < characters.length; at++) {
      merges.add(`${characters.slice(0, at).join("")} ${characters[at]}`);
      pieces.add(characters.slice(0, at + 1).join(""));
    }
  }
  return { merges: [...merges], pieces: [...pieces] };
}

function byteLevel(preTokenizer: Json, model: Json = {}): Json {
  const { merges, pieces } = chains((sample.match(/ ?\w+|\S/g) ?? []).map(toByteText));
  const vocab = vocabOf([...alphabet, ...pieces]);
  const size = Object.keys(vocab).length;
  return file({
    added_tokens: [added(size, "<|end|>"), added(size + 1, "<tool>", { special: false, lstrip: true, rstrip: true })],
    pre_tokenizer: preTokenizer,
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab, merges, ...model },
  });
}

const bytesStep = { type: "ByteLevel", add_prefix_space: false, use_regex: false };
const split = (Regex: string): Json => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });

/** Llama 2's form: spaces written out by the normaliser, bytes for unknown characters, one word. */
function sentencePiece(): Json {
  const { merges, pieces } = chains((sample.match(/ ?[^ ]+/g) ?? []).map((word) => `\u2581${word.trim()}`));
  const bytes = Array.from({ length: 256 }, (_, byte) => byteName(byte));
  const vocab = vocabOf(["<unk>", "<s>", "</s>", ...bytes, "\u2581", ...Array.from(sample), ...pieces]);
  const space = { type: "Replace", pattern: { String: " " }, content: "\u2581" };
  const start = [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }];
  const back = { type: "Replace", pattern: { String: "\u2581" }, content: " " };
  return file({
    added_tokens: [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")],
    normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "\u2581" }, space] },
    post_processor: { type: "TemplateProcessing", single: start, pair: [], special_tokens: {} },
    decoder: {
      type: "Sequence",
      decoders: [back, { type: "ByteFallback" }, { type: "Fuse" }, { type: "Strip", content: " ", start: 1, stop: 0 }],
    },
    model: { type: "BPE", byte_fallback: true, fuse_unk: true, unk_token: "<unk>", vocab, merges },
  });
}

function unigram(): Json {
  const { pieces } = chains((sample.match(/[^ ]+/g) ?? []).map((word) => `\u2581${word}`));
  const tokens = ["<pad>", "</s>", "<unk>", ...new Set([...pieces, "\u2581", ...sample.replaceAll(" ", "")])];
  const scores = tokens.map((text, id): [string, number] => [text, id < 3 ? 0 : -9 / text.length - id / 500]);
  const metaspace = { type: "Metaspace", replacement: "\u2581", prepend_scheme: "always", split: true };
  const ends = [{ Sequence: { id: "A", type_id: 0 } }, { SpecialToken: { id: "</s>", type_id: 0 } }];
  return file({
    added_tokens: [added(0, "<pad>"), added(1, "</s>"), added(2, "<unk>")],
    normalizer: { type: "NFKC" },
    pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "WhitespaceSplit" }, metaspace] },
    post_processor: { type: "TemplateProcessing", single: ends, pair: [], special_tokens: {} },
    decoder: metaspace,
    model: { type: "Unigram", unk_id: 2, vocab: scores },
  });
}

function wordPiece(): Json {
  const { pieces } = chains((sample.toLowerCase().match(/\w+|[^\w\s]/g) ?? []).map((word) => word));
  const letters = Array.from("abcdefghijklmnopqrstuvwxyz0123456789.,;'?:");
  const special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
  const inside = [...pieces.slice(0, 30), ...letters].map((text) => `##${text}`);
  const vocab = vocabOf([...special, ...letters, ...pieces, ...inside]);
  return file({
    added_tokens: special.map((content, id) => added(id, content)),
    normalizer: {
      type: "BertNormalizer",
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: { type: "BertProcessing", cls: ["[CLS]", 2], sep: ["[SEP]", 3] },
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 20,
      vocab,
    },
  });
}

/** GPT-1's and CLIP's form: lower case, and a suffix at the end of a word. */
function endOfWord(): Json {
  const words = sample.toLowerCase().match(/\w+|[^\w\s]/g) ?? [];
  const merges: string[] = [];
  const vocab: Json = {};
  const add = (token: string): void => {
    vocab[token] ??= Object.keys(vocab).length;
  };
  for (const letter of alphabet) [letter, `${letter}</w>`].forEach(add);
  for (const word of words) {
    const symbols = Array.from(word).map((letter, at) => (at === word.length - 1 ? `${letter}</w>` : letter));
    while (symbols.length > 1) {
      const merge = `${symbols[0]} ${symbols[1]}`;
      if (!merges.includes(merge)) merges.push(merge);
      symbols.splice(0, 2, symbols[0] + symbols[1]);
      add(symbols[0]);
    }
  }
  return file({
    normalizer: { type: "Lowercase" },
    pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Whitespace" }, bytesStep] },
    decoder: { type: "BPEDecoder", suffix: "</w>" },
    model: { type: "BPE", vocab, merges, end_of_word_suffix: "</w>" },
  });
}

const files: Readonly<Record<string, Json>> = {
  "GPT-2": byteLevel({ type: "ByteLevel", add_prefix_space: true }),
  "Llama 3": byteLevel({ type: "Sequence", pretokenizers: [split(llama3), bytesStep] }, { ignore_merges: true }),
  StarCoder: byteLevel({
    type: "Sequence",
    pretokenizers: [
      { type: "Digits", individual_digits: true },
      { type: "ByteLevel", add_prefix_space: false },
    ],
  }),
  Falcon: byteLevel({
    type: "Sequence",
    pretokenizers: [{ type: "Punctuation", behavior: "Contiguous" }, bytesStep, split("[0-9][0-9][0-9]")],
  }),
  "Llama 2": sentencePiece(),
  T5: unigram(),
  BERT: wordPiece(),
};

const texts = fc
  .array(fc.constantFrom(...sample.match(/\w+|\W/g)!, "é", "日本", "😀", "<|end|>", "<s>", " <tool> ", "\u00a0", "'s"))
  .map((parts) => parts.join(""));

test("every kind of file gives the tokens and the texts that @huggingface/tokenizers gives", () => {
  for (const [name, json] of Object.entries(files)) {
    const ours = tokenizerFromHuggingFace({ tokenizer: json });
    const peer = new Peer(json as never, { clean_up_tokenization_spaces: false } as never);
    fc.assert(
      fc.property(texts, (text) => {
        const expected = peer.encode(text).ids;
        const tokens = ours.encode(text, { specials: true, addBos: true, addEos: true });
        assert.deepEqual(Array.from(tokens), expected, `${name}: ${JSON.stringify(text)}`);
        if (expected.length === 0) return;
        const decoded = ours.decode(tokens);
        assert.equal(decoded, peer.decode(expected, { skip_special_tokens: true }), name);
      }),
      { numRuns: 120, seed: 3, examples: [[sample], [""], [" "], ["  the  cat "], ["a<|end|> b"]] },
    );
  }
});

test("a suffix ends words, and comes back as a space between them", () => {
  const ours = tokenizerFromHuggingFace({ tokenizer: endOfWord() });
  const tokens = ours.encode("The cat sat, the cat");
  assert.deepEqual(
    Array.from(tokens, (token) => ours.tokenText(token)),
    [...["the</w>", "cat</w>", "sat</w>", ",</w>", "the</w>", "cat</w>"]],
  );
  assert.equal(ours.decode(tokens), "the cat sat , the cat");
  const stream = ours.stream();
  assert.deepEqual([stream.push(tokens[0]), stream.push(tokens[1]), stream.end()], ["the", " cat", ""]);
});

test("tokenizer_config.json and generation_config.json say what begins and ends a text", () => {
  const json = sentencePiece();
  const open = (config: Json, generation?: Json): Tokenizer =>
    tokenizerFromHuggingFace({ tokenizer: json, config, generation });
  const names = { bos_token: { content: "<s>" }, eos_token: "</s>", unk_token: "<unk>" };
  const plain = open(names);
  assert.deepEqual([plain.bosToken, plain.eosToken, plain.stopTokens], [1, undefined, [2]]);
  assert.deepEqual({ ...plain.specialTokens }, { bos: 1, eos: 2, unk: 0 });
  const turned = open({ ...names, add_bos_token: false, add_eos_token: true }, { eos_token_id: [2, 5, 10 ** 9] });
  assert.deepEqual([turned.bosToken, turned.eosToken, turned.stopTokens], [undefined, 2, [2, 5]]);
  const restored = tokenizerFromJSON(JSON.parse(JSON.stringify(turned)));
  assert.deepEqual(restored.encode(sample, { addEos: true }), turned.encode(sample, { addEos: true }));
  assert.equal(tokenizerFromHuggingFace({ tokenizer: json, vocabSize: 1000 }).vocabSize, 1000);
  assert.equal(tokenizerFromHuggingFace({ tokenizer: json, vocabSize: 1000 }).decode([999]), "");
});

test("files that cannot be used are refused by name", () => {
  const good = byteLevel(bytesStep);
  const model = good.model as Json;
  const bad: readonly (readonly [change: Json, message: RegExp])[] = [
    [{ model: undefined }, /tokenizer\.json\.model/],
    [{ model: { ...model, type: "WordLevel" } }, /BPE, Unigram or WordPiece/],
    [{ model: { ...model, vocab: { a: 10 ** 9 } } }, /vocab\.a/],
    [{ model: { ...model, merges: ["a b c"] } }, /pairs of texts/],
    [{ added_tokens: [added(10 ** 6, "x")] }, /far beyond the vocabulary/],
    [{ pre_tokenizer: { type: "UnicodeScripts" } }, /a pre-tokenizer that is known/],
    [{ pre_tokenizer: split("(a") }, /pattern/],
    [{ normalizer: { type: "Nmt" } }, /a normalizer that is known/],
    [{ decoder: { type: "CTC" } }, /a decoder that is known/],
    [
      { post_processor: { type: "TemplateProcessing", single: [{ SpecialToken: { id: "<no>" } }] } },
      /a token of the vocab/,
    ],
  ];
  for (const [change, message] of bad) {
    assert.throws(
      () => tokenizerFromHuggingFace({ tokenizer: { ...good, ...change } }),
      (error) => (error instanceof VocabularyError || error instanceof PatternError) && message.test(error.message),
      String(message),
    );
  }
  let deep: Json = bytesStep;
  for (let depth = 0; depth < 20; depth++) deep = { type: "Sequence", pretokenizers: [deep] };
  assert.throws(() => tokenizerFromHuggingFace({ tokenizer: { ...good, pre_tokenizer: deep } }), /at most 8 sequences/);
  for (const value of [null, 5, "x", []])
    assert.throws(() => tokenizerFromHuggingFace({ tokenizer: value }), VocabularyError);
});

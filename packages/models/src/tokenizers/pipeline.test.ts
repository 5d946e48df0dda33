import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { byteName, fromByteText, fromEscapes, toByteText } from "./byte-text.ts";
import { PipelineTokenizer, tokenizerFromGguf, tokenizerFromJSON, UnknownCharacterError } from "./index.ts";
import { UnknownTokenError, VocabularyError } from "./index.ts";
import type { PipelineSpec, Tokenizer } from "./index.ts";

const NORMAL = 1;
const CONTROL = 3;
const USER_DEFINED = 4;
const BYTE = 6;

const bytes = Array.from({ length: 256 }, (_, byte) => byte);
const letters = "the catsnoi";
const words = [
  "t c",
  "the",
  " the",
  "cat",
  " cat",
  "at",
  "th",
  "he",
  " t",
  " c",
  "ca",
  "is",
  "on",
  " is",
  "no",
  "  ",
  "   ",
];

function lookup(metadata: Readonly<Record<string, unknown>>): (key: string) => unknown {
  return (key) => metadata[key.replace("tokenizer.ggml.", "")];
}

/** Byte-level merges of a few words, with Qwen's special tokens. */
function byteLevel(pre = "qwen2"): Tokenizer {
  const merges = [
    "t h",
    "th e",
    "h e",
    "Ġ t",
    "Ġt he",
    "Ġ the",
    "a t",
    "c at",
    "Ġ c",
    "Ġc at",
    "Ġ Ġ",
    "ĠĠ Ġ",
    "i s",
    "o n",
  ];
  const merged = merges.map((merge) => merge.replace(" ", ""));
  const plain = [...new Set([...alphabetOf(), ...merged])];
  const special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
  const tokens = [...plain, ...special, "<tool>"];
  const token_type = tokens.map((text) =>
    special.includes(text) ? CONTROL : text === "<tool>" ? USER_DEFINED : NORMAL,
  );
  return tokenizerFromGguf(
    lookup({
      model: "gpt2",
      pre,
      tokens,
      token_type,
      merges,
      eos_token_id: plain.length + 2,
      bos_token_id: plain.length,
    }),
  );
}

/** GPT-2's 256 characters, in the order of their bytes. */
function alphabetOf(): string[] {
  return bytes.map((byte) => {
    for (let code = 0x1ff; code >= 0; code--) {
      const character = String.fromCharCode(code);
      const back = fromByteText(character);
      if (back.length === 1 && back[0] === byte) return character;
    }
    throw new Error(`byte ${byte} has no character`);
  });
}

/** SentencePiece's pieces with scores and byte tokens, as in Llama 2's files. */
function scored(overrides: Readonly<Record<string, unknown>> = {}): Tokenizer {
  const pieces = [
    ...words.map((word) => word.replaceAll(" ", "\u2581")),
    ...Array.from(letters.replaceAll(" ", "\u2581")),
  ];
  const tokens = ["<unk>", "<s>", "</s>", ...bytes.map(byteName), ...new Set(pieces), "[INST]"];
  const scores = tokens.map((text) => -text.length * 7 + (text.codePointAt(0) ?? 0) / 100);
  const token_type = tokens.map((text, token) =>
    token === 0 ? 2 : token < 3 ? CONTROL : token < 259 ? BYTE : text === "[INST]" ? USER_DEFINED : NORMAL,
  );
  return tokenizerFromGguf(lookup({ model: "llama", tokens, scores, token_type, ...overrides }));
}

function unigram(): Tokenizer {
  const pieces = [
    ...words.map((word) => word.replaceAll(" ", "\u2581")),
    ...Array.from(letters.replaceAll(" ", "\u2581")),
  ];
  const tokens = ["<pad>", "</s>", "<unk>", ...new Set(pieces)];
  const scores = tokens.map((text, token) => (token < 3 ? 0 : -10 / text.length - token / 100));
  const token_type = tokens.map((_, token) => (token === 2 ? 2 : token < 3 ? CONTROL : NORMAL));
  return tokenizerFromGguf(
    lookup({ model: "t5", tokens, scores, token_type, add_space_prefix: true, remove_extra_whitespaces: true }),
  );
}

function wordPiece(): Tokenizer {
  const tokens = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "\u2581the",
    "\u2581cat",
    "s",
    "ing",
    "\u2581.",
    "\u2581c",
    "\u2581é",
    "a",
  ];
  const token_type = tokens.map((_, token) => (token < 4 ? CONTROL : NORMAL));
  const ids = { bos_token_id: 2, seperator_token_id: 3, padding_token_id: 0, unknown_token_id: 1 };
  return tokenizerFromGguf(lookup({ model: "bert", tokens, token_type, ...ids }));
}

function rwkv(): Tokenizer {
  const names = bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`);
  const tokens = ["<s>", ...names, "the", " the", "\\n\\n", "\\'", "é", "\\xe2\\x82"];
  return tokenizerFromGguf(
    lookup({ model: "rwkv", tokens, token_type: tokens.map((_, at) => (at === 0 ? CONTROL : 1)) }),
  );
}

/** Those that spell every text, so that decoding gives it back. */
const lossless: readonly Tokenizer[] = [
  byteLevel(),
  byteLevel("llama-bpe"),
  byteLevel("deepseek-v3"),
  scored(),
  rwkv(),
];
const all: readonly Tokenizer[] = [...lossless, unigram(), wordPiece()];
const texts = fc.string({
  unit: fc.constantFrom(...letters, "\n", "é", "€", "😀", "\uFEFF", "\0", "<s>"),
  maxLength: 40,
});

test("texts come back, at once and token by token, and tokenizers from their JSON", () => {
  for (const tokenizer of all) {
    const restored = tokenizerFromJSON(JSON.parse(JSON.stringify(tokenizer)));
    assert.equal(restored.kind, tokenizer.kind);
    fc.assert(
      fc.property(texts, (text) => {
        const tokens = encodeOrRefuse(tokenizer, text);
        assert.deepEqual(encodeOrRefuse(restored, text), tokens);
        const decoded = tokenizer.decode(tokens);
        if (lossless.includes(tokenizer)) assert.equal(decoded, text);
        const stream = tokenizer.stream();
        const parts = Array.from(tokens, (token) => stream.push(token));
        assert.equal(parts.join("") + stream.end(), decoded);
        assert.ok(parts.every((part) => part.isWellFormed() && !part.includes("\uFFFD")));
      }),
      { numRuns: 150, seed: 5 },
    );
  }
});

function encodeOrRefuse(tokenizer: Tokenizer, text: string): Int32Array {
  try {
    return tokenizer.encode(text);
  } catch (error) {
    assert.ok(error instanceof UnknownCharacterError && !lossless.includes(tokenizer), String(error));
    return new Int32Array(0);
  }
}

/** Byte-pair encoding as the papers have it: the best pair of the whole word, again and again. */
function slowMerges(spec: PipelineSpec, word: string): string[] {
  const symbols = Array.from(word);
  for (;;) {
    let best = { priority: -Infinity, at: -1 };
    for (let at = 0; at + 1 < symbols.length; at++) {
      const priority = priorityOf(spec, symbols[at], symbols[at + 1]);
      if (priority > best.priority) best = { priority, at };
    }
    if (best.at < 0) return symbols;
    symbols.splice(best.at, 2, symbols[best.at] + symbols[best.at + 1]);
  }
}

function priorityOf(spec: PipelineSpec, left: string, right: string): number {
  if (spec.kind === "bpe") {
    for (let at = 0; at < spec.merges.length; at += 2) {
      if (spec.merges[at] === left && spec.merges[at + 1] === right) return -at;
    }
    return -Infinity;
  }
  const token = spec.tokens.indexOf(left + right);
  return token < 259 || spec.kind !== "scored-bpe" ? -Infinity : spec.scores[token];
}

test("the heap merges as a search of the whole word does, with scores and with a list", () => {
  const units = fc.string({ unit: fc.constantFrom(..."thhee caat"), maxLength: 30 });
  for (const tokenizer of [scored({ add_space_prefix: false }), byteLevel("bloom")]) {
    const spec = tokenizer.toJSON() as PipelineSpec;
    fc.assert(
      fc.property(units, (text) => {
        // Bloom's words begin with at most one space; SentencePiece's text is one word.
        const cut =
          spec.kind === "bpe"
            ? (text.match(/ ?[^ ]+| +(?= [^ ])| +/g) ?? []).map(toByteText)
            : [text.replaceAll(" ", "\u2581")];
        const expected = cut.flatMap((word) => slowMerges(spec, word));
        assert.deepEqual(
          Array.from(tokenizer.encode(text), (token) => tokenizer.tokenText(token)),
          expected,
        );
      }),
      { numRuns: 300, seed: 6 },
    );
  }
});

test("special tokens are read from a text only where that is asked for; what a user defined always is", () => {
  const tokenizer = byteLevel();
  const [start, end] = ["<|im_start|>", "<|im_end|>"].map((text) => tokenizer.encode(text, { specials: true }));
  assert.deepEqual([start.length, end.length], [1, 1]);
  assert.ok(tokenizer.encode("<|im_end|>").length > 1);
  assert.equal(tokenizer.encode("<tool>").length, 1);
  assert.equal(tokenizer.decode(tokenizer.encode("a<|im_end|>b", { specials: true })), "ab");
  assert.equal(
    tokenizer.decode(tokenizer.encode("a<|im_end|>b", { specials: true }), { specials: true }),
    "a<|im_end|>b",
  );
  assert.deepEqual(
    tokenizer.stopTokens.map((token) => tokenizer.tokenText(token)),
    ["<|endoftext|>", "<|im_end|>"],
  );
  assert.equal(tokenizer.tokenText(tokenizer.specialTokens.eot!), "<|endoftext|>");
  assert.equal(tokenizer.bosToken, undefined);

  const llama = scored();
  assert.deepEqual([llama.bosToken, llama.specialTokens.eos], [1, 2]);
  assert.deepEqual(Array.from(llama.encode("the", { addBos: true, addEos: true })).slice(0, 1), [1]);
  assert.equal(scored({ add_eos_token: true }).encode("the", { addEos: true }).at(-1), 2);
  assert.ok(!llama.encode("<s>").includes(1));
  // The names of bytes are text as well, and not the bytes.
  assert.equal(llama.decode(llama.encode("<0x41>")), "<0x41>");
});

test("SentencePiece's space goes before the first word and after special tokens, and the text loses it again", () => {
  const tokenizer = scored();
  const spelled = (text: string): string[] =>
    Array.from(tokenizer.encode(text, { specials: true }), (token) => tokenizer.tokenText(token));
  assert.deepEqual(spelled("the cat"), ["\u2581the", "\u2581cat"]);
  assert.deepEqual(spelled("<s>cat[INST]the"), ["<s>", "\u2581cat", "[INST]", "\u2581the"]);
  assert.equal(tokenizer.decode(tokenizer.encode(" the")), " the");
  assert.deepEqual(Array.from(tokenizer.encode("")), []);
  assert.equal(scored({ add_space_prefix: false }).decode(tokenizer.encode("the")), " the");
});

test("unknown words of BERT and unknown runs of T5 become one token; both say what surrounds a text", () => {
  const bert = wordPiece();
  const spelled = (text: string): string[] => Array.from(bert.encode(text), (token) => bert.tokenText(token));
  assert.deepEqual(spelled("The cats. CAT xyz\u4e2dthe"), [
    ...["\u2581the", "\u2581cat", "s", "\u2581.", "\u2581cat", "[UNK]", "[UNK]", "\u2581the"],
  ]);
  assert.deepEqual(Array.from(bert.encode("the", { addBos: true, addEos: true })), [2, 4, 3]);
  assert.equal(bert.decode([2, 4, 5, 6, 3]), "the cats");
  const t5 = unigram();
  assert.deepEqual(
    Array.from(t5.encode("  the   zzz cat ", { addEos: true }), (token) => t5.tokenText(token)),
    ["\u2581the", "\u2581", "<unk>", "\u2581cat", "</s>"],
  );
});

test("RWKV takes the longest bytes; escapes stand for bytes", () => {
  const tokenizer = rwkv();
  assert.deepEqual(
    Array.from(tokenizer.encode("x the\n\n'é€"), (token) => tokenizer.tokenText(token)),
    ["\\x78", " the", "\\n\\n", "\\x27", "é", "\\xe2\\x82", "\\xac"],
  );
  assert.deepEqual(Array.from(fromEscapes("\\t\\x41\\\\é")), [9, 0x41, 0x5c, 0xc3, 0xa9]);
});

test("half a surrogate is spelled as the replacement character", () => {
  for (const tokenizer of lossless)
    assert.equal(tokenizer.decode(tokenizer.encode("a\ud800b\udc00")), "a\ufffdb\ufffd");
});

test("long runs take n log n steps in every kind", () => {
  for (const unit of [" ", "a", "the ", "\n", "€", "x y", "<|im_end|", "\u0301"]) {
    const text = unit.repeat(Math.ceil(20_000 / unit.length));
    for (const tokenizer of lossless) assert.equal(tokenizer.decode(tokenizer.encode(text, { specials: true })), text);
    for (const tokenizer of all.slice(lossless.length)) tokenizer.encode(text);
  }
});

test("a letter with a hundred thousand marks is brought into a normal form in pieces", () => {
  const marked = `a${"\u0301\u0323".repeat(50_000)}b`;
  const json = { ...(JSON.parse(JSON.stringify(byteLevel())) as object), normalizer: [{ type: "nfc" }] };
  const tokenizer = tokenizerFromJSON(json);
  const decoded = tokenizer.decode(tokenizer.encode(marked));
  assert.ok(decoded.startsWith("\u1ea1") && decoded.endsWith("b"));
  assert.equal(tokenizer.decode(tokenizer.encode("e\u0301")), "\u00e9");
});

test("tokens outside a vocabulary, and vocabularies that contradict themselves, are refused", () => {
  for (const tokenizer of all) {
    for (const token of [-1, tokenizer.vocabSize, 0.5])
      assert.throws(() => tokenizer.decode([token]), UnknownTokenError);
  }
  const good = JSON.parse(JSON.stringify(scored())) as Record<string, unknown>;
  const bad: Readonly<Record<string, unknown>>[] = [
    { tokens: [] },
    { tokens: "x" },
    { tokens: [5] },
    { scores: [1] },
    { scores: (good.scores as number[]).map(() => "x") },
    { added: [{ token: 1e9, text: "x" }] },
    { before: [-1] },
    { normalizer: [{ type: "charsmap", data: "AAAA/w==" }] },
    { normalizer: [{ type: "dance" }] },
    { words: [{ type: "split", pattern: "(", literal: false, behavior: "isolated", invert: false }] },
    { decoder: null },
    { special: { bos: "x" } },
  ];
  for (const change of bad)
    assert.throws(() => tokenizerFromJSON({ ...good, ...change }), /.+/, JSON.stringify(change));
  assert.throws(() => tokenizerFromJSON({ ...good, kind: "bpe" }), VocabularyError);
  assert.ok(tokenizerFromJSON(good) instanceof PipelineTokenizer);
});

test("GGUF metadata that cannot be used is refused by its key", () => {
  const cases: readonly (readonly [metadata: Readonly<Record<string, unknown>>, message: RegExp])[] = [
    [{}, /tokenizer\.ggml\.model/],
    [{ model: "plamo2" }, /one of llama, gpt2(.|\n)*plamo2/],
    [{ model: "llama" }, /tokenizer\.ggml\.tokens/],
    [{ model: "llama", tokens: ["a", 5] }, /a list of texts/],
    [{ model: "llama", tokens: ["a", "b"], scores: [1] }, /2 numbers, one for each token/],
    [{ model: "gpt2", tokens: ["a"], pre: "default" }, /tokenizer\.ggml\.merges/],
    [{ model: "gpt2", tokens: ["a"], merges: [], pre: "lama-bpe" }, /such as "llama-bpe"/],
    [{ model: "llama", tokens: ["a"], add_bos_token: 1 }, /add_bos_token(.|\n)*true or false/],
  ];
  for (const [metadata, message] of cases) {
    assert.throws(
      () => tokenizerFromGguf(lookup(metadata)),
      (error) => error instanceof VocabularyError && message.test(error.message),
      String(message),
    );
  }
});

// Small tokenizers of every kind, as tokenizer.json, as GGUF metadata and as chat templates, for damage; the damage to
// plain values; and texts that have broken tokenizers before.

import { CHAT_TEMPLATES } from "@fidelity/models";
import { pick, randomSize } from "./random.ts";
import type { Random } from "./random.ts";

export type Plain = null | boolean | number | string | readonly Plain[] | { readonly [key: string]: Plain };

const LLAMA3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" +
  "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const MERGES = ["t h", "th e", "Ġ t", "Ġt he", "a t", "c at", "Ġ Ġ", "ĠĠ ĠĠ", "Ġ cat", "i n", "in g"];
const WORDS = ["the", "cat", "▁the", "▁cat", "th", "at", "▁", "▁▁", "▁t", "ing", "in", "cat▁the"];
const LETTERS = Array.from("abcdefghinst.,!12'\u2581");
const BYTE_NAMES = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
/** GPT-2's characters of the bytes, in some order. */
const ALPHABET = Array.from({ length: 0x144 }, (_, code) => String.fromCharCode(code)).filter(
  (_, code) => (code > 0x20 && code < 0x7f) || (code > 0xa0 && code !== 0xad),
);

const numbered = (tokens: readonly string[]): Plain =>
  Object.fromEntries([...new Set(tokens)].map((text, at) => [text, at]));
const special = (id: number, content: string): Plain => ({
  id,
  content,
  special: true,
  normalized: false,
  lstrip: false,
});

const mergedOf = MERGES.map((merge) => merge.replace(" ", ""));

/** Files of tokenizer.json. */
const JSON_FILES: readonly Plain[] = [
  {
    added_tokens: [special(300, "<|end|>"), { id: 301, content: "<tool>", special: false, rstrip: true }],
    normalizer: { type: "NFC" },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: LLAMA3 }, behavior: "Isolated", invert: false },
        { type: "ByteLevel", add_prefix_space: false, use_regex: false },
      ],
    },
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<|end|>" } }, { Sequence: { id: "A" } }],
    },
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", ignore_merges: true, vocab: numbered([...ALPHABET, ...mergedOf]), merges: MERGES },
  },
  {
    added_tokens: [special(0, "<unk>"), special(1, "<s>")],
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      byte_fallback: true,
      fuse_unk: true,
      unk_token: "<unk>",
      vocab: numbered(["<unk>", "<s>", ...BYTE_NAMES, ...LETTERS, ...WORDS]),
      merges: ["t h", "th e", "▁ the", "a t", "c at", "▁ ▁"],
    },
  },
  {
    added_tokens: [special(0, "<unk>")],
    normalizer: {
      type: "Sequence",
      normalizers: [{ type: "NFKC" }, { type: "Replace", pattern: { Regex: " {2,}" }, content: " " }],
    },
    pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: true },
    decoder: { type: "Metaspace", replacement: "▁", prepend_scheme: "first" },
    model: { type: "Unigram", unk_id: 0, vocab: ["<unk>", ...LETTERS, ...WORDS].map((text, at) => [text, -at / 9]) },
  },
  {
    added_tokens: [special(0, "[UNK]")],
    normalizer: {
      type: "BertNormalizer",
      lowercase: true,
      strip_accents: null,
      clean_text: true,
      handle_chinese_chars: true,
    },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: { type: "BertProcessing", cls: ["[UNK]", 0], sep: ["[UNK]", 0] },
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      max_input_chars_per_word: 50,
      vocab: numbered(["[UNK]", ...LETTERS, ...WORDS, "##s", "##at", "##he", "##e"]),
    },
  },
];

const gguf = (model: string, tokens: readonly string[], more: Readonly<Record<string, Plain>>): Plain => ({
  model,
  tokens,
  token_type: tokens.map((text) => (/^<[|/s]|^\[/.test(text) ? 3 : text.startsWith("<0x") ? 6 : 1)),
  ...more,
});

/** Metadata of GGUF files, by the keys after `tokenizer.ggml.`. */
const METADATA: readonly Plain[] = [
  gguf("gpt2", [...ALPHABET, ...mergedOf, "<|im_end|>"], { pre: "llama-bpe", merges: MERGES, eos_token_id: 267 }),
  gguf("gpt2", [...ALPHABET, ...mergedOf], { pre: "deepseek-v3", merges: MERGES }),
  gguf("llama", ["<unk>", "<s>", "</s>", ...BYTE_NAMES, ...LETTERS, ...WORDS], {
    scores: Array.from({ length: 3 + 256 + LETTERS.length + WORDS.length }, (_, at) => -at),
    add_space_prefix: true,
  }),
  gguf("t5", ["<pad>", "</s>", "<unk>", ...LETTERS, ...WORDS], {
    scores: Array.from({ length: 3 + LETTERS.length + WORDS.length }, (_, at) => -at / 8),
    remove_extra_whitespaces: true,
    precompiled_charsmap: [8, 0, 0, 0, 0, 4, 0, 0, 1, 0, 0, 0, 97, 0],
  }),
  gguf("bert", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ...LETTERS, ...WORDS], {
    ...{ bos_token_id: 2, seperator_token_id: 3, unknown_token_id: 1 },
  }),
  gguf(
    "rwkv",
    ["<s>", ...BYTE_NAMES.map((name) => `\\x${name.slice(3, 5).toLowerCase()}`), "the", " the", "\\n\\n"],
    {},
  ),
];

export type Seed =
  | { readonly kind: "json" | "metadata"; readonly value: Plain }
  | { readonly kind: "template"; readonly value: string };

const SEEDS: readonly Seed[] = [
  ...JSON_FILES.map((value): Seed => ({ kind: "json", value })),
  ...METADATA.map((value): Seed => ({ kind: "metadata", value })),
  ...Object.values(CHAT_TEMPLATES).map((value): Seed => ({ kind: "template", value })),
];

/** A tokenizer or a template; two in three are damaged. */
export function seedTokenizer(random: Random): { readonly seed: Seed; readonly isDamaged: boolean } {
  const seed = pick(random, SEEDS);
  if (random(3) === 0) return { seed, isDamaged: false };
  if (seed.kind === "template") {
    const other = pick(random, Object.values(CHAT_TEMPLATES));
    return { seed: { kind: "template", value: damageText(seed.value, random, other) }, isDamaged: true };
  }
  let { value } = seed;
  if (seed.kind === "json" && random(3) === 0) {
    const Regex = damageText(LLAMA3, random, "(?:[^a-z]|\\p{L}+)*{2,}+?|(?<!\\s)a*a*a*b");
    const cut = { type: "Split", pattern: { Regex }, behavior: pick(random, BEHAVIORS), invert: random(2) === 0 };
    return { seed: { kind: "json", value: Object.assign({}, value, { pre_tokenizer: cut }) }, isDamaged: true };
  }
  for (let count = 1 + random(3); count > 0; count--) value = damageValue(value, random, pick(random, SEEDS).value);
  return { seed: { kind: seed.kind, value }, isDamaged: true };
}

const BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"];

const ODD: readonly Plain[] = [
  ...[
    null,
    true,
    false,
    0,
    -1,
    0.5,
    1e9,
    2 ** 31,
    2 ** 53,
    1e308,
    "",
    " ",
    "\ud800",
    "▁",
    "a".repeat(5000),
    [],
    {},
    [[]],
  ],
  ...["(a+)+$", "(?:a|a)*b", "\\s*\\s*\\s*x", "[", "(?<!a*)", "\\p{No}", "(?=(a*))*", "a{1000}{1000}", ".*.*.*.*=.*"],
  ...["BPE", "Unigram", "ByteLevel", "Metaspace", "Sequence", "NFKD", "Lowercase", "gpt2", "llama", "rwkv", "qwen2"],
];

/** One place of a value is changed: taken out, repeated, replaced by something odd or from elsewhere, or edited. */
function damageValue(value: Plain, random: Random, other: Plain): Plain {
  const isInner = typeof value === "object" && value !== null;
  if (!isInner || random(12) === 0) return damageLeaf(value, random, other);
  if (Array.isArray(value)) {
    if (value.length === 0) return [pick(random, ODD)];
    const at = random(value.length);
    if (random(6) === 0) return value.toSpliced(at, 1);
    if (random(12) === 0) return value.toSpliced(at, 0, ...value.slice(at, at + randomSize(random, 100)));
    return value.with(at, damageValue(value[at] as Plain, random, other));
  }
  const entries = Object.entries(value);
  if (entries.length === 0) return { type: pick(random, ODD) };
  const at = random(entries.length);
  const [key, inner] = entries[at];
  if (random(10) === 0) return Object.fromEntries(entries.toSpliced(at, 1));
  if (random(20) === 0) return Object.fromEntries(entries.with(at, [pick(random, entries)[0], inner]));
  return Object.fromEntries(entries.with(at, [key, damageValue(inner, random, other)]));
}

function damageLeaf(value: Plain, random: Random, other: Plain): Plain {
  if (typeof value === "string" && random(2) === 0) return damageText(value, random, "(?:[^a-z]|\\p{L}+)*{2,}|▁<0x4>Ġ");
  if (typeof value === "number" && random(2) === 0) return value + random(5) - 2;
  if (random(3) > 0) return pick(random, ODD);
  let taken = other;
  while (typeof taken === "object" && taken !== null && random(4) > 0) {
    const inner: readonly Plain[] = Object.values(taken);
    if (inner.length === 0) break;
    taken = pick(random, inner);
  }
  return taken;
}

function damageText(text: string, random: Random, other: string): string {
  const at = random(text.length + 1);
  const length = randomSize(random, 20);
  const from = random(other.length);
  switch (random(5)) {
    case 0:
      return text.slice(0, at) + text.slice(at + length);
    case 1:
      return text.slice(0, at) + text.slice(at, at + length).repeat(1 + randomSize(random, 60)) + text.slice(at);
    case 2:
      return text.slice(0, at) + other.slice(from, from + length) + text.slice(at);
    case 3:
      return text.slice(0, at) + other.slice(from, from + length) + text.slice(at + length);
    default:
      return text.slice(0, at) + String.fromCharCode(random(128)) + text.slice(at + random(2));
  }
}

const PIECES = [
  ...[
    "the",
    " cat",
    "  ",
    "\n",
    "\r\n",
    "'s",
    "12345",
    "é",
    "日本",
    "😀",
    "\u0301",
    "\u00a0",
    "\ufeff",
    "\0",
    "ﷺ",
    "İ",
  ],
  ...["\ud800", "\udc00", "<|end|>", "<|im_end|>", "<s>", "<0x41>", "[UNK]", "▁", "Ġ", "\u2028", "=", "a", "<tool> "],
];

/** A text: short, or now and then a hundred thousand times the same. */
export function oddText(random: Random): string {
  if (random(40) === 0) {
    const unit = pick(random, PIECES);
    return unit.repeat(Math.ceil(100_000 / unit.length)) + pick(random, PIECES);
  }
  return Array.from({ length: randomSize(random, 60) }, () => pick(random, PIECES)).join("");
}

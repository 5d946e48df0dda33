// Tokenizers from GGUF metadata beside llama.cpp's (node-llama-cpp): small vocabularies of every kind, written by us,
// and those of the reference models that lie in a folder beside the checkout. In a process of its own, since
// llama.cpp's libraries stay in it.
//
// Where the two differ on purpose: llama.cpp reads the names of special tokens and bytes out of merged text, and cuts
// words of "tekken" and "gpt-4o" by patterns that it had to simplify; and unigram vocabularies that keep all spaces
// give a text of nothing but spaces one less there. The texts here avoid these.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ggufArray } from "@fidelity/formats";
import type { GgufSource, GgufValue } from "@fidelity/formats";
import { openGguf, writeGgufFile } from "@fidelity/formats/node";
import { tokenizerFromGguf } from "@fidelity/models";
import type { Tokenizer } from "@fidelity/models";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import type { Llama } from "node-llama-cpp";

const folder = mkdtempSync(join(tmpdir(), "fidelity-tokenizers-"));
after(() => rmSync(folder, { recursive: true }));

const texts: readonly string[] = [
  "",
  " ",
  "    three spaces   and\ttabs \n\n\n lines\r\n end  ",
  "Hello world, it's the 3rd of 12345 (or 3.14) they'LL say!? -- «déjà vu» naïve",
  "日本語のテキスト and 한국어, العربية, हिन्दी में, ไทย",
  "😀👩‍👩‍👧 𝒳𝒴 \u00a0\u3000\u200b ⅷ ¼ ١٢٣",
  "e\u0301\u0300 İ ß ΣΣς  fooBar_baz.qux(1+2)==[3];//x",
  "a".repeat(200) + " " + "ab ".repeat(50) + " ".repeat(40),
  "http://example.org/a?b=c&d#e me@example.org C:\\temp\\x\n\t\tif (a<b && c>d) { return -1; }",
];

/** GPT-2's characters of the 256 bytes. */
const alphabet = makeAlphabet();

function makeAlphabet(): string[] {
  let spare = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const prints = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte < 0xad) || byte > 0xad;
    return String.fromCharCode(prints ? byte : spare++);
  });
}

const inBytes = (text: string): string => Array.from(Buffer.from(text), (byte) => alphabet[byte]).join("");

/** Merges that make the words of all texts from their left, and what they make. */
function chains(words: readonly string[]): { merges: string[]; pieces: string[] } {
  const merges = new Set<string>();
  const pieces = new Set<string>();
  for (const word of words) {
    const characters = Array.from(word);
    for (let at = 1; at < characters.length && at < 6; at++) {
      merges.add(`${characters.slice(0, at).join("")} ${characters[at]}`);
      pieces.add(characters.slice(0, at + 1).join(""));
    }
  }
  return { merges: [...merges], pieces: [...pieces] };
}

type Metadata = Readonly<Record<string, GgufValue>>;

const text = (value: string): GgufValue => ({ type: "string", value });
const id = (value: number): GgufValue => ({ type: "u32", value });

const [NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE] = [1, 2, 3, 4, 6];

function byteLevel(pre: string): Metadata {
  const words = texts.join(" ").match(/ ?[\p{L}\p{N}]+|\s+|[^\s\p{L}\p{N}]+/gu) ?? [];
  const { merges, pieces } = chains(words.map(inBytes));
  const plain = [...new Set([...alphabet, ...pieces])];
  const tokens = [...plain, "<|im_start|>", "<|im_end|>", "<tool>"];
  const types = tokens.map((token) =>
    token.startsWith("<|im") ? CONTROL : token === "<tool>" ? USER_DEFINED : NORMAL,
  );
  return {
    "tokenizer.ggml.model": text("gpt2"),
    "tokenizer.ggml.pre": text(pre),
    "tokenizer.ggml.tokens": ggufArray("string", tokens),
    "tokenizer.ggml.token_type": ggufArray("i32", types),
    "tokenizer.ggml.merges": ggufArray("string", merges),
    "tokenizer.ggml.bos_token_id": id(plain.length),
    "tokenizer.ggml.eos_token_id": id(plain.length + 1),
  };
}

function sentencePiece(addsSpace: boolean): Metadata {
  const words = (texts.join(" ").match(/ ?[^ ]+| +/g) ?? []).map((word) => word.replaceAll(" ", "\u2581"));
  const bytes = alphabet.map((_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const pieces = new Set([...chains(words).pieces, ..."abcdefghijklmnop \u2581\u65e5".replace(" ", "")]);
  const tokens = ["<unk>", "<s>", "</s>", ...bytes, ...pieces, "[INST]"];
  const types = tokens.map((_, at) => (at === 0 ? UNKNOWN : at < 3 ? CONTROL : at < 259 ? BYTE : NORMAL));
  types[tokens.length - 1] = USER_DEFINED;
  return {
    "tokenizer.ggml.model": text("llama"),
    "tokenizer.ggml.tokens": ggufArray("string", tokens),
    "tokenizer.ggml.token_type": ggufArray("i32", types),
    "tokenizer.ggml.scores": ggufArray(
      "f32",
      tokens.map((_, at) => -((at * 7919) % 101)),
    ),
    "tokenizer.ggml.add_space_prefix": { type: "bool", value: addsSpace },
  };
}

function unigram(collapses: boolean): Metadata {
  const words = (texts.join(" ").match(/[^ ]+/g) ?? []).map((word) => `\u2581${word}`);
  const tokens = ["<pad>", "</s>", "<unk>", ...new Set([...chains(words).pieces, "\u2581", ..."abcdehlnorst\n"])];
  return {
    "tokenizer.ggml.model": text("t5"),
    "tokenizer.ggml.tokens": ggufArray("string", tokens),
    "tokenizer.ggml.token_type": ggufArray(
      "i32",
      tokens.map((_, at) => (at === 2 ? UNKNOWN : at < 3 ? CONTROL : NORMAL)),
    ),
    "tokenizer.ggml.scores": ggufArray(
      "f32",
      tokens.map((token, at) => -8 / token.length - at / 64),
    ),
    "tokenizer.ggml.add_space_prefix": { type: "bool", value: true },
    "tokenizer.ggml.remove_extra_whitespaces": { type: "bool", value: collapses },
  };
}

function wordPiece(): Metadata {
  const words =
    texts
      .join(" ")
      .toLowerCase()
      .match(/[\p{L}\p{N}]+|[^\s\p{L}\p{N}]/gu) ?? [];
  const start = (word: string, length: number): string => `\u2581${Array.from(word).slice(0, length).join("")}`;
  const starts = words.flatMap((word) => [start(word, 3), start(word, 1)]);
  const special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
  const tokens = [...special, ...new Set([...starts, ..."abcdefghijklmnopqrstuvwxyz", "ing", "er"])];
  return {
    "tokenizer.ggml.model": text("bert"),
    "tokenizer.ggml.tokens": ggufArray("string", tokens),
    "tokenizer.ggml.token_type": ggufArray(
      "i32",
      tokens.map((_, at) => (at < 5 ? CONTROL : NORMAL)),
    ),
    "tokenizer.ggml.padding_token_id": id(0),
    "tokenizer.ggml.unknown_token_id": id(1),
    "tokenizer.ggml.bos_token_id": id(2),
    "tokenizer.ggml.seperator_token_id": id(3),
    "tokenizer.ggml.mask_token_id": id(4),
  };
}

function rwkv(): Metadata {
  const bytes = alphabet.map((_, byte) => `\\x${byte.toString(16).padStart(2, "0")}`);
  const words = (texts.join(" ").match(/ ?\w{2,}/g) ?? []).map((word) => word.slice(0, 5));
  const tokens = ["<s>", ...bytes, ...new Set([...words, "\\n\\n", "\\r\\n", "日", "\\xe6\\x9c"])];
  return {
    "tokenizer.ggml.model": text("rwkv"),
    "tokenizer.ggml.tokens": ggufArray("string", tokens),
    "tokenizer.ggml.token_type": ggufArray(
      "i32",
      tokens.map((_, at) => (at === 0 ? CONTROL : NORMAL)),
    ),
  };
}

const PRE =
  "default gpt-2 llama-bpe qwen2 qwen35 deepseek-llm deepseek-coder deepseek-v3 falcon smollm bloom viking".split(" ");

const kinds: Readonly<Record<string, Metadata>> = {
  ...Object.fromEntries([...PRE, "minicpm5", "seed-coder", "bailingmoe", "dbrx"].map((pre) => [pre, byteLevel(pre)])),
  "SentencePiece with a space": sentencePiece(true),
  "SentencePiece without": sentencePiece(false),
  "unigram, spaces collapsed": unigram(true),
  "unigram, spaces kept": unigram(false),
  WordPiece: wordPiece(),
  RWKV: rwkv(),
};

const parity = join(import.meta.dirname, "../../../shared/data/parity");
const references = existsSync(parity) ? readdirSync(parity).filter((name) => name.endsWith(".gguf")) : [];

function open(source: GgufSource): Tokenizer {
  return tokenizerFromGguf((key) => {
    const entry = source.metadata.get(key);
    return entry?.type === "array" ? entry.values() : entry?.value;
  });
}

describe("tokenizers beside llama.cpp's", { concurrency: false }, () => {
  let llama: Llama | undefined;
  before(async () => {
    // `undefined` where node-llama-cpp has no binary for this system.
    llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.disabled }).catch(() => undefined);
  });
  after(() => llama?.dispose());

  const compare = async (path: string, name: string): Promise<void> => {
    assert.ok(llama !== undefined);
    await using peer = await llama.loadModel({ modelPath: path, vocabOnly: true });
    using opened = openGguf(path);
    const tokenizer = open(opened.source);
    // In these patterns llama.cpp takes white space beyond ASCII for a vertical tab, which their ranges do not have.
    const isTold = (text: string): boolean =>
      !(/deepseek-(llm|coder)/.test(name) && text.includes("\u3000")) &&
      !(name.includes("spaces kept") && text === " ");
    for (const text of texts.filter(isTold)) {
      const expected = peer.tokenize(text);
      assert.deepEqual(Array.from(tokenizer.encode(text)), Array.from(expected), `${name}: ${JSON.stringify(text)}`);
    }
    const turn = "<|im_start|>user\nHi<|im_end|><s>x</s>[INST] y[CLS]z";
    const expected = peer.tokenize(turn, true);
    assert.deepEqual(Array.from(tokenizer.encode(turn, { specials: true })), Array.from(expected), `${name}: specials`);
  };

  for (const [name, metadata] of Object.entries(kinds)) {
    test(name, async (context) => {
      if (llama === undefined) return context.skip("node-llama-cpp has no binary for this system");
      const path = join(folder, `${name.replaceAll(/\W/g, "-")}.gguf`);
      const entries: readonly (readonly [string, GgufValue])[] = [
        ["general.architecture", text("llama")],
        ...["context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count"].map(
          (key) => [`llama.${key}`, id(key === "attention.head_count" ? 1 : 64)] as const,
        ),
        ["llama.attention.layer_norm_rms_epsilon", { type: "f32", value: 1e-5 }],
        ...Object.entries(metadata),
      ];
      writeGgufFile(path, { metadata: new Map(entries), tensors: [] });
      await compare(path, name);
    });
  }

  for (const name of references) {
    test(`the reference model ${name}`, async (context) => {
      if (llama === undefined) return context.skip("node-llama-cpp has no binary for this system");
      await compare(join(parity, name), name);
    });
  }
});

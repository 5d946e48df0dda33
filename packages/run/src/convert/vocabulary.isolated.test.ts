// Tokenizers that we write into GGUF files, read by llama.cpp (node-llama-cpp): it makes the tokens that the tokenizer
// makes. In a process of its own, since llama.cpp's libraries stay in it.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { writeGgufFile } from "@fidelity/formats/node";
import {
  ByteTokenizer,
  CharacterTokenizer,
  SentencePieceTokenizer,
  tokenizerFromHuggingFace,
  tokenizerToGguf,
  tokenizerToHuggingFace,
  writeVocabularyFile,
} from "@fidelity/models";
import type { MetadataEntry, Tokenizer } from "@fidelity/models";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import type { Llama } from "node-llama-cpp";
import { ggufEntry } from "./gguf-metadata.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-vocabulary-"));
after(() => rmSync(folder, { recursive: true }));

/** All within the characters of the smallest vocabulary. */
const texts = ["the cat", " the  cats\n é€😀 that", "tthheecaattés", "\n\n  ", "a"];

function pieces(): Tokenizer {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const words = [" t", "he", " the", " c", "at", " cat", "th", "the", "tt", "  ", "ca"];
  const all = ["<unk>", "\n<s>\n", "\n</s>\n", ...bytes, ...words, ...Array.from(" thecasé")];
  const score = (at: number): number => (at < 259 ? 0 : 258 - at);
  return new SentencePieceTokenizer(
    writeVocabularyFile(all.map((text, at) => ({ bytes: new TextEncoder().encode(text), score: score(at) }))),
  );
}

/** A vocabulary as Hugging Face's folders hold it. */
function listed(): Tokenizer {
  return tokenizerFromHuggingFace(tokenizerToHuggingFace(pieces()));
}

const kinds: Readonly<Record<string, Tokenizer>> = {
  bytes: new ByteTokenizer(),
  characters: CharacterTokenizer.fromTexts(texts),
  "llama2.c": pieces(),
  "tokenizer.json": listed(),
};

/** What llama.cpp asks of a file without tensors. */
const model: readonly MetadataEntry[] = [
  { key: "general.architecture", type: "string", value: "llama" },
  ...["context_length", "embedding_length", "block_count", "feed_forward_length"].map((key): MetadataEntry => {
    return { key: `llama.${key}`, type: "u32", value: 64 };
  }),
  { key: "llama.attention.head_count", type: "u32", value: 1 },
  { key: "llama.attention.layer_norm_rms_epsilon", type: "f32", value: 1e-5 },
];

describe("vocabularies that we write, in llama.cpp", { concurrency: false }, () => {
  let llama: Llama | undefined;
  before(async () => {
    // `undefined` where node-llama-cpp has no binary for this system.
    llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.disabled }).catch(() => undefined);
  });
  after(() => llama?.dispose());

  for (const [name, tokenizer] of Object.entries(kinds)) {
    test(name, async (context) => {
      if (llama === undefined) return context.skip("node-llama-cpp has no binary for this system");
      const path = join(folder, `${name}.gguf`);
      const metadata = new Map([...model, ...tokenizerToGguf(tokenizer)].map(ggufEntry));
      writeGgufFile(path, { metadata, tensors: [] });
      await using peer = await llama.loadModel({ modelPath: path, vocabOnly: true });
      for (const text of texts) {
        const expected = Array.from(tokenizer.encode(text));
        assert.deepEqual(Array.from(peer.tokenize(text)), expected, JSON.stringify(text));
        assert.equal(peer.detokenize(peer.tokenize(text)).trimStart(), text.trimStart());
      }
      assert.equal(peer.tokens.shouldPrependBosToken, tokenizer.bosToken !== undefined);
    });
  }
});

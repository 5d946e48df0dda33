// Any tokenizer as a pipeline (pipeline-spec.ts), the form that other programs' files are written from: bytes as a
// byte-level vocabulary without merges, characters as one without bytes, and llama2.c's pieces as SentencePiece's.

import { alphabet, byteName } from "./byte-text.ts";
import type { AddedToken, BpeSpec, PipelineSpec, ScoredSpec } from "./pipeline-spec.ts";
import { readVocabularyFile } from "./vocabulary-file.ts";
import type { VocabularyPiece } from "./vocabulary-file.ts";
import { VocabularyError } from "./tokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

const nothingAround = { added: [], special: {}, before: [], after: [], stop: [] };
const noMerges = { kind: "bpe", merges: [], byteFallback: false, fuseUnknown: false, wholeWords: false } as const;

/** The tokenizer as a pipeline. Throws `VocabularyError` where llama2.c's pieces are no text. */
export function pipelineSpecOf(tokenizer: Tokenizer): PipelineSpec {
  const spec = tokenizer.toJSON();
  switch (spec.kind) {
    case "byte":
      return byteSpec();
    case "character":
      return characterSpec(Array.from(spec.characters));
    case "sentencepiece":
      return sentencePieceSpec(readVocabularyFile(Uint8Array.fromBase64(spec.file), "the tokenizer"));
    default:
      return spec;
  }
}

function byteSpec(): BpeSpec {
  const stages = { normalizer: [], words: [{ type: "bytes" }], decoder: { type: "bytes" } } as const;
  return { ...noMerges, ...nothingAround, ...stages, tokens: alphabet, endOfWord: "" };
}

/** A vocabulary of single characters. */
export function characterSpec(tokens: readonly string[]): BpeSpec {
  const decoder = { type: "pieces", replace: [], byteFallback: false, stripSpaces: 0 } as const;
  return { ...noMerges, ...nothingAround, tokens, normalizer: [], words: [], decoder, endOfWord: "" };
}

function sentencePieceSpec(pieces: readonly VocabularyPiece[]): ScoredSpec {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const names = ["<unk>", "<s>", "</s>"]; // the file has them between line breaks
  const tokens = pieces.map(({ bytes }, token) => {
    try {
      return names[token] ?? decoder.decode(bytes).replaceAll(" ", "\u2581");
    } catch (cause) {
      throw new VocabularyError("a piece of the vocabulary is no text", {
        where: `token ${token}`,
        expected: "UTF-8",
        got: Array.from(bytes.subarray(0, 8), byteName).join(" "),
        cause,
      });
    }
  });
  return {
    kind: "scored-bpe",
    tokens,
    scores: pieces.map(({ score }) => score),
    byteFallback: true,
    added: names.map((text, token) => specialToken(text, token)),
    normalizer: [
      { type: "prepend", text: " " },
      { type: "replace", pattern: " ", literal: true, text: "\u2581" },
    ],
    words: [],
    decoder: { type: "pieces", replace: [["\u2581", " "]], byteFallback: true, stripSpaces: 1 },
    special: { bos: 1, eos: 2, unk: 0 },
    before: [1],
    after: [],
    stop: [1, 2],
  };
}

function specialToken(text: string, token: number): AddedToken {
  const plain = { normalized: false, stripLeft: false, stripRight: false, wholeWord: false };
  return { token, text, special: true, ...plain };
}

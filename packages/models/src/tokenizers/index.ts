// Tokenizers: the one interface, its kinds, where they come from, and the way back from what a model file keeps.

import { ByteTokenizer } from "./byte.ts";
import { CharacterTokenizer } from "./character.ts";
import { PipelineTokenizer } from "./pipeline.ts";
import { PIPELINE_KINDS, readPipelineSpec } from "./pipeline-spec.ts";
import { SentencePieceTokenizer } from "./sentencepiece.ts";
import { VocabularyError } from "./tokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

export { ByteTokenizer } from "./byte.ts";
export { CharacterTokenizer } from "./character.ts";
export { SentencePieceTokenizer } from "./sentencepiece.ts";
export { PipelineTokenizer } from "./pipeline.ts";
export { tokenizersDiffer } from "./compare.ts";
export { tokenizerFromGguf } from "./gguf.ts";
export type { GgufLookup } from "./gguf.ts";
export { GGUF_WORD_NAMES } from "./gguf-words.ts";
export { tokenizerToGguf } from "./gguf-writing.ts";
export { tokenizerFromHuggingFace } from "./huggingface.ts";
export type { HuggingFaceFiles } from "./huggingface.ts";
export { tokenizerToHuggingFace } from "./huggingface-writing.ts";
export type { HuggingFaceTokenizer } from "./huggingface-writing.ts";
export type { PipelineSpec } from "./pipeline-spec.ts";
export {
  PatternError,
  TokenizerError,
  UnknownCharacterError,
  UnknownTokenError,
  VocabularyError,
} from "./tokenizer.ts";
export type {
  DecodeOptions,
  EncodeOptions,
  SpecialTokens,
  Tokenizer,
  TokenizerSpec,
  TokenStream,
} from "./tokenizer.ts";
export { writeVocabularyFile } from "./vocabulary-file.ts";
export type { VocabularyPiece } from "./vocabulary-file.ts";

/** The tokenizer that `toJSON` described. Throws `VocabularyError` for anything else: the value comes from a file. */
export function tokenizerFromJSON(spec: unknown): Tokenizer {
  if (typeof spec === "object" && spec !== null && "kind" in spec) {
    if (spec.kind === "byte") return new ByteTokenizer();
    if (spec.kind === "character" && "characters" in spec && typeof spec.characters === "string") {
      return new CharacterTokenizer(spec.characters);
    }
    if (spec.kind === "sentencepiece" && "file" in spec && typeof spec.file === "string") {
      return new SentencePieceTokenizer(bytesFromBase64(spec.file), "the tokenizer inside the model file");
    }
    if (PIPELINE_KINDS.some((kind) => kind === spec.kind)) return new PipelineTokenizer(readPipelineSpec(spec));
  }
  throw new VocabularyError("the model file describes a tokenizer that this version does not know", {
    expected: `an object of kind byte, character, sentencepiece, ${PIPELINE_KINDS.join(", ")}`,
    got: (JSON.stringify(spec) ?? "nothing").slice(0, 120),
    hint: "the file may be damaged or written by a newer version",
  });
}

function bytesFromBase64(text: string): Uint8Array {
  try {
    return Uint8Array.fromBase64(text);
  } catch (cause) {
    throw new VocabularyError("the tokenizer inside the model file is not valid base64", {
      got: `${text.length} characters starting with ${JSON.stringify(text.slice(0, 16))}`,
      cause,
    });
  }
}

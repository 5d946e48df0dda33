// Tokenizers: the one interface, its three kinds, and the way back from what a model file keeps.

import { ByteTokenizer } from "./byte.ts";
import { CharacterTokenizer } from "./character.ts";
import { SentencePieceTokenizer } from "./sentencepiece.ts";
import { VocabularyError } from "./tokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

export { ByteTokenizer } from "./byte.ts";
export { CharacterTokenizer } from "./character.ts";
export { SentencePieceTokenizer } from "./sentencepiece.ts";
export { TokenizerError, UnknownCharacterError, UnknownTokenError, VocabularyError } from "./tokenizer.ts";
export type { Tokenizer, TokenizerSpec, TokenStream } from "./tokenizer.ts";
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
  }
  throw new VocabularyError("the model file describes a tokenizer that this version does not know", {
    expected: 'an object of kind "byte", "character" with its characters, or "sentencepiece" with its file',
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

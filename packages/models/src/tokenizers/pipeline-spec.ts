// A tokenizer of the kind that language models have, as plain JSON: the one form that GGUF metadata and Hugging Face's
// tokenizer.json are both turned into, and that model files of ours keep. It has the stages of tokenizer.json
// (huggingface/tokenizers), reduced to fewer kinds: added tokens are cut out of the text, the rest is normalised, cut
// into words, and each word is spelled with the vocabulary.

import { Fields } from "./fields.ts";
import { VocabularyError } from "./tokenizer.ts";
import type { SpecialTokens } from "./tokenizer.ts";

/** A token that is found in the text before anything else is done to it. */
export interface AddedToken {
  readonly token: number;
  readonly text: string;
  /** Found only where `encode` is told that the text may hold special tokens, and left out by `decode`. */
  readonly special: boolean;
  /** Looked for after normalisation instead of before. */
  readonly normalized: boolean;
  /** Takes the white space before it, or after it, along. */
  readonly stripLeft: boolean;
  readonly stripRight: boolean;
  /** Only where no letter or digit touches it. */
  readonly wholeWord: boolean;
}

export type NormalizerStep =
  | { readonly type: "nfc" | "nfd" | "nfkc" | "nfkd" | "lowercase" | "strip-accents" | "bytes" }
  | { readonly type: "strip"; readonly left: boolean; readonly right: boolean }
  | { readonly type: "prepend"; readonly text: string }
  | { readonly type: "replace"; readonly pattern: string; readonly literal: boolean; readonly text: string }
  | {
      readonly type: "bert";
      readonly clean: boolean;
      readonly chinese: boolean;
      readonly accents: boolean;
      readonly lowercase: boolean;
    }
  /** SentencePiece's table of replacements, in base64. */
  | { readonly type: "charsmap"; readonly data: string };

export const BEHAVIORS = ["removed", "isolated", "previous", "next", "contiguous"] as const;
export type SplitBehavior = (typeof BEHAVIORS)[number];

export type WordStep =
  | {
      readonly type: "split";
      readonly pattern: string;
      readonly literal: boolean;
      readonly behavior: SplitBehavior;
      readonly invert: boolean;
    }
  | { readonly type: "prefix-space" | "bytes" }
  | {
      readonly type: "metaspace";
      readonly replacement: string;
      readonly prepend: "always" | "first" | "never";
      readonly split: boolean;
    }
  | { readonly type: "fixed-length"; readonly length: number };

export type DecoderSpec =
  /** Characters stand for bytes, as GPT-2 writes them. */
  | { readonly type: "bytes" }
  /** Escapes such as \xff and \n stand for bytes, as RWKV writes them. */
  | { readonly type: "escaped" }
  /**
   * Texts, with pairs of replacements, tokens such as <0xFF> for bytes, and spaces that the text loses at its start.
   */
  | {
      readonly type: "pieces";
      readonly replace: readonly (readonly [from: string, to: string])[];
      readonly byteFallback: boolean;
      readonly stripSpaces: number;
    }
  /** Words, with a prefix for those that continue one. */
  | { readonly type: "wordpiece"; readonly prefix: string; readonly cleanup: boolean }
  /** Words and pieces of words, with a suffix for those that end one. */
  | { readonly type: "suffix"; readonly suffix: string };

interface Common {
  /** The text of every token; null for a number that no token has. */
  readonly tokens: readonly (string | null)[];
  readonly added: readonly AddedToken[];
  readonly normalizer: readonly NormalizerStep[];
  readonly words: readonly WordStep[];
  readonly decoder: DecoderSpec;
  readonly special: SpecialTokens;
  /** What a whole text begins and ends with. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** What ends a generated text. */
  readonly stop: readonly number[];
}

export interface BpeSpec extends Common {
  readonly kind: "bpe";
  /** Left and right of each merge in turn, the first merge first. */
  readonly merges: readonly string[];
  /** A character without token becomes the tokens of its bytes. */
  readonly byteFallback: boolean;
  /** Several unknown characters become one unknown token. */
  readonly fuseUnknown: boolean;
  /** A word that is a token becomes that token whatever the merges say. */
  readonly wholeWords: boolean;
  /** What the last character of a word is written with. */
  readonly endOfWord: string;
}

export interface ScoredSpec extends Common {
  /** Merges of the highest score first, or the sum of scores that is highest. */
  readonly kind: "scored-bpe" | "unigram";
  readonly scores: readonly number[];
  readonly byteFallback: boolean;
}

export interface WordPieceSpec extends Common {
  readonly kind: "wordpiece";
  /** Written before a word, and before its second and further pieces, when they are looked up. */
  readonly wordPrefix: string;
  readonly continuingPrefix: string;
  /** Words of more characters are unknown; 0 where there is no limit. */
  readonly wordLength: number;
}

export interface RwkvSpec extends Common {
  readonly kind: "rwkv";
}

export type PipelineSpec = BpeSpec | ScoredSpec | WordPieceSpec | RwkvSpec;

export const PIPELINE_KINDS = ["bpe", "scored-bpe", "unigram", "wordpiece", "rwkv"] as const;

/** What a vocabulary may be; the largest published ones have some 262,000 tokens of up to 512 characters. */
export const VOCABULARY_LIMITS = { tokens: 1 << 22, tokenLength: 4096, merges: 1 << 23, steps: 64, added: 1 << 17 };

/** A description that came from a file. Throws `VocabularyError`. */
export function readPipelineSpec(value: unknown): PipelineSpec {
  const fields = new Fields(value, "the tokenizer");
  const kind = fields.oneOf("kind", PIPELINE_KINDS);
  const common = readCommon(fields);
  const length = common.tokens.length;
  switch (kind) {
    case "bpe": {
      const merges = fields.texts("merges");
      if (merges.length % 2 !== 0 || merges.length > 2 * VOCABULARY_LIMITS.merges) {
        fields.refuse("merges", `pairs of texts, up to ${VOCABULARY_LIMITS.merges}`);
      }
      const byteFallback = fields.flag("byteFallback");
      const options = { byteFallback, fuseUnknown: fields.flag("fuseUnknown"), wholeWords: fields.flag("wholeWords") };
      return { kind, ...common, merges, ...options, endOfWord: fields.text("endOfWord") };
    }
    case "scored-bpe":
    case "unigram": {
      const scores = fields.numbers("scores");
      if (scores.length !== length) fields.refuse("scores", `${length} numbers, one for each token`);
      return { kind, ...common, scores, byteFallback: fields.flag("byteFallback") };
    }
    case "wordpiece": {
      const wordPrefix = fields.text("wordPrefix");
      const continuingPrefix = fields.text("continuingPrefix");
      return { kind, ...common, wordPrefix, continuingPrefix, wordLength: fields.integer("wordLength", 0, 1 << 20) };
    }
    case "rwkv":
      return { kind, ...common };
  }
}

function readCommon(fields: Fields): Common {
  const tokens = readTokens(fields);
  const last = tokens.length - 1;
  const ids = (key: string): readonly number[] => {
    const list = fields.numbers(key);
    const isRight = list.length <= 1024 && list.every((id) => Number.isInteger(id) && id >= 0 && id <= last);
    return isRight ? list : fields.refuse(key, `up to 1024 integers from 0 to ${last}`);
  };
  const special = fields.fields("special");
  const specialTokens: Record<string, number> = {};
  for (const name of ["bos", "eos", "eot", "unk", "pad", "sep", "mask"] satisfies (keyof SpecialTokens)[]) {
    const token = special.optionalInteger(name, 0, last);
    if (token !== undefined) specialTokens[name] = token;
  }
  return {
    tokens,
    added: limited(fields, "added", VOCABULARY_LIMITS.added).map((added) => readAdded(added, last)),
    normalizer: limited(fields, "normalizer", VOCABULARY_LIMITS.steps).map(readNormalizerStep),
    words: limited(fields, "words", VOCABULARY_LIMITS.steps).map(readWordStep),
    decoder: readDecoder(fields.fields("decoder")),
    special: specialTokens,
    before: ids("before"),
    after: ids("after"),
    stop: ids("stop"),
  };
}

function limited(fields: Fields, key: string, most: number): readonly Fields[] {
  if (fields.list(key).length > most) fields.refuse(key, `at most ${most} entries`);
  return fields.each(key);
}

function readTokens(fields: Fields): readonly (string | null)[] {
  const list = fields.list("tokens");
  if (list.length === 0 || list.length > VOCABULARY_LIMITS.tokens) {
    fields.refuse("tokens", `1 to ${VOCABULARY_LIMITS.tokens} tokens`);
  }
  return list.map((text, token) => {
    if (text === null) return null;
    if (typeof text === "string" && text.length <= VOCABULARY_LIMITS.tokenLength) return text;
    throw new VocabularyError(`token ${token} of the vocabulary is unusable`, {
      where: `${fields.where}.tokens[${token}]`,
      expected: `a text of at most ${VOCABULARY_LIMITS.tokenLength} characters`,
      got: typeof text === "string" ? `${text.length} characters` : typeof text,
    });
  });
}

function readAdded(fields: Fields, last: number): AddedToken {
  const text = fields.text("text");
  if (text === "" || text.length > VOCABULARY_LIMITS.tokenLength) fields.refuse("text", "a text of sensible length");
  return {
    token: fields.integer("token", 0, last),
    text,
    special: fields.flag("special"),
    normalized: fields.flag("normalized"),
    stripLeft: fields.flag("stripLeft"),
    stripRight: fields.flag("stripRight"),
    wholeWord: fields.flag("wholeWord"),
  };
}

const NORMALIZERS = ["nfc", "nfd", "nfkc", "nfkd", "lowercase", "strip-accents", "bytes"] as const;

function readNormalizerStep(fields: Fields): NormalizerStep {
  const type = fields.oneOf("type", [...NORMALIZERS, "strip", "prepend", "replace", "bert", "charsmap"] as const);
  switch (type) {
    case "strip":
      return { type, left: fields.flag("left"), right: fields.flag("right") };
    case "prepend":
      return { type, text: shortText(fields, "text") };
    case "replace": {
      const pattern = shortText(fields, "pattern");
      return { type, pattern, literal: fields.flag("literal"), text: shortText(fields, "text") };
    }
    case "bert": {
      const [clean, chinese] = [fields.flag("clean"), fields.flag("chinese")];
      return { type, clean, chinese, accents: fields.flag("accents"), lowercase: fields.flag("lowercase") };
    }
    case "charsmap":
      return { type, data: fields.text("data") };
    default:
      return { type };
  }
}

/** Texts that are put into other texts are short, so that no step makes a text enormous. */
function shortText(fields: Fields, key: string): string {
  const text = fields.text(key);
  return text.length <= (key === "pattern" ? 8192 : 32) ? text : fields.refuse(key, "a short text");
}

function readWordStep(fields: Fields): WordStep {
  const type = fields.oneOf("type", ["split", "prefix-space", "bytes", "metaspace", "fixed-length"]);
  switch (type) {
    case "split": {
      const pattern = shortText(fields, "pattern");
      const literal = fields.flag("literal");
      return { type, pattern, literal, behavior: fields.oneOf("behavior", BEHAVIORS), invert: fields.flag("invert") };
    }
    case "metaspace": {
      const replacement = shortText(fields, "replacement");
      const prepend = fields.oneOf("prepend", ["always", "first", "never"]);
      return { type, replacement, prepend, split: fields.flag("split") };
    }
    case "fixed-length":
      return { type, length: fields.integer("length", 1, VOCABULARY_LIMITS.tokenLength) };
    default:
      return { type };
  }
}

function readDecoder(fields: Fields): DecoderSpec {
  const type = fields.oneOf("type", ["bytes", "escaped", "pieces", "wordpiece", "suffix"]);
  switch (type) {
    case "pieces": {
      const pairs = fields.list("replace");
      const isPair = (pair: unknown): pair is readonly [string, string] =>
        Array.isArray(pair) && pair.length === 2 && pair.every((text) => typeof text === "string" && text.length <= 32);
      const replace = pairs.length <= VOCABULARY_LIMITS.steps && pairs.every(isPair) ? pairs : undefined;
      if (replace === undefined) return fields.refuse("replace", "pairs of short texts");
      const stripSpaces = fields.integer("stripSpaces", 0, 32);
      return { type, replace, byteFallback: fields.flag("byteFallback"), stripSpaces };
    }
    case "wordpiece":
      return { type, prefix: shortText(fields, "prefix"), cleanup: fields.flag("cleanup") };
    case "suffix":
      return { type, suffix: shortText(fields, "suffix") };
    default:
      return { type };
  }
}

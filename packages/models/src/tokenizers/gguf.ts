// Tokenizers from the metadata of GGUF files (docs/gguf.md of ggml-org/ggml, and llama-vocab.cpp of
// ggml-org/llama.cpp for what the document leaves open): SentencePiece's merges ("llama"), byte-level merges ("gpt2",
// "gemma4"), WordPiece ("bert"), unigram ("t5") and RWKV's ("rwkv").
//
// Leaves out: "plamo2", "hybriddna" and "whitespace"; token attributes that llama.cpp sets by a model's name, but for
// Phi 3.

import { endsText, endsTurn, stopTokens } from "./end-tokens.ts";
import { wordRules, wordSteps } from "./gguf-words.ts";
import { PipelineTokenizer } from "./pipeline.ts";
import { readPipelineSpec, VOCABULARY_LIMITS } from "./pipeline-spec.ts";
import type { AddedToken, NormalizerStep } from "./pipeline-spec.ts";
import { VocabularyError } from "./tokenizer.ts";
import type { SpecialTokens, Tokenizer } from "./tokenizer.ts";

/** The value of a key of the metadata, arrays as arrays or typed arrays; undefined where there is none. */
export type GgufLookup = (key: string) => unknown;

const TOKEN_TYPE = { normal: 1, unknown: 2, control: 3, userDefined: 4, byte: 6 } as const;

const KINDS = ["llama", "gpt2", "gemma4", "bert", "t5", "rwkv"] as const;
type Kind = (typeof KINDS)[number];

/** What the tokens of a kind are where the file does not say, as llama.cpp assumes. */
const DEFAULTS: Readonly<Record<Kind, SpecialTokens>> = {
  llama: { bos: 1, eos: 2, unk: 0 },
  gpt2: {},
  gemma4: {},
  bert: { bos: 101, unk: 100, sep: 102, pad: 0, mask: 103 },
  t5: { eos: 1, unk: 2, pad: 0 },
  rwkv: {},
};

const SPECIAL_KEYS: Readonly<Record<keyof SpecialTokens, readonly string[]>> = {
  bos: ["bos_token_id", "cls_token_id"],
  eos: ["eos_token_id"],
  eot: ["eot_token_id"],
  unk: ["unknown_token_id"],
  pad: ["padding_token_id"],
  sep: ["seperator_token_id", "separator_token_id"], // the first is how the format spells it
  mask: ["mask_token_id"],
};

/**
 * The tokenizer that a GGUF file describes.
 *
 * @param lookup the value of a key of the file's metadata, such as `tokenizer.ggml.tokens`
 * Throws `VocabularyError` for a kind that is not known and for a vocabulary that is damaged.
 */
export function tokenizerFromGguf(lookup: GgufLookup): Tokenizer {
  const metadata = new Metadata(lookup);
  const kind = metadata.kind();
  const tokens = metadata.texts("tokens");
  if (tokens === undefined) throw metadata.refusal("tokens", "a list of texts", undefined);
  const types = metadata.numbers("token_type", tokens.length);
  const special = specialTokens(metadata, kind, tokens);
  const added = addedTokens(metadata, tokens, types);
  const common = {
    tokens,
    added,
    special,
    stop: stopTokens([special.eos, special.eot, metadata.token("eom_token_id", tokens.length)], added),
  };
  return new PipelineTokenizer(readPipelineSpec({ ...common, ...kindSpec(metadata, kind, tokens, special) }));
}

/** What differs from kind to kind. */
function kindSpec(
  metadata: Metadata,
  kind: Kind,
  tokens: readonly string[],
  special: SpecialTokens,
): Readonly<Record<string, unknown>> {
  const ends = (addsBos: boolean, addsEos: boolean): object => ({
    before: metadata.flag("add_bos_token", addsBos) && special.bos !== undefined ? [special.bos] : [],
    after: metadata.flag("add_eos_token", addsEos) && special.eos !== undefined ? [special.eos] : [],
  });
  const scores = (): readonly number[] => metadata.numbers("scores", tokens.length) ?? tokens.map(() => 0);
  const pieces = (stripSpaces: number): object => {
    return { type: "pieces", replace: [["\u2581", " "]], byteFallback: true, stripSpaces };
  };
  switch (kind) {
    case "llama": {
      const prefixes = metadata.flag("add_space_prefix", true);
      const normalizer = spaceSteps(prefixes);
      const common = { scores: scores(), byteFallback: true, normalizer, words: [] };
      return { kind: "scored-bpe", ...common, decoder: pieces(prefixes ? 1 : 0), ...ends(true, false) };
    }
    case "gemma4":
    case "gpt2": {
      const rules = wordRules(kind === "gemma4" ? kind : (metadata.text("pre") ?? "default"));
      const escapes = rules.escapesSpaces === true;
      return {
        kind: "bpe",
        merges: mergePairs(metadata),
        byteFallback: escapes,
        fuseUnknown: false,
        wholeWords: rules.wholeWords === true,
        endOfWord: "",
        normalizer: escapes ? spaceSteps(false) : [],
        words: wordSteps(rules),
        decoder: escapes ? pieces(0) : { type: "bytes" },
        ...ends(rules.addBos === true, false),
      };
    }
    case "bert": {
      const lowercase = metadata.flag("normalizer.lowercase", true);
      const accents = metadata.flag("normalizer.strip_accents", lowercase);
      return {
        kind: "wordpiece",
        wordPrefix: "\u2581",
        continuingPrefix: "",
        wordLength: 0,
        normalizer: [{ type: "bert", clean: true, chinese: true, accents, lowercase }],
        words: bertWords,
        decoder: { type: "pieces", replace: [["\u2581", " "]], byteFallback: false, stripSpaces: 1 },
        before: special.bos === undefined ? [] : [special.bos],
        after: special.sep === undefined ? [] : [special.sep],
      };
    }
    case "t5": {
      const common = { kind: "unigram", scores: scores(), byteFallback: false, words: [] };
      return { ...common, normalizer: unigramSteps(metadata), decoder: pieces(1), ...ends(false, true) };
    }
    case "rwkv":
      return { kind, normalizer: [], words: [], decoder: { type: "escaped" }, ...ends(false, false) };
  }
}

/** BERT's words: runs of what is neither space nor punctuation, and each punctuation alone. */
const bertPunctuation = "[\\p{P}!-/:-@\\[-`{-~]";
const bertWords = [
  { type: "split", pattern: "\\s+", literal: false, behavior: "removed", invert: false },
  { type: "split", pattern: bertPunctuation, literal: false, behavior: "isolated", invert: false },
];

function spaceSteps(prefixes: boolean): readonly NormalizerStep[] {
  const escape: NormalizerStep = { type: "replace", pattern: " ", literal: true, text: "\u2581" };
  return prefixes ? [{ type: "prepend", text: " " }, escape] : [escape];
}

/** SentencePiece's normalisation: its map of characters, then its treatment of spaces. */
function unigramSteps(metadata: Metadata): readonly NormalizerStep[] {
  const steps: NormalizerStep[] = [];
  const map = metadata.numbers("precompiled_charsmap");
  if (map !== undefined && map.length > 0) steps.push({ type: "charsmap", data: Uint8Array.from(map).toBase64() });
  const collapses = metadata.flag("remove_extra_whitespaces", false);
  if (collapses) {
    steps.push({ type: "replace", pattern: "\\A +| +\\z", literal: false, text: "" });
    steps.push({ type: "replace", pattern: " +", literal: false, text: " " });
  }
  return [...steps, ...spaceSteps(collapses || metadata.flag("add_space_prefix", false))];
}

function mergePairs(metadata: Metadata): readonly string[] {
  const merges = metadata.texts("merges");
  if (merges === undefined) throw metadata.refusal("merges", "a list of texts", undefined);
  if (merges.length > VOCABULARY_LIMITS.merges) {
    throw metadata.refusal("merges", `at most ${VOCABULARY_LIMITS.merges} merges`, `${merges.length}`);
  }
  const pairs: string[] = [];
  for (const merge of merges) {
    const space = merge.indexOf(" ", 1); // a piece may itself begin with a space
    if (space > 0) pairs.push(merge.slice(0, space), merge.slice(space + 1));
  }
  return pairs;
}

function specialTokens(metadata: Metadata, kind: Kind, tokens: readonly string[]): SpecialTokens {
  const special: Record<string, number> = {};
  for (const [name, keys] of Object.entries(SPECIAL_KEYS) as [keyof SpecialTokens, readonly string[]][]) {
    const assumed = DEFAULTS[kind][name];
    const given = keys.map((key) => metadata.token(key, tokens.length)).find((token) => token !== undefined);
    const token = given ?? (assumed !== undefined && assumed < tokens.length ? assumed : undefined);
    if (token !== undefined) special[name] = token;
  }
  const turnEnd = special.eot === undefined ? tokens.findIndex(endsTurn) : -1;
  return turnEnd < 0 ? special : { ...special, eot: turnEnd };
}

/** Control and unknown tokens are special; those that a user defined are cut out of every text. */
function addedTokens(
  metadata: Metadata,
  tokens: readonly string[],
  types: readonly number[] | undefined,
): AddedToken[] {
  const isPhi3 = /phi-?3/i.test(metadata.name());
  const added: AddedToken[] = [];
  for (const [token, text] of tokens.entries()) {
    const type = types?.[token] ?? TOKEN_TYPE.normal;
    const isAdded = type === TOKEN_TYPE.control || type === TOKEN_TYPE.unknown || type === TOKEN_TYPE.userDefined;
    // Files exist in which the ends of turns have the type of words, and </s> that of what a user defined.
    if (text === "" || (!isAdded && !endsTurn(text))) continue;
    const special = type !== TOKEN_TYPE.userDefined || endsText(text);
    const stripRight = isPhi3 && special && !["<unk>", "<s>", "<|endoftext|>"].includes(text);
    added.push({ token, text, special, normalized: false, stripLeft: false, stripRight, wholeWord: false });
  }
  return added;
}

/** Metadata by the part of the key after `tokenizer.ggml.`. */
class Metadata {
  readonly #lookup: GgufLookup;

  constructor(lookup: GgufLookup) {
    this.#lookup = lookup;
  }

  kind(): Kind {
    const given = this.#get("model");
    const kind = KINDS.find((name) => name === given);
    if (kind !== undefined) return kind;
    throw this.refusal("model", `one of ${KINDS.join(", ")}`, String(given).slice(0, 80));
  }

  /** The model's own name; empty where the file has none. */
  name(): string {
    const name = this.#lookup("general.name");
    return typeof name === "string" ? name : "";
  }

  text(key: string): string | undefined {
    const value = this.#get(key);
    if (value === undefined || typeof value === "string") return value;
    throw this.refusal(key, "a text", typeof value);
  }

  flag(key: string, otherwise: boolean): boolean {
    const value = this.#get(key) ?? otherwise;
    if (typeof value === "boolean") return value;
    throw this.refusal(key, "true or false", typeof value);
  }

  /** A token's number; undefined where the file names none, or one that the vocabulary does not have. */
  token(key: string, count: number): number | undefined {
    const value = this.#get(key);
    if (value === undefined) return undefined;
    if (typeof value !== "number" && typeof value !== "bigint") throw this.refusal(key, "a number", typeof value);
    const token = Number(value);
    return Number.isInteger(token) && token >= 0 && token < count ? token : undefined;
  }

  texts(key: string): readonly string[] | undefined {
    const value = this.#get(key);
    if (value === undefined) return undefined;
    if (Array.isArray(value) && value.every((text) => typeof text === "string")) return value;
    throw this.refusal(key, "a list of texts", typeof value);
  }

  /** Numbers, of which there may be more than `count`: the rest is cut off. */
  numbers(key: string, count?: number): readonly number[] | undefined {
    const value = this.#get(key);
    if (value === undefined) return undefined;
    const isList = Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
    if (!isList) throw this.refusal(key, "a list of numbers", typeof value);
    const numbers = Array.from(value as ArrayLike<unknown>, Number);
    if (count !== undefined && numbers.length < count) {
      throw this.refusal(key, `${count} numbers, one for each token`, `${numbers.length}`);
    }
    return count === undefined ? numbers : numbers.slice(0, count);
  }

  refusal(key: string, expected: string, got: string | undefined): VocabularyError {
    return new VocabularyError("the tokenizer of the GGUF file cannot be used", {
      where: `tokenizer.ggml.${key}`,
      expected,
      got: got ?? "nothing",
      hint: "give the tokenizer as a file of its own (tokenizer.json or tokenizer.bin) if you have one",
    });
  }

  #get(key: string): unknown {
    return this.#lookup(`tokenizer.ggml.${key}`) ?? undefined;
  }
}

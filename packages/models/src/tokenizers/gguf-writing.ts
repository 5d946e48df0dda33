// Tokenizers as metadata of GGUF files, the way back of gguf.ts: the kinds and keys that llama.cpp knows. What GGUF
// has no words for, such as Unicode's normal forms, is left out; `tokenizersDiffer` tells whether that matters.

import type { MetadataEntry } from "../names/naming.ts";
import { namedByte, toByteText } from "./byte-text.ts";
import { stopTokens } from "./end-tokens.ts";
import { GGUF_WORD_NAMES, wordRules, wordSteps } from "./gguf-words.ts";
import { scoresOfMerges } from "./merges-and-scores.ts";
import type { BpeSpec, PipelineSpec, WordPieceSpec, WordStep } from "./pipeline-spec.ts";
import { pipelineSpecOf } from "./plain-spec.ts";
import { VocabularyError } from "./tokenizer.ts";
import type { SpecialTokens, Tokenizer } from "./tokenizer.ts";

const SPECIAL_KEYS = {
  bos: "bos",
  eos: "eos",
  eot: "eot",
  unk: "unknown",
  pad: "padding",
  sep: "seperator", // as the format spells it
  mask: "mask",
} as const satisfies Readonly<Record<keyof SpecialTokens, string>>;

const TOKEN_TYPE = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** The entries `tokenizer.ggml.*`. Throws `VocabularyError` for a tokenizer that GGUF has no kind for. */
export function tokenizerToGguf(tokenizer: Tokenizer): MetadataEntry[] {
  const spec = ggufSpec(pipelineSpecOf(tokenizer));
  const { special, before, after } = spec;
  const entries = [
    ...kindEntries(spec),
    list("tokens", "string", tokenTexts(spec)),
    list("token_type", "i32", tokenTypes(spec)),
  ];
  for (const [name, key] of Object.entries(SPECIAL_KEYS) as [keyof SpecialTokens, string][]) {
    const token = special[name];
    if (token !== undefined) entries.push(entry(`${key}_token_id`, "u32", token));
  }
  entries.push(...endEntries(spec));
  if (spec.kind === "wordpiece") return entries;
  const [bos, eos] = [special.bos, special.eos];
  entries.push(entry("add_bos_token", "bool", bos !== undefined && before.includes(bos)));
  return [...entries, entry("add_eos_token", "bool", eos !== undefined && after.includes(eos))];
}

function entry(key: string, type: MetadataEntry["type"], value: MetadataEntry["value"]): MetadataEntry {
  return { key: `tokenizer.ggml.${key}`, type, value };
}

function list(key: string, type: MetadataEntry["type"], value: readonly string[] | readonly number[]): MetadataEntry {
  return entry(key, type, value);
}

/** Without merges, and with those of single characters, it does not matter how words are cut: GPT-2's way is known. */
const anyWords = wordSteps(wordRules("gpt-2"));

/** A vocabulary of single characters as a byte-level one, whose merges make the characters of several bytes. */
function ggufSpec(spec: PipelineSpec): PipelineSpec {
  const { tokens, words, normalizer } = spec;
  if (spec.kind !== "bpe" || spec.merges.length > 0 || normalizer.length > 0) return spec;
  if (words.length === 1 && words[0].type === "bytes") return { ...spec, words: anyWords };
  if (words.length > 0 || !tokens.every((text) => text !== null && Array.from(text).length === 1)) return spec;
  const texts = tokens.map((text) => toByteText(text!));
  const merges = new Set<string>();
  for (const text of texts) {
    for (let at = 1; at < text.length; at++) merges.add(`${text.slice(0, at)} ${text[at]}`);
  }
  const pairs = [...merges].flatMap((merge) => merge.split(" "));
  return { ...spec, tokens: texts, merges: pairs, words: anyWords, decoder: { type: "bytes" } };
}

function kindEntries(spec: PipelineSpec): MetadataEntry[] {
  switch (spec.kind) {
    case "bpe":
      return bpeEntries(spec);
    case "scored-bpe":
      return [
        entry("model", "string", "llama"),
        list("scores", "f32", spec.scores),
        entry("add_space_prefix", "bool", addsSpace(spec)),
      ];
    case "unigram": {
      const map = spec.normalizer.find((step) => step.type === "charsmap");
      const collapses = spec.normalizer.some(
        (step) => step.type === "replace" && !step.literal && /^ (\{2,\}|\+)$/.test(step.pattern),
      );
      const bytes = map === undefined ? [] : [...Uint8Array.fromBase64(map.data)];
      return [
        entry("model", "string", "t5"),
        list("scores", "f32", spec.scores),
        entry("add_space_prefix", "bool", addsSpace(spec)),
        entry("remove_extra_whitespaces", "bool", collapses),
        ...(bytes.length === 0 ? [] : [list("precompiled_charsmap", "u8", bytes)]),
      ];
    }
    case "wordpiece": {
      const bert = spec.normalizer.find((step) => step.type === "bert");
      return [
        entry("model", "string", "bert"),
        entry("normalizer.lowercase", "bool", bert?.lowercase ?? false),
        entry("normalizer.strip_accents", "bool", bert?.accents ?? false),
        ...(spec.special.bos === undefined ? [] : [entry("cls_token_id", "u32", spec.special.bos)]),
      ];
    }
    case "rwkv":
      return [entry("model", "string", "rwkv")];
  }
}

function bpeEntries(spec: BpeSpec): MetadataEntry[] {
  const merges: string[] = [];
  for (let at = 0; at < spec.merges.length; at += 2) merges.push(`${spec.merges[at]} ${spec.merges[at + 1]}`);
  const mergeList = list("merges", "string", merges);
  if (spec.decoder.type === "bytes") {
    return [entry("model", "string", "gpt2"), entry("pre", "string", wordName(spec)), mergeList];
  }
  if (sameSteps(spec.words, wordSteps(wordRules("gemma4"))) && spec.wholeWords) {
    return [entry("model", "string", "gemma4"), mergeList];
  }
  // Llama 2's files and their likes: SentencePiece's merges by score, turned into a list.
  const hasSpaces = spec.tokens.some((text) => text?.includes("\u2581"));
  if (spec.decoder.type !== "pieces" || !spec.byteFallback || !hasSpaces) throw refusal(spec, "its way to spell words");
  return [
    entry("model", "string", "llama"),
    list("scores", "f32", scoresOfMerges(spec)),
    entry("add_space_prefix", "bool", addsSpace(spec)),
  ];
}

/** The name that llama.cpp has for how the vocabulary cuts words. */
function wordName(spec: BpeSpec): string {
  if (spec.words.at(-1)?.type !== "bytes") throw refusal(spec, "its way to cut words");
  const words = spec.words.filter(({ type }) => type !== "prefix-space");
  const found = GGUF_WORD_NAMES.find((name) => {
    const rules = wordRules(name);
    return (rules.wholeWords === true) === spec.wholeWords && sameSteps(words, wordSteps(rules));
  });
  if (found === undefined) throw refusal(spec, "its way to cut words");
  return found;
}

function sameSteps(a: readonly WordStep[], b: readonly WordStep[]): boolean {
  return JSON.stringify(a.map(plainStep)) === JSON.stringify(b.map(plainStep));
}

/** Keeping the matches of a pattern that matches everything, or cutting before and after each, is the same. */
function plainStep(step: WordStep): unknown {
  if (step.type !== "split") return step;
  const { type, pattern, literal, behavior, invert } = step;
  const isIsolated = behavior === "isolated" || (behavior === "removed" && invert);
  return [type, pattern, literal, isIsolated ? "isolated" : behavior, isIsolated ? false : invert];
}

function refusal(spec: PipelineSpec, what: string): VocabularyError {
  const { words, kind } = spec;
  return new VocabularyError(`GGUF has no name for the tokenizer's kind: ${what}`, {
    expected: "SentencePiece, byte-level merges as a published model has them, WordPiece, unigram or RWKV",
    got: `${kind}, ${JSON.stringify(words).slice(0, 200)}`,
    hint: "write safetensors or Fidelity's own format, which keep it",
  });
}

function addsSpace({ normalizer, words }: PipelineSpec): boolean {
  return (
    normalizer.some((step) => step.type === "prepend") ||
    words.some((step) => step.type === "prefix-space" || (step.type === "metaspace" && step.prepend !== "never"))
  );
}

/** Texts of all tokens; numbers without token get a name that no other has. */
function tokenTexts(spec: PipelineSpec): string[] {
  const texts = spec.kind === "wordpiece" ? wordPieceTexts(spec) : spec.tokens;
  return texts.map((text, token) => text ?? `[PAD${token}]`);
}

/** WordPiece marks what continues a word, GGUF what begins one. */
function wordPieceTexts({ tokens, added, wordPrefix, continuingPrefix }: WordPieceSpec): (string | null)[] {
  if (continuingPrefix === "") return [...tokens];
  const special = new Set(added.map(({ token }) => token));
  return tokens.map((text, token) => {
    if (text === null || special.has(token)) return text;
    if (text.startsWith(continuingPrefix)) return text.slice(continuingPrefix.length);
    return `\u2581${text.slice(wordPrefix.length)}`;
  });
}

function tokenTypes(spec: PipelineSpec): number[] {
  const isSpecial = new Map(spec.added.map(({ token, special }) => [token, special]));
  const hasUnknown = spec.kind === "scored-bpe" || spec.kind === "unigram" || spec.kind === "bpe";
  const hasBytes = hasUnknown && spec.kind !== "unigram" && spec.byteFallback;
  return spec.tokens.map((text, token) => {
    if (text === null) return TOKEN_TYPE.unused;
    if (hasUnknown && token === spec.special.unk && isSpecial.get(token) !== false) return TOKEN_TYPE.unknown;
    if (isSpecial.has(token)) return isSpecial.get(token) === true ? TOKEN_TYPE.control : TOKEN_TYPE.userDefined;
    return hasBytes && namedByte(text) >= 0 ? TOKEN_TYPE.byte : TOKEN_TYPE.normal;
  });
}

/** Names for the tokens that end a text and that a reader would not find by itself. */
function endEntries({ special, added, stop }: PipelineSpec): MetadataEntry[] {
  const found = stopTokens([special.eos, special.eot], added);
  const keys = special.eot === undefined ? ["eot_token_id", "eom_token_id"] : ["eom_token_id"];
  const left = stop.filter((token) => !found.includes(token));
  return left.slice(0, keys.length).map((token, at) => entry(keys[at], "u32", token));
}

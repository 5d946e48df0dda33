// Tokenizers as the files of a Hugging Face folder, the way back of huggingface.ts: tokenizer.json, which holds the
// whole pipeline, tokenizer_config.json, which names the special tokens, and generation_config.json, which says what
// ends a text.

import { fromByteText } from "./byte-text.ts";
import { decoderJson, normalizerJson, wordsJson } from "./huggingface-stages.ts";
import type { Json } from "./huggingface-stages.ts";
import { mergesOfScores } from "./merges-and-scores.ts";
import type { BpeSpec, PipelineSpec, WordPieceSpec } from "./pipeline-spec.ts";
import { characterSpec, pipelineSpecOf } from "./plain-spec.ts";
import { VocabularyError } from "./tokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What to write as JSON. */
export interface HuggingFaceTokenizer {
  /** tokenizer.json */
  readonly tokenizer: { readonly [key: string]: Json };
  /** tokenizer_config.json */
  readonly config: { readonly [key: string]: Json };
  /** generation_config.json */
  readonly generation: { readonly [key: string]: Json };
}

/** BERT's own limit, for vocabularies that have none. */
const WORD_LENGTH = 100;

/** The files of a tokenizer. Throws `VocabularyError` for RWKV's, which they cannot describe. */
export function tokenizerToHuggingFace(tokenizer: Tokenizer): HuggingFaceTokenizer {
  const spec = writableSpec(pipelineSpecOf(tokenizer));
  const { special, stop } = spec;
  const { bos, pad } = special;
  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: addedJson(spec),
      normalizer: normalizerJson(spec.normalizer),
      pre_tokenizer: wordsJson(spec.words),
      post_processor: endsJson(spec),
      decoder: decoderJson(spec.decoder),
      model: modelJson(spec),
    },
    config: configJson(spec),
    generation: {
      ...(bos === undefined ? {} : { bos_token_id: bos }),
      ...(stop.length === 0 ? {} : { eos_token_id: stop.length === 1 ? stop[0] : stop }),
      ...(pad === undefined ? {} : { pad_token_id: pad }),
    },
  };
}

/** The vocabulary in the conventions of these files: WordPiece marks what continues, characters are themselves. */
function writableSpec(spec: PipelineSpec): PipelineSpec {
  if (spec.kind === "wordpiece" && spec.continuingPrefix === "") return markedContinuations(spec);
  return spec.kind === "bpe" ? (characters(spec) ?? spec) : spec;
}

function markedContinuations(spec: WordPieceSpec): WordPieceSpec {
  const special = new Set(spec.added.map(({ token }) => token));
  const tokens = spec.tokens.map((text, token) => {
    if (text === null || special.has(token)) return text;
    return text.startsWith(spec.wordPrefix) ? text.slice(spec.wordPrefix.length) : `##${text}`;
  });
  const decoder = { type: "wordpiece", prefix: "##", cleanup: true } as const;
  return { ...spec, tokens, decoder, wordPrefix: "", continuingPrefix: "##" };
}

/** A byte-level vocabulary in which every token is one character: its merges would name pieces that are no tokens. */
function characters(spec: BpeSpec): PipelineSpec | undefined {
  if (spec.decoder.type !== "bytes" || spec.normalizer.length > 0 || spec.added.length > 0) return undefined;
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const texts = spec.tokens.map((text) => decoder.decode(fromByteText(text ?? "")));
  const isCharacter = (text: string): boolean => Array.from(text).length === 1 && text !== "\uFFFD";
  return new Set(texts).size === texts.length && texts.every(isCharacter) ? characterSpec(texts) : undefined;
}

function addedJson({ added }: PipelineSpec): Json {
  return added
    .toSorted((a, b) => a.token - b.token)
    .map(({ token, text, special, normalized, stripLeft, stripRight, wholeWord }): Json => {
      return {
        id: token,
        content: text,
        single_word: wholeWord,
        lstrip: stripLeft,
        rstrip: stripRight,
        normalized,
        special,
      };
    });
}

function modelJson(spec: PipelineSpec): Json {
  const { tokens, special } = spec;
  const unknown = special.unk === undefined ? null : tokens[special.unk];
  switch (spec.kind) {
    case "bpe":
    case "scored-bpe": {
      const isList = spec.kind === "bpe";
      return {
        type: "BPE",
        dropout: null,
        unk_token: unknown,
        continuing_subword_prefix: null,
        end_of_word_suffix: isList && spec.endOfWord !== "" ? spec.endOfWord : null,
        fuse_unk: isList ? spec.fuseUnknown : true,
        byte_fallback: spec.byteFallback,
        ignore_merges: isList && spec.wholeWords,
        vocab: vocabJson(tokens),
        merges: mergesJson(isList ? spec.merges : mergesOfScores(spec), tokens),
      };
    }
    case "unigram": {
      const vocab = tokens.map((text, token): Json => [text ?? `[PAD${token}]`, spec.scores[token]]);
      return { type: "Unigram", unk_id: special.unk ?? null, vocab, byte_fallback: spec.byteFallback };
    }
    case "wordpiece": {
      const max = spec.wordLength === 0 ? WORD_LENGTH : spec.wordLength;
      const names = { unk_token: unknown ?? "[UNK]", continuing_subword_prefix: spec.continuingPrefix };
      return { type: "WordPiece", ...names, max_input_chars_per_word: max, vocab: vocabJson(tokens) };
    }
    case "rwkv":
      throw new VocabularyError("a tokenizer.json has no model for RWKV's vocabulary", {
        hint: "write GGUF or Fidelity's own format, which keep it",
      });
  }
}

function vocabJson(tokens: readonly (string | null)[]): Json {
  const known = new Map<string, number>();
  for (const [token, text] of tokens.entries()) if (text !== null && !known.has(text)) known.set(text, token);
  return Object.fromEntries(known);
}

/** Merges of tokens to tokens: the library refuses a file with others. */
function mergesJson(merges: readonly string[], tokens: readonly (string | null)[]): Json {
  const known = new Set(tokens);
  const pairs: Json[] = [];
  for (let at = 0; at < merges.length; at += 2) {
    const [left, right] = [merges[at], merges[at + 1]];
    if (known.has(left) && known.has(right) && known.has(left + right)) pairs.push([left, right]);
  }
  return pairs;
}

/** What a whole text begins and ends with, as a template. */
function endsJson({ before, after, tokens }: PipelineSpec): Json {
  if (before.length === 0 && after.length === 0) return null;
  const part = (token: number): Json => ({ SpecialToken: { id: tokens[token], type_id: 0 } });
  const text = (id: string): Json => ({ Sequence: { id, type_id: 0 } });
  const single = [...before.map(part), text("A"), ...after.map(part)];
  const names = [...new Set([...before, ...after])].map((token): [string, Json] => {
    const name = tokens[token] ?? "";
    return [name, { id: name, ids: [token], tokens: [name] }];
  });
  const pair = [...single, text("B"), ...after.map(part)];
  return { type: "TemplateProcessing", single, pair, special_tokens: Object.fromEntries(names) };
}

function configJson({ kind, special, tokens }: PipelineSpec): { readonly [key: string]: Json } {
  const isEncoder = kind === "wordpiece";
  const names: readonly (readonly [string, number | undefined])[] = [
    [isEncoder ? "cls_token" : "bos_token", special.bos],
    ["eos_token", special.eos],
    ["unk_token", special.unk],
    ["pad_token", special.pad],
    ["sep_token", special.sep],
    ["mask_token", special.mask],
  ];
  const named = names.flatMap(([name, token]) => (token === undefined ? [] : [[name, tokens[token]] as const]));
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    clean_up_tokenization_spaces: false,
    ...Object.fromEntries(named),
  };
}

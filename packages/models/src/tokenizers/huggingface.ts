// Tokenizers from Hugging Face's files: tokenizer.json as huggingface/tokenizers writes it, with tokenizer_config.json
// and generation_config.json beside it. Each stage of the file becomes steps of ours (pipeline-spec.ts).
//
// Leaves out, with an error: stages that no language model has (UnicodeScripts, CTC, Nmt), models of whole words,
// merges with a prefix for continuing pieces. Dropout and truncation are for training and are not read.

import { endsTurn, stopTokens } from "./end-tokens.ts";
import { Fields } from "./fields.ts";
import { decoderOf, normalizerSteps, wordSteps } from "./huggingface-steps.ts";
import { PipelineTokenizer } from "./pipeline.ts";
import { readPipelineSpec, VOCABULARY_LIMITS } from "./pipeline-spec.ts";
import type { AddedToken } from "./pipeline-spec.ts";
import { VocabularyError } from "./tokenizer.ts";
import type { SpecialTokens, Tokenizer } from "./tokenizer.ts";

/** Parsed JSON of the files of a model's folder. */
export interface HuggingFaceFiles {
  /** tokenizer.json */
  readonly tokenizer: unknown;
  /** tokenizer_config.json: which tokens are special, and whether BOS and EOS are added */
  readonly config?: unknown;
  /** generation_config.json: which tokens end a generation */
  readonly generation?: unknown;
  /** Tokens that the model has logits for, where those are more than the vocabulary's; the rest stand for nothing. */
  readonly vocabSize?: number;
}

/**
 * The tokenizer that the files of a model describe. Throws `VocabularyError` for a file that is damaged or has stages
 * that are not known, `PatternError` for its patterns.
 */
export function tokenizerFromHuggingFace(files: HuggingFaceFiles): Tokenizer {
  const file = new Fields(files.tokenizer, "tokenizer.json");
  const config = new Fields(files.config ?? {}, "tokenizer_config.json");
  const generation = new Fields(files.generation ?? {}, "generation_config.json");
  const model = readModel(file.fields("model"));
  const added = readAdded(file);
  const tokens = allTokens(model.tokens, added, files.vocabSize);
  const byText = new Map<string, number>();
  for (const [token, text] of tokens.entries()) if (text !== null && !byText.has(text)) byText.set(text, token);
  for (const { text, token } of added) byText.set(text, token);

  const special = specialTokens(config, model, byText);
  const ends = readEnds(file.optionalFields("post_processor"), config, special, byText);
  const ending = endsOfGeneration(generation, tokens.length);
  return new PipelineTokenizer(
    readPipelineSpec({
      ...model.options,
      ...(model.scores === undefined ? {} : { scores: tokens.map((_, token) => model.scores?.[token] ?? 0) }),
      tokens,
      added,
      special,
      ...ends,
      stop: stopTokens([special.eos, special.eot, ...ending], added),
      normalizer: normalizerSteps(file.optionalFields("normalizer")),
      words: wordSteps(file.optionalFields("pre_tokenizer")),
      decoder: decoderOf(file.optionalFields("decoder")),
    }),
  );
}

interface ReadModel {
  readonly tokens: readonly (string | null)[];
  readonly unknown: number | undefined;
  /** Of a unigram model, for the tokens of its own list. */
  readonly scores?: readonly number[];
  /** What the kind of model has besides the stages that all have. */
  readonly options: Readonly<Record<string, unknown>>;
}

function readModel(fields: Fields): ReadModel {
  const type = fields.text("type", guessedType(fields));
  switch (type) {
    case "BPE":
      return readBpe(fields);
    case "Unigram":
      return readUnigram(fields);
    case "WordPiece": {
      const tokens = numberedTokens(fields);
      const prefix = fields.text("continuing_subword_prefix", "##");
      const length = fields.integer("max_input_chars_per_word", 1, 1 << 20, 100);
      const options = { kind: "wordpiece", wordPrefix: "", continuingPrefix: prefix, wordLength: length };
      return { tokens, unknown: indexOf(tokens, fields.text("unk_token", "[UNK]")), options };
    }
    default:
      return fields.refuse("type", "BPE, Unigram or WordPiece");
  }
}

/** Older files do not name the type of their model. */
function guessedType(fields: Fields): string | undefined {
  if (fields.get("merges") !== undefined) return "BPE";
  return Array.isArray(fields.get("vocab")) ? "Unigram" : "WordPiece";
}

function readBpe(fields: Fields): ReadModel {
  const tokens = numberedTokens(fields);
  if (fields.text("continuing_subword_prefix", "") !== "") fields.refuse("continuing_subword_prefix", "none");
  const merges: string[] = [];
  for (const merge of fields.list("merges")) {
    const pair: unknown = typeof merge === "string" ? merge.split(" ") : merge;
    if (!Array.isArray(pair) || pair.length !== 2) fields.refuse("merges", "pairs of texts");
    else merges.push(...pair);
  }
  const unknown = fields.text("unk_token", "");
  const options = {
    kind: "bpe",
    merges,
    byteFallback: fields.flag("byte_fallback", false),
    fuseUnknown: fields.flag("fuse_unk", false),
    wholeWords: fields.flag("ignore_merges", false),
    endOfWord: fields.text("end_of_word_suffix", ""),
  };
  return { tokens, unknown: unknown === "" ? undefined : indexOf(tokens, unknown), options };
}

function readUnigram(fields: Fields): ReadModel {
  const tokens: string[] = [];
  const scores: number[] = [];
  for (const entry of fields.list("vocab")) {
    const [text, score] = Array.isArray(entry) ? (entry as unknown[]) : [];
    if (typeof text !== "string" || typeof score !== "number") fields.refuse("vocab", "pairs of a text and a number");
    else {
      tokens.push(text);
      scores.push(score);
    }
  }
  const unknown = fields.optionalInteger("unk_id", 0, tokens.length - 1);
  const options = { kind: "unigram", byteFallback: fields.flag("byte_fallback", false) };
  return { tokens, unknown, scores, options };
}

/** Texts by their numbers, from an object of numbers by their texts. */
function numberedTokens(fields: Fields): (string | null)[] {
  const vocab = fields.fields("vocab");
  const texts = vocab.keys();
  const last = Math.min(2 * texts.length + (1 << 16), VOCABULARY_LIMITS.tokens) - 1;
  const tokens: (string | null)[] = [];
  for (const text of texts) {
    const token = vocab.integer(text, 0, last);
    while (tokens.length <= token) tokens.push(null);
    tokens[token] ??= text;
  }
  return tokens;
}

function indexOf(tokens: readonly (string | null)[], text: string): number | undefined {
  const token = tokens.indexOf(text);
  return token < 0 ? undefined : token;
}

function readAdded(file: Fields): AddedToken[] {
  return file.each("added_tokens", []).map((fields) => {
    const special = fields.flag("special", false);
    return {
      token: fields.integer("id", 0, VOCABULARY_LIMITS.tokens - 1),
      text: fields.text("content"),
      special,
      normalized: fields.flag("normalized", !special),
      stripLeft: fields.flag("lstrip", false),
      stripRight: fields.flag("rstrip", false),
      wholeWord: fields.flag("single_word", false),
    };
  });
}

/** The vocabulary with added tokens, which may lie beyond its end or take places of it. */
function allTokens(
  vocabulary: readonly (string | null)[],
  added: readonly AddedToken[],
  vocabSize = 0,
): readonly (string | null)[] {
  const tokens = [...vocabulary];
  const most = Math.min(2 * (tokens.length + added.length) + (1 << 16), VOCABULARY_LIMITS.tokens);
  const size = added.reduce((last, { token }) => Math.max(last, token + 1), Math.max(tokens.length, vocabSize));
  if (size > most) {
    throw new VocabularyError("an added token lies far beyond the vocabulary", {
      where: "tokenizer.json.added_tokens",
      expected: `numbers below ${most}`,
      got: String(size - 1),
    });
  }
  while (tokens.length < size) tokens.push(null);
  for (const { token, text } of added) tokens[token] = text;
  return tokens;
}

const CONFIG_KEYS: Readonly<Record<keyof SpecialTokens, readonly string[]>> = {
  bos: ["bos_token", "cls_token"],
  eos: ["eos_token"],
  eot: ["eot_token"],
  unk: ["unk_token"],
  pad: ["pad_token"],
  sep: ["sep_token"],
  mask: ["mask_token"],
};

function specialTokens(config: Fields, model: ReadModel, byText: ReadonlyMap<string, number>): SpecialTokens {
  const special: Record<string, number> = {};
  for (const [name, keys] of Object.entries(CONFIG_KEYS) as [keyof SpecialTokens, readonly string[]][]) {
    const token = keys.map((key) => byText.get(tokenName(config, key))).find((found) => found !== undefined);
    if (token !== undefined) special[name] = token;
  }
  if (model.unknown !== undefined) special.unk = model.unknown;
  const turnEnd = byText.entries().find(([text]) => endsTurn(text))?.[1];
  return special.eot === undefined && turnEnd !== undefined ? { ...special, eot: turnEnd } : special;
}

/** A token of the configuration is a text, or an object with its text as `content`. */
function tokenName(config: Fields, key: string): string {
  const value = config.get(key);
  if (value === undefined || typeof value === "string") return value ?? "";
  return config.fields(key).text("content", "");
}

interface Ends {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** What the post-processor puts around a text; tokenizer_config.json has the last word on BOS and EOS. */
function readEnds(
  processor: Fields | undefined,
  config: Fields,
  special: SpecialTokens,
  byText: ReadonlyMap<string, number>,
): Ends {
  const ends = processor === undefined ? { before: [], after: [] } : processorEnds(processor, byText);
  const settle = (list: readonly number[], key: string, token: number | undefined): readonly number[] => {
    const wanted = config.get(key) === undefined ? undefined : config.flag(key);
    if (token === undefined || wanted === undefined || wanted === list.includes(token)) return list;
    return wanted ? [token, ...list] : list.filter((other) => other !== token);
  };
  return {
    before: settle(ends.before, "add_bos_token", special.bos),
    after: settle(ends.after, "add_eos_token", special.eos),
  };
}

function processorEnds(processor: Fields, byText: ReadonlyMap<string, number>): Ends {
  const tokenOf = (fields: Fields, key: string): number => {
    const name = fields.text(key);
    return byText.get(name) ?? fields.refuse(key, "a token of the vocabulary");
  };
  switch (processor.text("type")) {
    case "TemplateProcessing": {
      const ends: { before: number[]; after: number[] } = { before: [], after: [] };
      let list = ends.before;
      for (const item of processor.each("single")) {
        const token = item.optionalFields("SpecialToken");
        if (token === undefined) list = ends.after;
        else list.push(tokenOf(token, "id"));
      }
      return ends;
    }
    case "BertProcessing":
    case "RobertaProcessing": {
      const [cls, sep] = ["cls", "sep"].map((key) => {
        const name = processor.list(key)[0];
        return (typeof name === "string" ? byText.get(name) : undefined) ?? processor.refuse(key, "a known token");
      });
      return { before: [cls], after: [sep] };
    }
    case "Sequence":
      return processor.each("processors").reduce(
        (all: Ends, step) => {
          const { before, after } = processorEnds(step, byText);
          return { before: [...before, ...all.before], after: [...all.after, ...after] };
        },
        { before: [], after: [] },
      );
    case "ByteLevel":
      return { before: [], after: [] };
    default:
      return processor.refuse("type", "TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel or Sequence");
  }
}

function endsOfGeneration(generation: Fields, count: number): readonly number[] {
  const value = generation.get("eos_token_id");
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list.filter(
    (token) => typeof token === "number" && Number.isInteger(token) && token >= 0 && token < count,
  ) as number[];
}

// Model files of other programs, opened by path: GGUF, and the folders of Hugging Face, where config.json lies beside
// safetensors files. Only headers are read; tensors are read when parameters are made of them.

import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { toFileError } from "@fidelity/barewire/node";
import { decodeTensorValues } from "@fidelity/formats";
import type { GgufSource, SourceTensor, TensorSource } from "@fidelity/formats";
import { openGguf, openSafetensors, openSafetensorsIndex } from "@fidelity/formats/node";
import { CHAT_LIMITS, tokenizerFromGguf, tokenizerFromHuggingFace } from "@fidelity/models";
import type { ForeignFormat, ForeignModel, Tokenizer } from "@fidelity/models";
import { cardOfGguf, cardOfTexts, templatesOfFolder } from "./card.ts";
import type { ModelCard } from "./card.ts";
import { cardOfReadme } from "./readme-card.ts";
import { ModelFileError } from "./errors.ts";

/** What a Hugging Face folder calls its parts. */
export const CONFIG_FILE = "config.json";
export const INDEX_FILE = "model.safetensors.index.json";
export const WEIGHTS_FILE = "model.safetensors";
export const TEMPLATE_FILE = "chat_template.jinja";
export const TOKENIZER_FILES = {
  tokenizer: "tokenizer.json",
  config: "tokenizer_config.json",
  generation: "generation_config.json",
} as const;
/** A larger config.json is no configuration. */
const CONFIG_BYTES_MAX = 1 << 24;
/** The largest vocabularies make some 20 MB. */
const TOKENIZER_BYTES_MAX = 1 << 28;
/** A longer README.md is not read for its card. */
const README_FILE = "README.md";
const README_BYTES_MAX = 1 << 20;
/** What GGUF says where there is no tokenizer. */
const NO_TOKENIZER: readonly unknown[] = ["none", "no_vocab"];

/** A file of another program, open. Dispose it when its tensors have been read. */
export interface ForeignFile extends Disposable {
  readonly format: ForeignFormat;
  readonly path: string;
  readonly fileSizeBytes: number;
  readonly described: ForeignModel;
  /** The scalars of GGUF's metadata, or config.json. */
  readonly config: unknown;
  /**
   * The file's own tokenizer, or the one beside it; undefined where there is none. Throws `VocabularyError`.
   * @param vocabSize tokens that the model has logits for
   */
  tokenizer(vocabSize: number): Tokenizer | undefined;
  /** The kind and size of the tokenizer, which is not built for it; undefined where there is none. */
  vocabulary(): { readonly kind: string; readonly tokens: number } | undefined;
  /** Its name, license and so on, and its chat templates; read when it is asked for. */
  card(): ModelCard;
  /** Tensors by name. */
  readonly tensors: ReadonlyMap<string, SourceTensor>;
}

/** Opens a file of another program. Throws as the readers of `formats` do, and `ModelFileError`. */
export function openForeignModel(path: string, format: "gguf" | "safetensors"): ForeignFile {
  return format === "gguf" ? openGgufModel(path) : openHuggingFaceModel(path);
}

function openGgufModel(path: string): ForeignFile {
  using opened = new DisposableStack();
  const { source } = opened.use(openGguf(path));
  const lookup = (key: string): unknown => ggufValue(source, key);
  const kind = lookup("tokenizer.ggml.model") ?? "none";
  const tokenizer = (): Tokenizer | undefined => (NO_TOKENIZER.includes(kind) ? undefined : tokenizerFromGguf(lookup));
  const card = (): ModelCard => cardOfGguf(source.metadata);
  const vocabulary = (): ReturnType<ForeignFile["vocabulary"]> => {
    const tokens = source.metadata.get("tokenizer.ggml.tokens");
    return typeof kind === "string" && tokens?.type === "array" ? { kind, tokens: tokens.length } : undefined;
  };
  const { config } = source;
  return foreignFile({ format: "gguf", path, source, config, lookup, tokenizer, vocabulary, card }, opened.move());
}

function ggufValue(source: GgufSource, key: string): unknown {
  const entry = source.metadata.get(key);
  if (entry === undefined) return undefined;
  if (entry.type === "array") return entry.values();
  return typeof entry.value === "bigint" ? Number(entry.value) : entry.value;
}

/** Whether a path is what `openHuggingFaceModel` takes: a folder with a config.json, or safetensors. */
export function isHuggingFaceModel(path: string): boolean {
  return (
    path.endsWith(".safetensors") || path.endsWith(".safetensors.index.json") || existsSync(join(path, CONFIG_FILE))
  );
}

/** A folder with config.json and safetensors, or the safetensors file or index in one. */
function openHuggingFaceModel(path: string): ForeignFile {
  const folder = existsSync(join(path, CONFIG_FILE)) ? path : dirname(path);
  const config = readJson(join(folder, CONFIG_FILE), CONFIG_BYTES_MAX);
  const weights = folder === path ? weightsIn(folder) : path;
  using opened = new DisposableStack();
  const open = weights.endsWith(".json") ? openSafetensorsIndex : openSafetensors;
  const { source } = opened.use(open(weights));
  const lookup = (key: string): unknown => key.split(".").reduce<unknown>(fieldOf, config);
  const file = join(folder, TOKENIZER_FILES.tokenizer);
  const tokenizer = (vocabSize: number): Tokenizer | undefined =>
    existsSync(file) ? huggingFaceTokenizer(file, vocabSize) : undefined;
  const vocabulary = (): ReturnType<ForeignFile["vocabulary"]> =>
    vocabularyIn(jsonIn(folder, TOKENIZER_FILES.tokenizer));
  const card = (): ModelCard => {
    const readme = smallText(join(folder, README_FILE), README_BYTES_MAX) ?? "";
    return new Map([...cardOfReadme(readme), ...cardOfTexts(source.config), ...templatesIn(folder)]);
  };
  const parts = { path, source, config, lookup, tokenizer, vocabulary, card };
  return foreignFile({ format: "huggingFace", ...parts }, opened.move());
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;
}

function weightsIn(folder: string): string {
  const found = [INDEX_FILE, WEIGHTS_FILE].map((name) => join(folder, name)).find((file) => existsSync(file));
  if (found !== undefined) return found;
  throw new ModelFileError("the folder has a configuration and no weights", {
    where: folder,
    expected: `${WEIGHTS_FILE} or ${INDEX_FILE} beside ${CONFIG_FILE}`,
    hint: "fetch the safetensors files as well; PyTorch's .bin files are not read",
  });
}

function readJson(path: string, bytesMax: number): unknown {
  let text: string;
  try {
    if (statSync(path).size > bytesMax) throw notJson(path, `${statSync(path).size} bytes`);
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof ModelFileError) throw error;
    throw toFileError(error, "read", path);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw notJson(path, error instanceof Error ? error.message : "something else");
  }
}

function notJson(path: string, got: string): ModelFileError {
  return new ModelFileError(`${basename(path)} is not what its name says`, {
    where: path,
    expected: "the JSON of a Hugging Face model",
    got,
  });
}

/** The tokenizer of a tokenizer.json and the files beside it, with as many tokens as the model has or more. */
export function huggingFaceTokenizer(path: string, vocabSize: number): Tokenizer {
  const { config, generation } = TOKENIZER_FILES;
  const folder = dirname(path);
  return tokenizerFromHuggingFace({
    tokenizer: readJson(path, TOKENIZER_BYTES_MAX),
    config: jsonIn(folder, config),
    generation: jsonIn(folder, generation),
    vocabSize,
  });
}

function jsonIn(folder: string, name: string): unknown {
  return existsSync(join(folder, name)) ? readJson(join(folder, name), TOKENIZER_BYTES_MAX) : undefined;
}

/** The kind and size of a tokenizer.json. */
function vocabularyIn(json: unknown): ReturnType<ForeignFile["vocabulary"]> {
  const [kind, vocab] = [fieldOf(fieldOf(json, "model"), "type"), fieldOf(fieldOf(json, "model"), "vocab")];
  if (typeof vocab !== "object" || vocab === null) return undefined;
  const added = fieldOf(json, "added_tokens");
  const ids = (Array.isArray(added) ? added : []).map((token) => Number(fieldOf(token, "id"))).filter(Number.isInteger);
  const own = Array.isArray(vocab) ? vocab.length : Object.keys(vocab).length;
  return { kind: typeof kind === "string" ? kind : "of no name", tokens: Math.max(own, ...ids.map((id) => id + 1)) };
}

function templatesIn(folder: string): ModelCard {
  const jinja = smallText(join(folder, TEMPLATE_FILE), 4 * CHAT_LIMITS.templateLength);
  return templatesOfFolder(jsonIn(folder, TOKENIZER_FILES.config), jinja);
}

/** A text that is there and no longer than can be meant. */
function smallText(path: string, bytesMax: number): string | undefined {
  return existsSync(path) && statSync(path).size <= bytesMax ? readFileSync(path, "utf8") : undefined;
}

interface ForeignParts extends Pick<ForeignFile, "format" | "path" | "config" | "tokenizer" | "vocabulary" | "card"> {
  readonly source: TensorSource;
  readonly lookup: (key: string) => unknown;
}

function foreignFile(parts: ForeignParts, opened: DisposableStack): ForeignFile {
  const { format, path, config, tokenizer, vocabulary, card, source, lookup } = parts;
  const tensors = new Map(source.tensors.map((tensor) => [tensor.name, tensor]));
  const described: ForeignModel = {
    where: path,
    get: lookup,
    shape: (name) => tensors.get(name)?.shape,
    dtype: (name) => tensors.get(name)?.dtype,
    values: (name) => decodeTensorValues(tensors.get(name)!),
  };
  const fileSizeBytes = source.tensors.reduce(
    (end, { byteOffset, sizeBytes }) => Math.max(end, byteOffset + sizeBytes),
    0,
  );
  return {
    format,
    path,
    fileSizeBytes,
    described,
    config,
    tensors,
    tokenizer,
    vocabulary,
    card,
    [Symbol.dispose]: () => opened.dispose(),
  };
}

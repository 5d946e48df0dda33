// Model files of other programs, opened by path: GGUF, and the folders of Hugging Face, where config.json lies beside
// safetensors files. Only headers are read; tensors are read when parameters are made of them.

import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { toFileError } from "@fidelity/barewire/node";
import type { SourceMetadata, TensorSource } from "@fidelity/formats";
import { openSource } from "@fidelity/formats/node";
import { CHAT_LIMITS, tokenizerFromHuggingFace } from "@fidelity/models";
import type { Tokenizer } from "@fidelity/models";
import { cardOfTexts, templatesOfFolder } from "./card.ts";
import type { ModelCard } from "./card.ts";
import { cardOfReadme } from "./readme-card.ts";
import { ModelFileError } from "./errors.ts";
import { foreignFile, ggufParts } from "./foreign-file.ts";
import type { ForeignFile, ForeignParts } from "./foreign-file.ts";

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
/** The largest vocabularies make some 20 MB. */
const TOKENIZER_BYTES_MAX = 1 << 28;
/** A longer README.md is not read for its card. */
const README_FILE = "README.md";
const README_BYTES_MAX = 1 << 20;
/** Opens a file of another program. Throws as `openSource` of `formats` does. */
export function openForeignModel(path: string): ForeignFile {
  using opened = new DisposableStack();
  const { source, metadata } = opened.use(openSource(path));
  const parts = source.format === "gguf" ? ggufParts(source, metadata) : huggingFaceParts(path, source, metadata);
  return foreignFile(path, source, metadata, parts, opened.move());
}

/** Whether a path is a model of Hugging Face: a folder with a config.json, or safetensors. */
export function isHuggingFaceModel(path: string): boolean {
  return (
    path.endsWith(".safetensors") || path.endsWith(".safetensors.index.json") || existsSync(join(path, CONFIG_FILE))
  );
}

function huggingFaceParts(path: string, { config: texts }: TensorSource, { keys, get }: SourceMetadata): ForeignParts {
  const folder = existsSync(join(path, CONFIG_FILE)) ? path : dirname(path);
  const file = join(folder, TOKENIZER_FILES.tokenizer);
  return {
    format: "huggingFace",
    config: Object.fromEntries(keys.map((key) => [key, get(key)])),
    tokenizer: (vocabSize) => (existsSync(file) ? huggingFaceTokenizer(file, vocabSize) : undefined),
    vocabulary: () => vocabularyIn(jsonIn(folder, TOKENIZER_FILES.tokenizer)),
    card: () => {
      const readme = smallText(join(folder, README_FILE), README_BYTES_MAX) ?? "";
      return new Map([...cardOfReadme(readme), ...cardOfTexts(texts), ...templatesIn(folder)]);
    },
  };
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;
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

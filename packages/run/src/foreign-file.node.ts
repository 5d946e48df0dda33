// Model files of other programs, opened by path: GGUF, and the folders of Hugging Face, where config.json lies beside
// safetensors files. Only headers are read; tensors are read when parameters are made of them.

import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { toFileError } from "@fidelity/barewire/node";
import { decodeTensorValues } from "@fidelity/formats";
import type { GgufSource, SourceTensor, TensorSource } from "@fidelity/formats";
import { openGguf, openSafetensors, openSafetensorsIndex } from "@fidelity/formats/node";
import type { ForeignFormat, ForeignModel, Tokenizer } from "@fidelity/models";
import { ModelFileError } from "./errors.ts";

/** What a Hugging Face folder calls its parts. */
const CONFIG_FILE = "config.json";
const INDEX_FILE = "model.safetensors.index.json";
const WEIGHTS_FILE = "model.safetensors";
/** A larger config.json is no configuration. */
const CONFIG_BYTES_MAX = 1 << 24;

/** A file of another program, open. Dispose it when its tensors have been read. */
export interface ForeignFile extends Disposable {
  readonly format: ForeignFormat;
  readonly path: string;
  readonly fileSizeBytes: number;
  readonly described: ForeignModel;
  /** The file's own tokenizer, or the one beside it; undefined where there is none. */
  tokenizer(): Tokenizer | undefined;
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
  return foreignFile("gguf", path, source, lookup, opened.move());
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
  const config = readConfig(join(folder, CONFIG_FILE));
  const weights = folder === path ? weightsIn(folder) : path;
  using opened = new DisposableStack();
  const open = weights.endsWith(".json") ? openSafetensorsIndex : openSafetensors;
  const { source } = opened.use(open(weights));
  const lookup = (key: string): unknown => key.split(".").reduce<unknown>(fieldOf, config);
  return foreignFile("huggingFace", path, source, lookup, opened.move());
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

function readConfig(path: string): unknown {
  let text: string;
  try {
    if (statSync(path).size > CONFIG_BYTES_MAX) throw notConfig(path, `${statSync(path).size} bytes`);
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof ModelFileError) throw error;
    throw toFileError(error, "read", path);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw notConfig(path, error instanceof Error ? error.message : "something else");
  }
}

function notConfig(path: string, got: string): ModelFileError {
  return new ModelFileError(`${basename(path)} is not the configuration of a model`, {
    where: path,
    expected: "an object in JSON",
    got,
  });
}

function foreignFile(
  format: ForeignFormat,
  path: string,
  source: TensorSource,
  get: (key: string) => unknown,
  opened: DisposableStack,
): ForeignFile {
  const tensors = new Map(source.tensors.map((tensor) => [tensor.name, tensor]));
  const described: ForeignModel = {
    where: path,
    get,
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
    tensors,
    tokenizer: () => undefined,
    [Symbol.dispose]: () => opened.dispose(),
  };
}

// One door for every kind of model file: GGUF, also in several files, safetensors, its index, a folder of Hugging Face,
// llama2.c, ONNX and Fidelity's container. What a path is follows from the file's first bytes, not from its name.

import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { toFileError } from "@fidelity/barewire/node";
import { quote, show } from "./byte-cursor.ts";
import type { ContainerSource } from "./container-source.ts";
import { detectFormat } from "./detect.ts";
import { InvalidHeaderError, UnsupportedFormatError } from "./errors.ts";
import type { GgufSource } from "./gguf.ts";
import type { Llama2cSource } from "./llama2c.ts";
import type { OnnxModel } from "./onnx/model.ts";
import {
  openContainerSource,
  openGguf,
  openLlama2c,
  openOnnx,
  openSafetensors,
  openSafetensorsIndex,
  readText,
} from "./open.node.ts";
import type { OpenSource, OpenSourceOptions } from "./open.node.ts";
import type { SafetensorsSource } from "./safetensors.ts";
import { configMetadata, ggufMetadata, isRecord } from "./source-metadata.ts";
import type { SourceMetadata } from "./source-metadata.ts";
import type { TensorSource } from "./tensor-source.ts";

const CONFIG_FILE = "config.json";
const INDEX_SUFFIX = ".safetensors.index.json";
const HEAD_BYTES = 64;
/** A larger config.json is no configuration. */
const CONFIG_BYTES_MAX = 2 ** 24;

export interface OpenFile extends OpenSource<TensorSource> {
  readonly source: GgufSource | SafetensorsSource | Llama2cSource | OnnxModel | ContainerSource;
  readonly metadata: SourceMetadata;
}

/**
 * Opens a model file or folder. Only headers are read. Throws `FileError`, `UnsupportedFormatError` for what is no
 * model that is read, and what the readers of formats throw.
 */
export function openSource(path: string, options: OpenSourceOptions = {}): OpenFile {
  if (isFolder(path)) return openFolder(path, options);
  if (path.endsWith(INDEX_SUFFIX)) {
    return withConfig(openSafetensorsIndex(path, options), join(dirname(path), CONFIG_FILE));
  }
  const { format, seen } = detectFormat(readHead(path));
  switch (format) {
    case "gguf": {
      const opened = openGguf(path, options);
      return withMetadata(opened, ggufMetadata(opened.source));
    }
    case "safetensors":
      return withConfig(openSafetensors(path, options), join(dirname(path), CONFIG_FILE));
    case "llama2c": {
      const opened = openLlama2c(path, options);
      return withMetadata(opened, configMetadata(opened.source.config));
    }
    case "onnx": {
      const opened = openOnnx(path, options);
      return withMetadata(opened, configMetadata(opened.source.config));
    }
    case "fidelity": {
      const opened = openContainerSource(path, options);
      return withMetadata(opened, configMetadata(opened.source.header.config));
    }
    case "unknown":
      throw new UnsupportedFormatError("this is no model that is read", {
        where: path,
        expected:
          "GGUF, safetensors, a folder with config.json and safetensors, ONNX, llama2.c version 0, or a container",
        got: seen,
      });
  }
}

/** A folder of Hugging Face: config.json, and safetensors by an index or alone. */
function openFolder(folder: string, options: OpenSourceOptions): OpenFile {
  const names = readdirSync(folder);
  const indexes = names.filter((name) => name.endsWith(INDEX_SUFFIX));
  const weights = names.filter((name) => name.endsWith(".safetensors"));
  const [found, ...more] = indexes.length > 0 ? indexes : weights;
  if (found !== undefined && (more.length === 0 || names.includes("model.safetensors"))) {
    const name = more.length === 0 ? found : "model.safetensors";
    const open = name.endsWith(INDEX_SUFFIX) ? openSafetensorsIndex : openSafetensors;
    const config = readConfig(join(folder, CONFIG_FILE));
    return withMetadata(open(join(folder, name), options), configMetadata(config));
  }
  throw new UnsupportedFormatError("the folder holds no model that is read", {
    where: folder,
    expected: `${CONFIG_FILE} and one *.safetensors file, or several and a *${INDEX_SUFFIX}`,
    got: names.length === 0 ? "nothing" : names.slice(0, 8).map(quote).join(", ") + (names.length > 8 ? ", ..." : ""),
    hint: weights.length > 1 ? "fetch the index as well" : "give the model file itself, or fetch the safetensors files",
  });
}

/** Metadata from a config.json where there is one. */
function withConfig(opened: OpenSource<SafetensorsSource>, configPath: string): OpenFile {
  using resources = new DisposableStack();
  resources.use(opened);
  const config = existsSync(configPath) ? readConfig(configPath) : opened.source.config;
  const { source } = opened;
  const kept = resources.move();
  return { source, metadata: configMetadata(config), [Symbol.dispose]: () => kept.dispose() };
}

function withMetadata(opened: OpenSource<OpenFile["source"]>, metadata: SourceMetadata): OpenFile {
  return { source: opened.source, metadata, [Symbol.dispose]: () => opened[Symbol.dispose]() };
}

function readConfig(path: string): unknown {
  const refuse = (got: string): never => {
    throw new InvalidHeaderError(`${path} is not the configuration of a model`, {
      where: path,
      expected: `an object in JSON of at most ${CONFIG_BYTES_MAX} bytes`,
      got,
    });
  };
  const text = readText(path, CONFIG_BYTES_MAX);
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch (error) {
    refuse(show(error));
  }
  return isRecord(config) ? config : refuse(Array.isArray(config) ? "a list" : typeof config);
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    throw toFileError(error, "read", path);
  }
}

function readHead(path: string): Uint8Array {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, "r");
    const head = new Uint8Array(HEAD_BYTES);
    return head.subarray(0, readSync(descriptor, head, 0, HEAD_BYTES, 0));
  } catch (error) {
    throw toFileError(error, "read", path);
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

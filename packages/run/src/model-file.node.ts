// Model files: saving, and opening for use. On a device whose tensors lie in a shared memory the file is mapped into
// that memory and its tensors are used where they lie; on others they are copied. Opening also reads the files of other
// programs: llama2.c checkpoints, whose tokenizer is a file of its own, GGUF, and the folders of Hugging Face.

import { closeSync, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { ContainerHeader, Metadata, Region, SharedArena } from "@fidelity/barewire";
import { openContainer, readContainerHeader, toFileError, writeContainerFile } from "@fidelity/barewire/node";
import type { HowMapped, OpenContainer } from "@fidelity/barewire/node";
import { isTernary } from "@fidelity/core";
import type { Device, DeviceTensor, TensorType, TernaryDtype, Tree } from "@fidelity/core";
import { assertFinite, detectFormat, findTensor, readLlama2c } from "@fidelity/formats";
import {
  createModel,
  createParameters,
  freeParameters,
  importModel,
  namedParameters,
  packParameters,
  parameterTypes,
  SentencePieceTokenizer,
} from "@fidelity/models";
import type { DeviceParameters, ForeignImport, Model, Tokenizer } from "@fidelity/models";
import { ModelFileError } from "./errors.ts";
import { huggingFaceTokenizer, isHuggingFaceModel, openForeignModel } from "./foreign-file.node.ts";
import type { ForeignFile } from "./foreign-file.ts";
import { importParameters } from "./foreign-parameters.ts";
import type { ImportOptions } from "./foreign-parameters.ts";
import { requireExpandedRoom, requireRoom } from "./memory-fit.ts";
import { expandBlocks } from "./narrow-parameters.ts";
import { isWorthKeeping, openRepacked } from "./repacked.node.ts";
import { copyTensor, withContainer, withMappedFile } from "./parameter-file.node.ts";
import {
  checkVocabulary,
  componentOf,
  componentsOf,
  OPTIMIZER_PREFIX,
  storedModel,
  tensorInput,
} from "./stored-model.ts";
import { rememberVerified, verifiableState, wasVerified } from "./verified.node.ts";
import { versions } from "./versions.node.ts";

export interface SaveModelInput {
  readonly device: Device;
  readonly model: Model;
  readonly parameters: DeviceParameters;
  readonly tokenizer: Tokenizer | undefined;
  /** How ternary weights are packed, by the op that training uses: 2 bits if `true`. Otherwise all stays float32. */
  readonly packed: boolean | TernaryDtype;
  /** Anything worth keeping with the model, such as its validation loss. */
  readonly metadata?: Metadata;
}

/** Saves a model, whole or not at all. Gives the size of the file in bytes. Throws `FileError`. */
export async function saveModel(path: string, input: SaveModelInput): Promise<number> {
  const { device, model, parameters, tokenizer, packed, metadata } = input;
  const dtype = packed === true ? "ternary" : packed;
  const stored = dtype === false ? parameters : await packParameters(model, parameters, device, dtype);
  try {
    const tensors = namedParameters(model.parameters).map(({ path: name }) => tensorInput(name, stored.get(name)!));
    return writeContainerFile(path, {
      metadata: { ...versions(), ...metadata, kind: "model" },
      config: { model: model.config, tokenizer: tokenizer?.toJSON() ?? null },
      components: componentsOf(tensors),
      tensors,
    });
  } finally {
    for (const [name, tensor] of stored) if (tensor !== parameters.get(name)) tensor.free();
  }
}

/** A tensor as it lies in a file. */
export interface TensorInfo {
  readonly name: string;
  readonly component: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly sizeBytes: number;
  /** Whether the parameter's values are calculated from those of the file. */
  readonly derived?: boolean;
}

/** What a model file says about itself; no tensor is read for it. */
export interface ModelInfo {
  readonly path: string;
  readonly format: "fidelity" | "llama2c" | "gguf" | "safetensors";
  /** A checkpoint holds the state of the optimiser as well. */
  readonly kind: "model" | "checkpoint";
  readonly model: Model;
  readonly tokenizer: Tokenizer | undefined;
  /** Whether any weight is packed. */
  readonly isPacked: boolean;
  readonly fileSizeBytes: number;
  readonly metadata: Metadata;
  /** Of the model, without those of an optimiser. */
  readonly tensors: readonly TensorInfo[];
}

export interface OpenModelOptions extends Pick<ImportOptions, "onProgress"> {
  /**
   * A tokenizer file of llama2.c, or a tokenizer.json; without it, `tokenizer.bin` or `tok<vocabulary>.bin` beside a
   * llama2.c model.
   */
  readonly tokenizer?: string;
  /** From this size on, ternary weights of other programs' files are kept repacked in the user's cache. 32 MiB. */
  readonly keptBytesMin?: number;
  /**
   * Whether checksums are verified, which reads every byte once. By default they are, but for a large container that
   * this user has opened before and that has not changed since.
   */
  readonly verify?: boolean;
  /**
   * Whether products round nothing. Weights in blocks (q8_0, q4_0, K types) multiply activations that are rounded to 8
   * bits, as in llama.cpp, unless they are expanded to float32, which takes 4 bytes a weight beside them. False by
   * default.
   */
  readonly exactActivations?: boolean;
}

/** A model ready to run. Close it when it is not needed any more, before its device. */
export class OpenModel implements Disposable {
  readonly info: ModelInfo;
  /** To be read only: they may lie in the file's own pages. */
  readonly parameters: DeviceParameters;
  /** Whether the parameters lie in the mapped file, or were read into memory. */
  readonly how: HowMapped;
  readonly #release: () => void;

  constructor(info: ModelInfo, parameters: DeviceParameters, how: HowMapped, release: () => void) {
    this.info = info;
    this.parameters = parameters;
    this.how = how;
    this.#release = release;
  }

  get model(): Model {
    return this.info.model;
  }

  get tokenizer(): Tokenizer | undefined {
    return this.info.tokenizer;
  }

  close(): void {
    this.#release();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Opens a model file, a checkpoint, or a llama2.c model. Throws `FileError` when it cannot be read, subclasses of
 * `ContainerError` when it is damaged, `ModelFileError` when it is something else or does not fit its architecture,
 * `FormatError` for a damaged llama2.c file, and `OutOfRoomError` where there is no memory for it.
 */
export async function openModel(path: string, device: Device, options: OpenModelOptions = {}): Promise<OpenModel> {
  device.prepare?.();
  if (options.exactActivations !== true) return await openAsStored(path, device, options);
  requireExpandedRoom(describeModel(path, options), device.target);
  const opened = await openAsStored(path, device, options);
  try {
    const expanded = expandBlocks(device, opened.parameters);
    const parameters = new Map([...opened.parameters, ...expanded]);
    return new OpenModel(opened.info, parameters, opened.how, () => {
      freeParameters(expanded);
      opened.close();
    });
  } catch (error) {
    opened.close();
    throw error;
  }
}

async function openAsStored(path: string, device: Device, options: OpenModelOptions): Promise<OpenModel> {
  const format = formatOf(path);
  if (format === "fidelity") return openFidelity(path, device, options);
  return format === "llama2c" ? openLlama2c(path, device, options) : openForeign(path, format, device, options);
}

/** Reads what `openModel` would open, without a device. Throws what that throws; no tensor's checksum is verified. */
export function describeModel(path: string, options: OpenModelOptions = {}): ModelInfo {
  const format = formatOf(path);
  if (format === "fidelity") return fidelityInfo(path, readContainerHeader(path), options).info;
  if (format === "llama2c") return withMappedFile(path, (file) => llama2cParts(path, file.region, options).info);
  using file = openForeignModel(path);
  return describeForeign(file, options);
}

/** The same of a file of another program that is open. */
export function describeForeign(file: ForeignFile, options: OpenModelOptions = {}): ModelInfo {
  return foreignInfo(file, importModel(file.format, file.described), options);
}

/** Which kind of model file a path is. Throws `FileError`, and `ModelFileError` where it is none. */
export function formatOf(path: string): ModelInfo["format"] {
  if (isHuggingFaceModel(path)) return "safetensors";
  const { format, seen } = detectFormat(readHead(path));
  if (format === "onnx") {
    throw new ModelFileError("an ONNX file is a graph of operators, and no model of a known architecture", {
      where: path,
      got: seen,
      hint: "run it as a function with onnxFunction of @fidelity/formats/onnx, or open the file it was exported from",
    });
  }
  if (format !== "unknown") return format;
  throw new ModelFileError("the file is not a model that can be opened", {
    where: path,
    expected:
      "a Fidelity model file, GGUF, a folder with config.json and safetensors, or a llama2.c version 0 checkpoint",
    got: seen,
    hint: "give the model.fid of a run folder, or train one with `fidelity train`",
  });
}

function readHead(path: string): Uint8Array {
  const head = new Uint8Array(64);
  try {
    const descriptor = openSync(path, "r");
    try {
      return head.subarray(0, readSync(descriptor, head));
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw toFileError(error, "read", path);
  }
}

/** What a container of Fidelity holds, and the type of each parameter as it is stored. */
export function fidelityInfo(path: string, header: ContainerHeader, options: Pick<OpenModelOptions, "tokenizer"> = {}) {
  const stored = storedModel(path, header);
  const { model, types } = stored;
  const tokenizer = options.tokenizer === undefined ? stored.tokenizer : readTokenizer(options.tokenizer, model);
  const info: ModelInfo = {
    path,
    format: "fidelity",
    kind: header.metadata["kind"] === "checkpoint" ? "checkpoint" : "model",
    model,
    tokenizer,
    isPacked: [...types.values()].some(({ dtype }) => isTernary(dtype)),
    fileSizeBytes: header.fileSizeBytes,
    metadata: header.metadata,
    tensors: header.tensors.filter(({ name }) => !name.startsWith(OPTIMIZER_PREFIX)),
  };
  return { info, types };
}

function openFidelity(path: string, device: Device, options: OpenModelOptions): OpenModel {
  if (!hasSharedMemory(device)) {
    return withContainer(path, (container) => {
      const { info, types } = fidelityInfo(path, container.header, options);
      const copy = (tensor: DeviceTensor, name: string): void => copyTensor(container, name, tensor);
      const parameters = createParameters(device, Object.fromEntries(types), copy);
      return new OpenModel(info, parameters, "read", () => freeParameters(parameters));
    });
  }
  const { info, parameters, how, close } = placeFidelity(path, device, options);
  return new OpenModel(info, parameters, how, close);
}

/** A container in a device's memory, its tensors where the file's pages are. */
function placeFidelity(path: string, device: SharedMemoryDevice, options: OpenModelOptions) {
  const container = openVerified(path, device.arena, options);
  const close = (): void => container[Symbol.dispose]();
  try {
    const { info, types } = fidelityInfo(path, container.header, options);
    const inPlace = (name: string, type: TensorType): DeviceTensor => device.tensorAt(container.tensor(name), type);
    const parameters = new Map(Array.from(types, ([name, type]) => [name, inPlace(name, type)]));
    return { info, parameters, how: container.how, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Opens a container, and compares its checksums unless this state of the file is known to be whole. */
function openVerified(path: string, arena: SharedArena, { verify }: OpenModelOptions): OpenContainer {
  const state = verify === undefined ? verifiableState(path) : undefined;
  if (state === undefined) return openContainer(path, arena, { verify });
  const container = openContainer(path, arena, { verify: false });
  try {
    if (wasVerified(state) && verifiableState(path) === state) {
      container.bringIn();
    } else {
      container.verify();
      if (verifiableState(path) === state) rememberVerified(state);
    }
    return container;
  } catch (error) {
    container[Symbol.dispose]();
    throw error;
  }
}

/** A device whose tensors lie in one memory that files can be mapped into. */
interface SharedMemoryDevice extends Device {
  readonly arena: SharedArena;
  tensorAt(region: Region, type: TensorType): DeviceTensor;
}

function hasSharedMemory(device: Device): device is SharedMemoryDevice {
  return "arena" in device && "tensorAt" in device;
}

// llama2.c's header has 28 bytes, so none of its tensors is aligned and all of them are copied.
function openLlama2c(path: string, device: Device, options: OpenModelOptions): OpenModel {
  return withMappedFile(path, ({ region }) => {
    const { info, source } = llama2cParts(path, region, options);
    if (options.verify ?? true) assertFinite(source);
    const types = parameterTypes(info.model.parameters, { packed: false }) as Tree<TensorType>;
    const copy = (tensor: DeviceTensor, name: string): void => tensor.bytes().set(findTensor(source, name).bytes());
    const parameters = createParameters(device, types, copy);
    return new OpenModel(info, parameters, "read", () => freeParameters(parameters));
  });
}

/** What a llama2.c file holds. */
export function llama2cParts(path: string, region: Region<"mapped", "r">, options: OpenModelOptions) {
  const source = readLlama2c(region.u8() as Uint8Array, path);
  const model = createModel(source.config);
  const tokenizerPath = options.tokenizer ?? tokenizerBeside(path, model.vocabSize);
  const tensors = source.tensors.map(({ name, dtype, shape, sizeBytes }) => {
    return { name, component: componentOf(name).id, dtype, shape, sizeBytes };
  });
  const info: ModelInfo = {
    path,
    format: "llama2c",
    kind: "model",
    model,
    tokenizer: tokenizerPath === undefined ? undefined : readTokenizer(tokenizerPath, model),
    isPacked: false,
    fileSizeBytes: region.sizeBytes,
    metadata: {},
    tensors,
  };
  return { info, source };
}

/** The tokenizer that llama2.c keeps beside a model: `tok512.bin` for a vocabulary of 512, or `tokenizer.bin`. */
function tokenizerBeside(path: string, vocabSize: number): string | undefined {
  return [`tok${vocabSize}.bin`, "tokenizer.bin"]
    .map((name) => join(dirname(path), name))
    .find((file) => existsSync(file));
}

/**
 * The tokenizer in a file of its own: a tokenizer.json, or one of llama2.c. Throws `FileError`, `VocabularyError`, and
 * `ModelFileError` where it belongs to another model.
 */
export function readTokenizer(path: string, model: Model): Tokenizer {
  const tokenizer = path.endsWith(".json")
    ? huggingFaceTokenizer(path, model.vocabSize)
    : new SentencePieceTokenizer(readWhole(path), basename(path));
  checkVocabulary(path, model, tokenizer);
  return tokenizer;
}

function readWhole(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw toFileError(error, "read", path);
  }
}

async function openForeign(
  path: string,
  format: "gguf" | "safetensors",
  device: Device,
  options: OpenModelOptions,
): Promise<OpenModel> {
  using file = openForeignModel(path);
  const imported = importModel(file.format, file.described);
  requireRoom(foreignInfo(file, imported, options), device.target);
  if (hasSharedMemory(device) && isWorthKeeping(file, imported, options.keptBytesMin)) {
    return await openRepacked(file, imported, device.target, options, (kept) => {
      const { parameters, how, close } = placeFidelity(kept, device, options);
      return new OpenModel(foreignInfo(file, imported, options, true), parameters, how, close);
    });
  }
  const parameters = importParameters(imported, file.tensors, device, options);
  const isPacked = [...parameters.values()].some(({ type }) => isTernary(type.dtype));
  const info = foreignInfo(file, imported, options, isPacked);
  return new OpenModel(info, parameters, "read", () => freeParameters(parameters));
}

/** What a file of another program holds, under the names that parameters have here. */
function foreignInfo(
  file: ForeignFile,
  { model, origins }: ForeignImport,
  options: OpenModelOptions,
  isPacked = false,
): ModelInfo {
  const tensors = namedParameters(model.parameters).map(({ path: name, leaf }): TensorInfo => {
    const { names, read } = origins.get(name)!;
    const sources = names.map((source) => file.tensors.get(source)!);
    const sizeBytes = sources.reduce((sum, source) => sum + source.sizeBytes, 0);
    const { dtype } = sources[0];
    const derived = read !== undefined;
    return { name, component: componentOf(name).id, dtype, shape: leaf.shape, sizeBytes, ...(derived && { derived }) };
  });
  let tokenizer: Tokenizer | undefined;
  return {
    path: file.path,
    format: file.format === "gguf" ? "gguf" : "safetensors",
    kind: "model",
    model,
    // A vocabulary of 100,000 words takes longer to read than the rest of a header, and not everybody wants it.
    get tokenizer() {
      const given = options.tokenizer;
      tokenizer ??= given === undefined ? file.tokenizer(model.vocabSize) : readTokenizer(given, model);
      return tokenizer;
    },
    isPacked,
    fileSizeBytes: file.fileSizeBytes,
    metadata: {},
    tensors,
  };
}

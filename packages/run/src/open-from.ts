// From bytes anywhere to a model that generates: a file that a page was given, an address that is read by ranges, an
// array. GGUF and Fidelity's container bring all that is needed; safetensors and llama2.c need the files beside them.
// One tensor at a time is fetched, so that no more memory is taken than the model and its largest tensor.

import { ContainerReader, readRange } from "@fidelity/barewire";
import type { ByteSource } from "@fidelity/barewire";
import type { Device, DeviceTensor } from "@fidelity/core";
import {
  configMetadata,
  detectFormat,
  ggufMetadata,
  MoreBytesNeeded,
  readGguf,
  readLlama2c,
  readSafetensors,
} from "@fidelity/formats";
import type { PartialFile, SourceTensor, TensorSource } from "@fidelity/formats";
import {
  ChatTemplate,
  createModel,
  createParameters,
  freeParameters,
  importModel,
  namedParameters,
  tokenizerFromHuggingFace,
} from "@fidelity/models";
import type { DeviceParameters, ForeignImport, HuggingFaceFiles, Model, Tokenizer } from "@fidelity/models";
import { CHAT_TEMPLATE, cardOfTexts, templatesOfFolder } from "./card.ts";
import type { ModelCard } from "./card.ts";
import { ModelFileError } from "./errors.ts";
import { foreignFile, ggufParts } from "./foreign-file.ts";
import type { ForeignParts } from "./foreign-file.ts";
import { makeParameter } from "./foreign-parameters.ts";
import type { ImportOptions } from "./foreign-parameters.ts";
import { freeBytes } from "./free-memory.ts";
import { LanguageModel } from "./language-model.ts";
import type { LanguageModelOptions } from "./language-model.ts";
import { requirePlan } from "./memory-fit.ts";
import { checkVocabulary, storedModel } from "./stored-model.ts";

export interface OpenFromOptions extends LanguageModelOptions, ImportOptions {
  /** Where the model runs. It stays the caller's. */
  readonly device: Device;
  /** The parsed config.json of a model in safetensors. */
  readonly config?: unknown;
  /** In place of the file's own: a tokenizer, or the parsed files of Hugging Face. */
  readonly tokenizer?: Tokenizer | Omit<HuggingFaceFiles, "vocabSize">;
  /** In place of the file's own. */
  readonly chatTemplate?: ChatTemplate;
  /** Ends the opening; its reason is thrown. */
  readonly signal?: AbortSignal;
}

/** What a file was found to hold. */
interface Found {
  readonly model: Model;
  readonly tokenizer: Tokenizer | undefined;
  readonly card: ModelCard;
  readonly parameters: DeviceParameters;
}

const HEAD_BYTES = 64;
const FIRST_READ_BYTES = 1 << 20;
/** A longer header is refused: the largest vocabularies make some 10^7 bytes. */
const HEADER_BYTES_MAX = 2 ** 30;

/**
 * Opens a model, whatever its format, on a device. Throws `ModelFileError` for what is no model, or lacks its tokenizer
 * or configuration, `OutOfRoomError` before any tensor is fetched where there is no memory for the weights or the
 * `context`, what the readers of formats and `createModel` throw, and what the source throws.
 */
export async function openFrom(source: ByteSource, options: OpenFromOptions): Promise<LanguageModel> {
  const started = performance.now();
  const { device } = options;
  const found = await readModel(source, options);
  const { model, parameters } = found;
  const release = (): void => freeParameters(parameters);
  try {
    const tokenizer = tokenizerFor(source.name, found, options);
    const own = found.card.get(CHAT_TEMPLATE);
    const chatTemplate = () =>
      options.chatTemplate ?? (typeof own === "string" && own !== "" ? new ChatTemplate(own) : undefined);
    const loadSeconds = (performance.now() - started) / 1000;
    const parts = { model, tokenizer, parameters, device, chatTemplate, loadSeconds, freeBytes, release };
    return new LanguageModel(parts, options);
  } catch (error) {
    release();
    throw error;
  }
}

function tokenizerFor(where: string, { model, tokenizer: own }: Found, { tokenizer: given }: OpenFromOptions) {
  const tokenizer =
    given === undefined
      ? own
      : "encode" in given
        ? given
        : tokenizerFromHuggingFace({ ...given, vocabSize: model.vocabSize });
  if (tokenizer !== undefined) {
    if (given !== undefined) checkVocabulary(where, model, tokenizer);
    return tokenizer;
  }
  throw new ModelFileError("this model needs its tokenizer", {
    where,
    expected: "the option tokenizer: the vocabulary that the model was trained with",
    hint: "it lies beside the model and is called tokenizer.json, tokenizer.bin or tok512.bin",
  });
}

async function readModel(source: ByteSource, options: OpenFromOptions): Promise<Found> {
  const head = await fetchRange(source, 0, Math.min(HEAD_BYTES, source.sizeBytes), options);
  const { format, seen } = detectFormat(head);
  switch (format) {
    case "fidelity":
      return readContainer(source, options);
    case "llama2c":
      return readLlama2cModel(source, options);
    case "gguf":
      return readForeign(source, options, readGguf, (file) => [
        ggufMetadata(file),
        ggufParts(file, ggufMetadata(file)),
      ]);
    case "safetensors": {
      const { config } = options;
      if (config === undefined) {
        throw new ModelFileError("safetensors do not say what model they hold", {
          where: source.name,
          expected: "the option config: the parsed config.json that lies beside the file",
        });
      }
      const metadata = configMetadata(config);
      return readForeign(source, options, readSafetensors, (file) => [
        metadata,
        huggingFaceParts(file, config, options),
      ]);
    }
    default:
      throw new ModelFileError("the file is not a model that can be opened", {
        where: source.name,
        expected: "a Fidelity model file, GGUF, safetensors, or a llama2.c version 0 checkpoint",
        got: seen,
      });
  }
}

function huggingFaceParts({ config: texts }: TensorSource, config: unknown, options: OpenFromOptions): ForeignParts {
  const { tokenizer: files } = options;
  const beside = files !== undefined && !("encode" in files) ? files.config : undefined;
  return {
    format: "huggingFace",
    config,
    tokenizer: () => undefined,
    vocabulary: () => undefined,
    card: () => new Map([...cardOfTexts(texts), ...templatesOfFolder(beside, undefined)]),
  };
}

/** A container: its tensors are fetched to where they are used. */
async function readContainer(source: ByteSource, options: OpenFromOptions): Promise<Found> {
  const { device, signal, verify, onProgress } = options;
  const reader = await ContainerReader.open(source, { signal });
  const { model, tokenizer, types } = storedModel(source.name, reader.header);
  requirePlan({ path: source.name, model, tensors: reader.header.tensors }, device.target, options);
  const parameters = createParameters(device, Object.fromEntries(types), () => undefined);
  try {
    for (const [done, [name, tensor]] of [...parameters].entries()) {
      onProgress?.({ parameter: name, done, total: parameters.size });
      const bytes = await reader.tensor(name, { signal, verify });
      tensor.bytes().set(bytes as Uint8Array);
    }
  } catch (error) {
    freeParameters(parameters);
    throw error;
  }
  return { model, tokenizer, parameters, card: cardOfTexts(reader.header.metadata) };
}

async function readLlama2cModel(source: ByteSource, options: OpenFromOptions): Promise<Found> {
  const file = await readHeader(source, readLlama2c, options);
  const model = createModel(file.config);
  const tensors = new Map(file.tensors.map((tensor) => [tensor.name, tensor]));
  const origins = new Map(namedParameters(model.parameters).map(({ path }) => [path, { names: [path] }]));
  const parameters = await readParameters(source, { model, origins }, tensors, options);
  return { model, tokenizer: undefined, parameters, card: new Map() };
}

async function readForeign<S extends TensorSource>(
  source: ByteSource,
  options: OpenFromOptions,
  reader: HeaderReader<S>,
  partsOf: (file: S) => readonly [Parameters<typeof foreignFile>[2], ForeignParts],
): Promise<Found> {
  const { file, imported } = await readHeader(
    source,
    (bytes, name, rest) => {
      const read = reader(bytes, name, rest);
      const [metadata, parts] = partsOf(read);
      const opened = foreignFile(name, read, metadata, parts, new DisposableStack());
      // Some architectures look at small tensors, which are fetched as a part of the header.
      return { file: opened, imported: importModel(opened.format, opened.described) };
    },
    options,
  );
  const tokenizer = options.tokenizer === undefined ? file.tokenizer(imported.model.vocabSize) : undefined;
  const parameters = await readParameters(source, imported, file.tensors, options);
  return { model: imported.model, tokenizer, parameters, card: file.card() };
}

/** Makes a model's parameters, one after the other, of tensors that are fetched when their turn comes. */
async function readParameters(
  source: ByteSource,
  { model, origins }: ForeignImport,
  tensors: ReadonlyMap<string, SourceTensor>,
  options: OpenFromOptions,
): Promise<DeviceParameters> {
  const { device, onProgress, verify = true } = options;
  const leaves = namedParameters(model.parameters);
  const stored = leaves.map(({ path: name }) => {
    const { names, read } = origins.get(name)!;
    return { name, dtype: tensors.get(names[0])!.dtype, derived: read !== undefined };
  });
  requirePlan({ path: source.name, model, tensors: stored }, device.target, options);
  const made = new Map<string, DeviceTensor>();
  try {
    for (const [done, { path, leaf }] of leaves.entries()) {
      onProgress?.({ parameter: path, done, total: leaves.length });
      const origin = origins.get(path)!;
      const fetched = await Promise.all(origin.names.map((name) => fetchTensor(source, tensors.get(name)!, options)));
      made.set(path, makeParameter(device, leaf, origin, fetched, verify));
    }
  } catch (error) {
    freeParameters(made);
    throw error;
  }
  return made;
}

async function fetchTensor(source: ByteSource, tensor: SourceTensor, options: OpenFromOptions): Promise<SourceTensor> {
  const { name, dtype, shape, byteOffset, sizeBytes } = tensor;
  const all = await fetchRange(source, byteOffset, sizeBytes, options);
  return { name, dtype, shape, byteOffset, sizeBytes, bytes: (start = 0, end = sizeBytes) => all.subarray(start, end) };
}

type HeaderReader<T> = (bytes: Uint8Array, fileName: string, rest: PartialFile) => T;

/** A range that a reader asked for and that is not here yet. */
class RangeNeeded extends Error {
  readonly byteOffset: number;
  readonly sizeBytes: number;

  constructor(byteOffset: number, sizeBytes: number) {
    super(`bytes ${byteOffset} to ${byteOffset + sizeBytes} are needed`);
    this.byteOffset = byteOffset;
    this.sizeBytes = sizeBytes;
  }
}

/** Gives a reader the start of the file, and whatever else it asks for, until it is content. */
async function readHeader<T>(source: ByteSource, reader: HeaderReader<T>, options: OpenFromOptions): Promise<T> {
  const { name, sizeBytes: fileSizeBytes } = source;
  const ranges = new Map<number, Uint8Array>();
  const read = (byteOffset: number, sizeBytes: number): Uint8Array => {
    const known = ranges.get(byteOffset);
    if (known !== undefined && known.length >= sizeBytes) return known.subarray(0, sizeBytes);
    throw new RangeNeeded(byteOffset, sizeBytes);
  };
  ranges.set(0, await fetchRange(source, 0, Math.min(fileSizeBytes, FIRST_READ_BYTES), options));
  for (;;) {
    const start = ranges.get(0)!;
    try {
      return reader(start, name, { fileSizeBytes, read });
    } catch (error) {
      let [byteOffset, sizeBytes] = [0, 0];
      if (error instanceof RangeNeeded) ({ byteOffset, sizeBytes } = error);
      else if (error instanceof MoreBytesNeeded) sizeBytes = Math.max(2 * start.length, error.sizeBytes);
      else throw error;
      if (sizeBytes > HEADER_BYTES_MAX) throw tooLong(name, sizeBytes);
      sizeBytes = Math.min(sizeBytes, fileSizeBytes - byteOffset);
      ranges.set(byteOffset, await fetchRange(source, byteOffset, sizeBytes, options));
    }
  }
}

function tooLong(where: string, sizeBytes: number): ModelFileError {
  return new ModelFileError("the file has a header that is too long", {
    where,
    expected: `at most ${HEADER_BYTES_MAX} bytes`,
    got: `${sizeBytes} bytes or more`,
  });
}

async function fetchRange(
  source: ByteSource,
  offset: number,
  sizeBytes: number,
  { signal }: OpenFromOptions,
): Promise<Uint8Array> {
  signal?.throwIfAborted();
  return (await readRange(source, { offset, sizeBytes }, { signal })) as Uint8Array;
}

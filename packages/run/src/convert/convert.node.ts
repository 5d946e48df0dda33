// From one model file to another, tensor by tensor: GGUF, Hugging Face's folders, ONNX, and Fidelity's own container.
// What is written is read back and compared. A GGUF file becomes another one without anybody knowing its architecture:
// metadata and names stay, and only the types of its matrices change.

import { basename, dirname, extname, resolve } from "node:path";
import { writeFileGradually } from "@fidelity/barewire/node";
import { sameShape } from "@fidelity/core";
import { decodeTensorValues, encodeValues, ggufPieces, tensorSizeBytes } from "@fidelity/formats";
import type { GgufValue, SourceDtype, SourceTensor, TensorToWrite } from "@fidelity/formats";
import { openGguf, openOnnx } from "@fidelity/formats/node";
import { namedParameters, namings, tokenizerToGguf, tokenizerToHuggingFace } from "@fidelity/models";
import type { FileNaming, ForeignFormat, Tokenizer } from "@fidelity/models";
import { CHAT_TEMPLATE, ggufEntriesOfCard, textsOfCard } from "../card.ts";
import type { ModelCard } from "../card.ts";
import { ModelFileError } from "../errors.ts";
import { openForeignModel } from "../foreign-file.node.ts";
import { formatOf } from "../model-file.node.ts";
import { writeContainerModel } from "./container.node.ts";
import { writeFolder } from "./folder.node.ts";
import { ggufEntry, typeEntries } from "./gguf-metadata.ts";
import { compareTokenizers, fittedTokenizer, orNotice } from "./kept-tokenizer.ts";
import type { KeptTokenizer } from "./kept-tokenizer.ts";
import { openValues } from "./values.node.ts";
import type { StoredParameter, StoredValues } from "./values.node.ts";

/** What can be written. */
export const CONVERT_FORMATS = ["gguf", "safetensors", "onnx", "fidelity"] as const;
/** Tokens of a sequence in an ONNX file where nothing is said. */
export const ONNX_CONTEXT = 128;
export type ConvertFormat = (typeof CONVERT_FORMATS)[number];

export interface ConvertOptions {
  readonly format: ConvertFormat;
  /** The type of the matrices: any that is written for GGUF, "f32", "f16" or "bf16" for others; kept if absent. */
  readonly dtype?: SourceDtype;
  /** Tokens of a sequence in an ONNX file; `ONNX_CONTEXT`, or what the model has, where that is less. */
  readonly context?: number;
  /** A tokenizer file of llama2.c, or a tokenizer.json, instead of the model's own. */
  readonly tokenizer?: string;
  readonly onProgress?: (done: number, total: number, name: string) => void;
  readonly signal?: AbortSignal;
}

/** What became of a tensor. */
export interface ConvertedTensor {
  readonly name: string;
  readonly from: string;
  readonly to: string;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** The largest difference of a value that was read back from the one before. */
  readonly largestError: number;
  /** Root of the mean squared difference over that of the mean square. */
  readonly relativeError: number;
}

export interface ConvertReport {
  readonly input: string;
  readonly output: string;
  readonly format: ConvertFormat;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  readonly tensors: readonly ConvertedTensor[];
  /** Absent where the output has none. */
  readonly tokenizer?: KeptTokenizer;
  readonly hasChatTemplate: boolean;
  /** What could not be kept as it was, in sentences. */
  readonly notices: readonly string[];
}

/** A tensor on its way. */
interface Piece {
  readonly name: string;
  readonly shape: readonly number[];
  readonly from: string;
  readonly to: SourceDtype;
  readonly bytesBefore: number;
  values(): Float32Array;
  /** The bytes as they are, where nothing changes. */
  readonly unchanged?: () => Uint8Array;
}

/**
 * Writes the model at `input` to `output`, a file, or for safetensors a folder. What was there stays until everything
 * is written. Throws `ModelFileError` where an architecture is not written in this format, `InvalidTensorError` where a
 * value does not fit the type, `FileError`, the signal's reason, and what `openModel` throws.
 */
export function convertModel(input: string, output: string, options: ConvertOptions): Promise<ConvertReport> {
  const isSame = options.format === "gguf" && formatOf(input) === "gguf";
  return isSame ? convertGguf(input, output, options) : convertKnown(input, output, options);
}

/** GGUF to GGUF: everything stays under its name. */
async function convertGguf(input: string, output: string, options: ConvertOptions): Promise<ConvertReport> {
  using opened = openGguf(input);
  const { tensors } = opened.source;
  const pieces = tensors.map((tensor): Piece => {
    const { name, shape, dtype, sizeBytes } = tensor;
    const to = typeFor(shape, options.dtype) ?? dtype;
    const values = (): Float32Array => decodeTensorValues(tensor);
    const unchanged = to === dtype ? () => tensor.bytes() : undefined;
    return { name, shape, from: dtype, to, bytesBefore: sizeBytes, values, unchanged };
  });
  const notices: string[] = [];
  noticeUnchanged(pieces, options, notices);
  const metadata = new Map(opened.source.metadata);
  if (options.tokenizer !== undefined) replaceTokenizer(metadata, input, options.tokenizer);
  if (options.dtype !== undefined) for (const entry of typeEntries(pieces)) metadata.set(...ggufEntry(entry));
  const file = ggufPieces({ metadata, tensors: tensorsToWrite(pieces, options) });
  const bytesAfter = await writeFileGradually(output, file, options);
  const bytesBefore = tensors.reduce((end, { byteOffset, sizeBytes }) => Math.max(end, byteOffset + sizeBytes), 0);
  using written = openGguf(output);
  const [kind, texts] = ["model", "tokens"].map((key) => metadata.get(`tokenizer.ggml.${key}`));
  const hasTokenizer = kind?.type === "string" && texts?.type === "array";
  return {
    ...{ input, output, format: "gguf", bytesBefore, bytesAfter },
    tensors: readBack(pieces, written.source.tensors),
    ...(hasTokenizer ? { tokenizer: { kind: String(kind.value), vocabSize: texts.length } } : {}),
    hasChatTemplate: metadata.has(CHAT_TEMPLATE),
    notices,
  };
}

/** Puts another tokenizer into metadata. Throws what `readTokenizer` and `tokenizerToGguf` throw. */
function replaceTokenizer(metadata: Map<string, GgufValue>, input: string, path: string): void {
  using source = openValues(input, { tokenizer: path });
  for (const key of metadata.keys()) if (key.startsWith("tokenizer.ggml.")) metadata.delete(key);
  for (const entry of tokenizerToGguf(source.tokenizer!)) metadata.set(...ggufEntry(entry));
}

async function convertKnown(input: string, output: string, options: ConvertOptions): Promise<ConvertReport> {
  using source = openValues(input, { tokenizer: options.tokenizer });
  const notices: string[] = [];
  const read = orNotice(() => source.tokenizer, notices);
  const tokenizer = fittedTokenizer(read, source.model.vocabSize, notices);
  const card = namedCard(source.card, input);
  const write = { fidelity: writeOwn, onnx: writeOnnx, gguf: writeForeign, safetensors: writeForeign }[options.format];
  const { kept, ...written } = await write(output, { source, tokenizer, card }, options, notices);
  return {
    ...{ input, output, format: options.format, bytesBefore: source.fileSizeBytes },
    ...written,
    ...(kept === undefined ? {} : { tokenizer: { kind: kept.kind, vocabSize: kept.vocabSize } }),
    hasChatTemplate: card.has(CHAT_TEMPLATE),
    notices,
  };
}

/** A card with a name, if need be that of the file or its folder. */
function namedCard(card: ModelCard, input: string): ModelCard {
  const path = resolve(input);
  const own = basename(path, extname(path));
  const isPlain = own === "model" || own.startsWith("step-");
  return new Map([["general.name", isPlain ? basename(dirname(path)) : own], ...card]);
}

/** What is written. */
interface Contents {
  readonly source: StoredValues;
  readonly tokenizer: Tokenizer | undefined;
  readonly card: ModelCard;
}

interface Written extends Pick<ConvertReport, "bytesAfter" | "tensors"> {
  /** The tokenizer that was written. */
  readonly kept: Tokenizer | undefined;
}

async function writeOwn(output: string, contents: Contents, options: ConvertOptions): Promise<Written> {
  const { source, tokenizer, card } = contents;
  const { model, parameters } = source;
  const { fileSizeBytes } = await writeContainerModel(output, { model, parameters, tokenizer, card }, options);
  using written = openValues(output);
  const tensors = [...parameters].map(([name, stored]) =>
    compare(
      { name, from: stored.dtype, bytesBefore: stored.sizeBytes, values: stored.values },
      written.parameters.get(name)!,
    ),
  );
  return { bytesAfter: fileSizeBytes, tensors, kept: tokenizer };
}

/** A graph of operators for sequences of one length, and the parameters under their paths. */
async function writeOnnx(
  output: string,
  { source, tokenizer, card }: Contents,
  options: ConvertOptions,
  notices: string[],
): Promise<Written> {
  const { model, parameters } = source;
  const pieces = namedParameters(model.parameters).map(({ path: name, leaf: { shape } }): Piece => {
    const { dtype: from, sizeBytes: bytesBefore, values } = parameters.get(name)!;
    return { name, shape, from, to: typeFor(shape, options.dtype) ?? "f32", bytesBefore, values };
  });
  noticeUnchanged(pieces, options, notices);
  const tokens = options.context ?? Math.min(model.contextLimit ?? Infinity, ONNX_CONTEXT);
  notices.push(`the file takes sequences of ${tokens} tokens: ONNX has shapes and no caches`);
  if (tokenizer !== undefined) notices.push("an ONNX file has no place for the tokenizer: keep it beside the file");
  const weights = tensorsToWrite(pieces, options);
  const { onnxOfModel } = await import("./onnx-model.ts"); // 50 ms that no other conversion waits for
  const bytes = onnxOfModel({ model, tokens, weights, metadata: textsOfCard(card) });
  const bytesAfter = await writeFileGradually(output, [bytes], options);
  using written = openOnnx(output);
  return { bytesAfter, tensors: readBack(pieces, written.source.tensors), kept: undefined };
}

async function writeForeign(
  output: string,
  { source, tokenizer, card }: Contents,
  options: ConvertOptions,
  notices: string[],
): Promise<Written> {
  const format = options.format === "gguf" ? "gguf" : "safetensors";
  const naming = namingFor(source, format === "gguf" ? "gguf" : "huggingFace");
  const pieces = [...foreignPieces(source, naming, options.dtype), ...constantPieces(source, naming)];
  noticeUnchanged(pieces, options, notices);
  const tensors = tensorsToWrite(pieces, options);
  const entries = naming.metadata(source.model.config);
  let [bytesAfter, kept] = [0, false];
  if (format === "gguf") {
    const vocabulary = tokenizer === undefined ? undefined : orNotice(() => tokenizerToGguf(tokenizer), notices);
    kept = vocabulary !== undefined;
    const metadata = new Map(
      [
        { key: "general.architecture", type: "string", value: naming.names[0] } as const,
        ...typeEntries(pieces),
        ...entries,
        ...(vocabulary ?? []),
        ...ggufEntriesOfCard(card),
      ].map(ggufEntry),
    );
    bytesAfter = await writeFileGradually(output, ggufPieces({ metadata, tensors }), options);
  } else {
    const files = tokenizer === undefined ? undefined : orNotice(() => tokenizerToHuggingFace(tokenizer), notices);
    kept = files !== undefined;
    const config = {
      model_type: naming.names[0],
      ...Object.fromEntries(entries.map(({ key, value }) => [key, value])),
    };
    bytesAfter = await writeFolder(output, { config, tensors, tokenizer: files, card }, options);
  }
  using written = openForeignModel(output);
  if (kept && tokenizer !== undefined) {
    compareTokenizers(
      tokenizer,
      orNotice(() => written.tokenizer(source.model.vocabSize), notices),
      notices,
    );
  }
  return { bytesAfter, tensors: readBack(pieces, [...written.tensors.values()]), kept: kept ? tokenizer : undefined };
}

type WritingNaming = FileNaming & { readonly metadata: NonNullable<FileNaming["metadata"]> };

function namingFor({ model }: StoredValues, format: ForeignFormat): WritingNaming {
  const naming = namings[model.architecture]?.[format];
  if (naming?.metadata !== undefined) return naming as WritingNaming;
  const able = Object.entries(namings).filter(([, known]) => known[format]?.metadata !== undefined);
  throw new ModelFileError(`${model.architecture} models are not written in this format`, {
    expected: `one of ${able.map(([name]) => name).join(", ")}`,
    got: model.architecture,
    hint: "write Fidelity's own format, which holds every architecture",
  });
}

/** The tensors of a file in another program's names. */
function foreignPieces(source: StoredValues, naming: FileNaming, dtype: SourceDtype | undefined): Piece[] {
  return namedParameters(source.model.parameters).flatMap(({ path, leaf }) => {
    const origin = naming.origin(path, source.model.config);
    const stored = source.parameters.get(path)!;
    if (origin === undefined || (origin.read !== undefined && origin.write === undefined)) {
      throw new ModelFileError(`${source.model.architecture} models are not written in this format`, {
        where: `parameter "${path}"`,
        hint: "write Fidelity's own format, which holds every architecture",
      });
    }
    return origin.names.map((name, i): Piece => {
      const shape = origin.shapes?.[i] ?? leaf.shape;
      const to = typeFor(shape, dtype) ?? "f32";
      const values = (): Float32Array =>
        origin.write === undefined ? stored.values() : origin.write(stored.values())[i];
      return { name, shape, from: stored.dtype, to, bytesBefore: stored.sizeBytes / origin.names.length, values };
    });
  });
}

/** The tensors of another program's file that are configuration here. */
function constantPieces({ model }: StoredValues, naming: FileNaming): Piece[] {
  return [...(naming.constants?.(model.config) ?? [])].map(([name, values]): Piece => {
    return {
      name,
      shape: [values.length],
      from: "f32",
      to: "f32",
      bytesBefore: values.byteLength,
      values: () => values,
    };
  });
}

/** Adds a notice where matrices keep a type because their rows are no whole blocks of the one that was asked for. */
function noticeUnchanged(pieces: readonly Piece[], { dtype }: ConvertOptions, notices: string[]): void {
  if (dtype === undefined) return;
  const matrices = pieces.filter(({ shape }) => isMatrix(shape));
  const others = matrices.filter(({ to }) => to !== dtype);
  if (others.length === 0) return;
  const types = [...new Set(others.map(({ to }) => to))].join(", ");
  const why = `their rows are no whole blocks of ${dtype}`;
  notices.push(`${others.length} of ${matrices.length} matrices are ${types} and not ${dtype}: ${why}`);
}

/** Narrower matrices are for what a router or a convolution reads, and stay as they are. */
const COLUMNS_MIN = 32;

function isMatrix(shape: readonly number[]): boolean {
  return shape.length >= 2 && shape.slice(-2).every((extent) => extent >= COLUMNS_MIN);
}

/** The type that a tensor gets: `dtype` for a matrix whose rows are whole blocks of it; undefined: it keeps its own. */
function typeFor(shape: readonly number[], dtype: SourceDtype | undefined): SourceDtype | undefined {
  return dtype !== undefined && isMatrix(shape) && tensorSizeBytes(dtype, shape) !== undefined ? dtype : undefined;
}

function tensorsToWrite(pieces: readonly Piece[], { onProgress }: ConvertOptions): TensorToWrite[] {
  return pieces.map(({ name, shape, to, values, unchanged }, i): TensorToWrite => {
    const bytes = (): Uint8Array => {
      onProgress?.(i, pieces.length, name);
      return unchanged?.() ?? encodeValues(to, shape, values());
    };
    return { name, dtype: to, shape, bytes };
  });
}

function readBack(pieces: readonly Piece[], written: readonly SourceTensor[]): ConvertedTensor[] {
  const byName = new Map(written.map((tensor) => [tensor.name, tensor]));
  return pieces.map((piece) => {
    const tensor = byName.get(piece.name);
    if (tensor === undefined || !sameShape(tensor.shape, piece.shape)) throw notReadBack(piece.name);
    return compare(piece, { ...tensor, values: () => decodeTensorValues(tensor) });
  });
}

function compare(
  piece: Pick<Piece, "name" | "from" | "bytesBefore" | "values">,
  { dtype, sizeBytes, values }: StoredParameter,
): ConvertedTensor {
  const [before, after] = [piece.values(), values()];
  if (before.length !== after.length) throw notReadBack(piece.name);
  let [largestError, squares, errorSquares] = [0, 0, 0];
  for (let i = 0; i < before.length; i++) {
    const error = Math.abs(after[i] - before[i]);
    if (error > largestError) largestError = error;
    squares += before[i] ** 2;
    errorSquares += error ** 2;
  }
  const relativeError = errorSquares === 0 ? 0 : Math.sqrt(errorSquares / squares);
  const { name, from, bytesBefore } = piece;
  return { name, from, to: dtype, bytesBefore, bytesAfter: sizeBytes, largestError, relativeError };
}

function notReadBack(name: string): ModelFileError {
  return new ModelFileError("what was written does not read back", {
    where: `tensor "${name}"`,
    hint: "check the disk, and convert again",
  });
}

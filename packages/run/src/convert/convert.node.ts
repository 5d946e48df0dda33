// From one model file to another, tensor by tensor: GGUF, Hugging Face's folders, and Fidelity's own container. What is
// written is read back and compared. A GGUF file becomes another one without anybody knowing its architecture: metadata
// and names stay, and only the types of its matrices change.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { toFileError, writeFileAtomic, writeFileGradually } from "@fidelity/barewire/node";
import { sameShape } from "@fidelity/core";
import {
  decodeTensorValues,
  encodeValues,
  ggufArray,
  ggufPieces,
  safetensorsPieces,
  tensorSizeBytes,
} from "@fidelity/formats";
import type { GgufValue, SourceDtype, SourceTensor, TensorToWrite } from "@fidelity/formats";
import { openGguf } from "@fidelity/formats/node";
import { namedParameters, namings } from "@fidelity/models";
import type { FileNaming, ForeignFormat, MetadataEntry } from "@fidelity/models";
import { ModelFileError } from "../errors.ts";
import { openForeignModel } from "../foreign-file.node.ts";
import { formatOf } from "../model-file.node.ts";
import { writeContainerModel } from "./container.node.ts";
import { openValues } from "./values.node.ts";
import type { StoredParameter, StoredValues } from "./values.node.ts";

/** What can be written. */
export const CONVERT_FORMATS = ["gguf", "safetensors", "fidelity"] as const;
export type ConvertFormat = (typeof CONVERT_FORMATS)[number];

export interface ConvertOptions {
  readonly format: ConvertFormat;
  /** The type of the matrices: any that is written for GGUF, "f32", "f16" or "bf16" for safetensors; kept if absent. */
  readonly dtype?: SourceDtype;
  /** A llama2.c tokenizer file. */
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
  const { tensors, metadata } = opened.source;
  const pieces = tensors.map((tensor): Piece => {
    const { name, shape, dtype, sizeBytes } = tensor;
    const to = typeFor(shape, options.dtype) ?? dtype;
    const values = (): Float32Array => decodeTensorValues(tensor);
    const unchanged = to === dtype ? () => tensor.bytes() : undefined;
    return { name, shape, from: dtype, to, bytesBefore: sizeBytes, values, unchanged };
  });
  const file = ggufPieces({ metadata, tensors: tensorsToWrite(pieces, options) });
  const bytesAfter = await writeFileGradually(output, file, options);
  const bytesBefore = tensors.reduce((end, { byteOffset, sizeBytes }) => Math.max(end, byteOffset + sizeBytes), 0);
  using written = openGguf(output);
  const compared = readBack(pieces, written.source.tensors);
  return { input, output, format: "gguf", bytesBefore, bytesAfter, tensors: compared };
}

async function convertKnown(input: string, output: string, options: ConvertOptions): Promise<ConvertReport> {
  using source = openValues(input, { tokenizer: options.tokenizer });
  const before = { input, output, format: options.format, bytesBefore: source.fileSizeBytes };
  if (options.format === "fidelity") {
    const { fileSizeBytes: bytesAfter } = await writeContainerModel(output, source, options);
    using written = openValues(output);
    const tensors = [...source.parameters].map(([name, stored]) =>
      compare(
        { name, from: stored.dtype, bytesBefore: stored.sizeBytes, values: stored.values },
        written.parameters.get(name)!,
      ),
    );
    return { ...before, bytesAfter, tensors };
  }
  const format: ForeignFormat = options.format === "gguf" ? "gguf" : "huggingFace";
  const naming = namingFor(source, format);
  const pieces = [...foreignPieces(source, naming, options.dtype), ...constantPieces(source, naming)];
  const tensors = tensorsToWrite(pieces, options);
  const entries = naming.metadata(source.model.config);
  let bytesAfter: number;
  if (format === "gguf") {
    const architecture: GgufValue = { type: "string", value: naming.names[0] };
    const metadata = new Map([["general.architecture", architecture], ...entries.map(ggufEntry)]);
    bytesAfter = await writeFileGradually(output, ggufPieces({ metadata, tensors }), options);
  } else {
    makeFolder(output);
    const file = safetensorsPieces({ metadata: { format: "pt" }, tensors });
    bytesAfter = await writeFileGradually(join(output, "model.safetensors"), file, options);
    const config = {
      model_type: naming.names[0],
      ...Object.fromEntries(entries.map(({ key, value }) => [key, value])),
    };
    writeFileAtomic(join(output, "config.json"), [new TextEncoder().encode(`${JSON.stringify(config, null, 2)}\n`)]);
  }
  using written = openForeignModel(output, options.format);
  return { ...before, bytesAfter, tensors: readBack(pieces, [...written.tensors.values()]) };
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

/** Narrower matrices are for what a router or a convolution reads, and stay as they are. */
const COLUMNS_MIN = 32;

/** The type that a tensor gets: `dtype` for a matrix whose rows are whole blocks of it; undefined: it keeps its own. */
function typeFor(shape: readonly number[], dtype: SourceDtype | undefined): SourceDtype | undefined {
  const isMatrix = shape.length >= 2 && shape.slice(-2).every((extent) => extent >= COLUMNS_MIN);
  return dtype !== undefined && isMatrix && tensorSizeBytes(dtype, shape) !== undefined ? dtype : undefined;
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

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw toFileError(error, "write", path);
  }
}

function ggufEntry({ key, type, value }: MetadataEntry): [string, GgufValue] {
  return [key, Array.isArray(value) ? ggufArray(type, value) : ({ type, value } as GgufValue)];
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

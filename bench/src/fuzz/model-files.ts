// What must hold for hostile files of every format of the formats room: each way of reading gives what the others give,
// or all refuse it by a `FormatError`; tensors lie inside of the file and decode; what is read can be written again.

import { writeFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { FileError } from "@fidelity/barewire/node";
import { blockOf, decodeTensorValues, FormatError, MoreBytesNeeded } from "@fidelity/formats";
import type { PartialFile, SourceTensor, TensorSource } from "@fidelity/formats";
import { openSource } from "@fidelity/formats/node";
import type { Random } from "./random.ts";

/** What a byte of a file may cost in all ways of reading it together. */
export const BYTES_PER_BYTE = 1024;
const MESSAGE_LENGTH_MAX = 2000;

/** A format's reader, as the formats room has them. */
export type Reader<S> = (bytes: Uint8Array, fileName?: string, rest?: PartialFile) => S;

/** Reads a file whole and in parts. Gives the source, or the error by which both refuse it. */
export function checkReading<S extends TensorSource>(
  bytes: Uint8Array,
  reader: Reader<S>,
  random: Random,
): S | FormatError {
  const whole = outcome(() => reader(bytes));
  const parts = outcome(() => readInParts(bytes, reader, random));
  if (whole instanceof FormatError || parts instanceof FormatError) {
    if (whole instanceof FormatError && parts instanceof FormatError) return whole;
    throw new Error("read in parts and as a whole otherwise", { cause: [whole, parts] });
  }
  if (!isDeepStrictEqual(told(parts), told(whole))) throw new Error("read in parts as something else");
  let end = 0;
  for (const tensor of whole.tensors.toSorted((a, b) => a.byteOffset - b.byteOffset)) {
    if (tensor.byteOffset < end || tensor.byteOffset + tensor.sizeBytes > bytes.length) {
      throw new Error(`tensor ${tensor.name} lies over another or outside of the file`);
    }
    end = tensor.byteOffset + tensor.sizeBytes;
    checkTensor(tensor);
  }
  return whole;
}

function checkTensor(tensor: SourceTensor): void {
  const { shape, sizeBytes, dtype } = tensor;
  const { blockElements, blockBytes } = blockOf(dtype);
  const elements = shape.reduce((product, extent) => product * extent, 1);
  if (tensor.bytes().length !== sizeBytes || decodeTensorValues(tensor).length !== elements) {
    throw new Error(`tensor ${tensor.name} has another size than it says`);
  }
  if (sizeBytes > blockBytes && elements > blockElements && tensor.bytes(0, blockBytes).length !== blockBytes) {
    throw new Error(`a part of tensor ${tensor.name} has another size than it should`);
  }
}

// As files on disk are read: their start, and more of it as long as the header goes on.
function readInParts<S>(bytes: Uint8Array, reader: Reader<S>, random: Random): S {
  const read = (at: number, sizeBytes: number): Uint8Array => bytes.slice(at, at + sizeBytes);
  for (let sizeBytes = Math.min(bytes.length, 64 + random(512)); ;) {
    try {
      return reader(bytes.slice(0, sizeBytes), "the file", { fileSizeBytes: bytes.length, read });
    } catch (error) {
      if (!(error instanceof MoreBytesNeeded)) throw error;
      if (error.sizeBytes <= sizeBytes || error.sizeBytes > bytes.length) {
        throw new Error(`${error.sizeBytes} bytes are needed of ${bytes.length}`, { cause: error });
      }
      sizeBytes = Math.min(bytes.length, Math.max(2 * sizeBytes, error.sizeBytes));
    }
  }
}

/** Opens a file on disk. Throws unless that refuses or reads it as the bytes were. */
export function checkOnDisk(path: string, bytes: Uint8Array, found: TensorSource | FormatError): void {
  writeFileSync(path, bytes);
  const opened = outcome(() => openSource(path));
  if (opened instanceof FormatError) {
    // A part of a model needs the others.
    if (found instanceof FormatError || "split.count" in found.config) return;
    throw new Error("refused on disk", { cause: opened });
  }
  using file = opened;
  // What a damaged file is taken for may be another format.
  if (found instanceof FormatError) {
    if (file.source.format !== "llama2c") throw new Error("read on disk only");
    return;
  }
  if (!isDeepStrictEqual(told(file.source), told(found))) throw new Error("read on disk as something else");
  for (const key of file.metadata.keys) file.metadata.get(key);
}

/** What a source says of its tensors and its model. */
export function told({ config, tensors }: TensorSource): unknown {
  return [config, tensors.map(({ name, dtype, shape, sizeBytes }) => [name, dtype, shape, sizeBytes])];
}

/** What an action gives, or its `FormatError`. Any other error is thrown on, and one whose message has no end. */
export function outcome<T>(action: () => T): T | FormatError {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof FileError) || error instanceof MoreBytesNeeded) throw error;
    if (error.message.length > MESSAGE_LENGTH_MAX) {
      throw new Error(`an error of ${error.message.length} characters`, { cause: error });
    }
    return error instanceof FormatError ? error : new FormatError(error.summary);
  }
}

/** A word for a refusal: its summary without names and numbers. */
export function refusalWord(error: FormatError): string {
  return `refused: ${error.name}, ${error.summary.replaceAll(/"[^]*"|\d+/g, "...").slice(0, 48)}`;
}

// Model files on disk, in Node. With an arena the file is mapped into it and tensors are views; without
// one only the header is read, and each tensor when its bytes are asked for, so that a file of any size opens at once.

import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { FileError, mapFile, readContainerHeader, toFileError, writeFileAtomic } from "@fidelity/barewire/node";
import type { SharedArena } from "@fidelity/barewire";
import { MoreBytesNeeded } from "./byte-cursor.ts";
import { containerSource } from "./container-source.ts";
import type { ContainerSource } from "./container-source.ts";
import { FileSizeError, InvalidHeaderError } from "./errors.ts";
import { joinGguf, splitOf } from "./gguf-split.ts";
import { ggufPieces, readGguf } from "./gguf.ts";
import type { GgufInput, GgufSource } from "./gguf.ts";
import { readLlama2c } from "./llama2c.ts";
import type { Llama2cSource } from "./llama2c.ts";
import type { OnnxModel } from "./onnx/model.ts";
import {
  joinSafetensors,
  readSafetensors,
  readSafetensorsIndex,
  SAFETENSORS_HEADER_BYTES_MAX,
  safetensorsPieces,
} from "./safetensors.ts";
import type { SafetensorsInput, SafetensorsSource } from "./safetensors.ts";
import { rangeReader } from "./tensor-source.ts";
import type { PartialFile, TensorSource } from "./tensor-source.ts";

/** Protobuf's descriptions of ONNX take 50 ms to build, which nobody else should wait for. */
const load = createRequire(import.meta.url);

const FIRST_READ_BYTES = 1 << 20;
/** A longer header is refused: the largest vocabularies make some 10^7 bytes. */
const HEADER_BYTES_MAX = 2 ** 30;
const READ_BYTES_MAX = 2 ** 30; // one system call takes less than 2 GiB

/** A file that is open, and what it holds. Tensors' bytes are asked for before it is disposed. */
export interface OpenSource<S extends TensorSource> extends Disposable {
  readonly source: S;
}

export interface OpenSourceOptions {
  /** Maps the whole file into this arena, which has room for it; dispose the source before the arena. */
  readonly arena?: SharedArena;
}

/**
 * Opens a GGUF file; where it is a part of a model in several files, all of them, as one. Throws `FileError`,
 * `OutOfMemoryError` of the arena, and what `readGguf` and `joinGguf` throw.
 */
export function openGguf(path: string, options: OpenSourceOptions = {}): OpenSource<GgufSource> {
  using opened = new DisposableStack();
  const { source } = opened.use(openWith(path, readGguf, options));
  const split = splitOf(source, path);
  if (split === undefined) return { source, [Symbol.dispose]: disposerOf(opened) };
  const { number, fileNames } = split;
  const parts = fileNames.map((file, i) => {
    return i === number ? source : opened.use(openWith(file, readGguf, options)).source;
  });
  return { source: joinGguf(parts, fileNames), [Symbol.dispose]: disposerOf(opened) };
}

function disposerOf(opened: DisposableStack): () => void {
  const resources = opened.move();
  return () => resources.dispose();
}

/** Opens a llama2.c version 0 file. Throws `FileError`, `OutOfMemoryError`, and what `readLlama2c` throws. */
export function openLlama2c(path: string, options: OpenSourceOptions = {}): OpenSource<Llama2cSource> {
  return openWith(path, readLlama2c, options);
}

/** Opens an ONNX file, which is read whole. Throws `FileError`, `OutOfMemoryError`, and what `readOnnx` throws. */
export function openOnnx(path: string, options: OpenSourceOptions = {}): OpenSource<OnnxModel> {
  const { readOnnx } = load("@fidelity/formats/onnx") as { readonly readOnnx: Reader<OnnxModel> };
  return openWith(path, readOnnx, options);
}

/** Opens a container, its newest version. Throws `FileError`, and what `containerSource` and its reader throw. */
export function openContainerSource(path: string, options: OpenSourceOptions = {}): OpenSource<ContainerSource> {
  const header = readContainerHeader(path);
  return openWith(path, (bytes, name, rest) => containerSource(header, rangeReader(bytes, rest), name), options);
}

/** Opens a safetensors file. Throws `FileError`, `OutOfMemoryError` of the arena, and what `readSafetensors` throws. */
export function openSafetensors(path: string, options: OpenSourceOptions = {}): OpenSource<SafetensorsSource> {
  return openWith(path, readSafetensors, options);
}

/** Opens the files of a `model.safetensors.index.json`, which lie beside it, as one. Throws as `openSafetensors`. */
export function openSafetensorsIndex(path: string, options: OpenSourceOptions = {}): OpenSource<SafetensorsSource> {
  const index = readSafetensorsIndex(readText(path, SAFETENSORS_HEADER_BYTES_MAX), path);
  using opened = new DisposableStack();
  const source = joinSafetensors(index, (file) => {
    return opened.use(openSafetensors(join(dirname(path), file), options)).source;
  });
  return { source, [Symbol.dispose]: disposerOf(opened) };
}

/** Writes a GGUF file tensor by tensor: whole, or what was there stays. Returns its size in bytes. */
export function writeGgufFile(path: string, input: GgufInput): number {
  return writeFileAtomic(path, ggufPieces(input));
}

/** Writes a safetensors file tensor by tensor: whole, or what was there stays. Returns its size in bytes. */
export function writeSafetensorsFile(path: string, input: SafetensorsInput): number {
  return writeFileAtomic(path, safetensorsPieces(input));
}

type Reader<S> = (bytes: Uint8Array, fileName: string, rest?: PartialFile) => S;

function openWith<S extends TensorSource>(
  path: string,
  reader: Reader<S>,
  { arena }: OpenSourceOptions,
): OpenSource<S> {
  using opened = new DisposableStack();
  let source: S;
  if (arena === undefined) {
    const descriptor = openFile(path);
    opened.defer(() => closeSync(descriptor));
    source = readHead(path, descriptor, reader);
  } else {
    const file = opened.use(mapFile(path, arena));
    source = reader(file.region.u8() as Uint8Array, path); // nothing in this room writes to a source's bytes
  }
  return { source, [Symbol.dispose]: disposerOf(opened) };
}

/** Gives the reader the start of the file, and more of it as long as its header goes on. */
function readHead<S>(path: string, descriptor: number, reader: Reader<S>): S {
  const fileSizeBytes = fstatSync(descriptor).size;
  const read = (byteOffset: number, sizeBytes: number): Uint8Array =>
    readRange(path, descriptor, byteOffset, sizeBytes);
  for (let sizeBytes = Math.min(fileSizeBytes, FIRST_READ_BYTES); ;) {
    try {
      return reader(read(0, sizeBytes), path, { fileSizeBytes, read });
    } catch (error) {
      if (!(error instanceof MoreBytesNeeded)) throw error;
      if (error.sizeBytes > HEADER_BYTES_MAX) throw tooLong(path, error.sizeBytes);
      sizeBytes = Math.min(fileSizeBytes, Math.max(2 * sizeBytes, error.sizeBytes));
    }
  }
}

function tooLong(path: string, sizeBytes: number): InvalidHeaderError {
  return new InvalidHeaderError(`${path} has a header that is too long`, {
    where: path,
    expected: `at most ${HEADER_BYTES_MAX} bytes`,
    got: `${sizeBytes} bytes or more`,
  });
}

function openFile(path: string): number {
  try {
    const descriptor = openSync(path, "r");
    const stats = fstatSync(descriptor);
    if (stats.isFile()) return descriptor;
    closeSync(descriptor);
    throw new FileError("read", path, stats.isDirectory() ? "EISDIR" : "NOT_REGULAR");
  } catch (error) {
    throw toFileError(error, "read", path);
  }
}

function readRange(path: string, descriptor: number, byteOffset: number, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  try {
    for (let at = 0; at < sizeBytes;) {
      const count = readSync(descriptor, bytes, at, Math.min(sizeBytes - at, READ_BYTES_MAX), byteOffset + at);
      if (count === 0) throw new FileError("read", path, "TRUNCATED", { got: `${byteOffset + at} bytes` });
      at += count;
    }
  } catch (error) {
    throw toFileError(error, "read", path);
  }
  return bytes;
}

/** The text of a file of at most so many bytes. Throws `FileError`, and `FileSizeError` for a larger one. */
export function readText(path: string, mostBytes: number): string {
  const descriptor = openFile(path);
  try {
    const sizeBytes = fstatSync(descriptor).size;
    if (sizeBytes <= mostBytes) return new TextDecoder().decode(readRange(path, descriptor, 0, sizeBytes));
    throw new FileSizeError(`${path} is too large for what it should be`, {
      where: path,
      expected: `at most ${mostBytes} bytes`,
      got: `${sizeBytes} bytes`,
    });
  } finally {
    closeSync(descriptor);
  }
}

// A model file seen as a list of named tensors over bytes that stay where they are. Every reader in this room presents
// its format in this one shape, and whoever loads a model never knows which format it was. Nothing is decoded or
// copied before it is asked for: `bytes()` is a view into the file where that is in memory or mapped.
//
// Leaves out: big-endian hosts.

import { quote } from "./byte-cursor.ts";
import { InvalidTensorError } from "./errors.ts";
import { decodeValues, tensorSizeBytes } from "./quants/table.ts";
import type { SourceDtype } from "./quants/table.ts";

/** A value that JSON and the model container can both hold. */
export type PlainValue = string | number | boolean;

/** One tensor of a file: where it lies, and a view of it. */
export interface SourceTensor {
  /** The file's own name; in llama2.c, which has none, a dotted path such as `blocks.0.attention.query.weight`. */
  readonly name: string;
  readonly dtype: SourceDtype;
  /** Row-major: the last axis is contiguous. A linear layer's weight is [out, in]. */
  readonly shape: readonly number[];
  /** Position of the first byte, counted from the start of the file. */
  readonly byteOffset: number;
  readonly sizeBytes: number;
  /**
   * The tensor's bytes, or those from `start` to before `end`: a view of the file where it is in memory, and read at
   * each call where it is not.
   */
  bytes(start?: number, end?: number): Uint8Array;
}

/** Where the bytes of a file are, when they are not all in memory. */
export interface PartialFile {
  readonly fileSizeBytes: number;
  /** Reads a range of the file. */
  read(byteOffset: number, sizeBytes: number): Uint8Array;
}

/** What gives a range of a file: `rest` where it is there, and `bytes`, the whole file, where it is not. */
export function rangeReader(bytes: Uint8Array, rest: PartialFile | undefined): PartialFile["read"] {
  return rest?.read ?? ((byteOffset, sizeBytes) => bytes.subarray(byteOffset, byteOffset + sizeBytes));
}

/** A tensor that lies in a file as its type has it. */
export function tensorIn(read: PartialFile["read"], place: Omit<SourceTensor, "bytes">): SourceTensor {
  const { name, dtype, shape, byteOffset, sizeBytes } = place;
  const bytes = (start = 0, end = sizeBytes): Uint8Array => read(byteOffset + start, end - start);
  return { name, dtype, shape, byteOffset, sizeBytes, bytes };
}

/** A tensor to write. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: SourceDtype;
  /** Row-major, the last axis contiguous. */
  readonly shape: readonly number[];
  /** Called once, when its turn comes, unless there are `pieces`. */
  bytes(): Uint8Array;
  /** The same bytes piece by piece, so that a tensor of any size is written. */
  pieces?(): Iterable<Uint8Array>;
}

/** The bytes of a tensor in pieces. Throws what `refuse` makes of their number where it is not what the type takes. */
export function* checkedPieces(
  tensor: TensorToWrite,
  refuse: (expected: string, got: string) => InvalidTensorError,
): Generator<Uint8Array> {
  const sizeBytes = tensorSizeBytes(tensor.dtype, tensor.shape);
  let written = 0;
  for (const piece of tensor.pieces?.() ?? [tensor.bytes()]) {
    written += piece.length;
    yield piece;
  }
  if (written !== sizeBytes) throw refuse(`${sizeBytes} bytes`, `${written} bytes`);
}

/** A model file: what it is, how the model is built, and its tensors in file order. */
export interface TensorSource {
  readonly format: string;
  readonly config: Readonly<Record<string, PlainValue>>;
  readonly tensors: readonly SourceTensor[];
}

/** Finds a tensor by name. Throws `InvalidTensorError` that lists what is there when it is missing. */
export function findTensor(source: TensorSource, name: string): SourceTensor {
  const found = source.tensors.find((tensor) => tensor.name === name);
  if (found !== undefined) return found;
  const names = source.tensors.map((tensor) => tensor.name);
  throw new InvalidTensorError(`the ${source.format} file has no tensor ${quote(name)}`, {
    expected: `one of the file's ${names.length} tensors`,
    got: names.slice(0, 8).map(quote).join(", ") + (names.length > 8 ? ", ..." : ""),
    hint: "check that the file holds the architecture that you are loading",
  });
}

/** The elements of a tensor of any type as float32, decoded into a new array. Throws `InvalidTensorError`. */
export function decodeTensorValues(tensor: SourceTensor): Float32Array {
  return decodeValues(tensor.dtype, tensor.shape, tensor.bytes());
}

/**
 * The elements of an f32 tensor. It is a view when the bytes lie on a multiple of 4, as they do in a mapped file, and a
 * copy otherwise, because a Float32Array cannot start elsewhere.
 */
export function float32Values(tensor: SourceTensor): Float32Array {
  if (tensor.dtype !== "f32") {
    throw new InvalidTensorError(`tensor ${quote(tensor.name)} does not hold 32-bit floats`, {
      expected: "f32",
      got: tensor.dtype,
    });
  }
  const bytes = tensor.bytes();
  // Not bytes.slice(): on a Node Buffer it is another view.
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4);
}

/**
 * Reads every f32 tensor once and throws `InvalidTensorError` at the first NaN or infinity. It touches every page of
 * the file, so readers leave it to whoever wants to spend that time.
 */
export function assertFinite(source: TensorSource): void {
  for (const tensor of source.tensors) {
    if (tensor.dtype !== "f32") continue;
    const values = float32Values(tensor);
    for (let index = 0; index < values.length; index++) {
      if (Number.isFinite(values[index])) continue;
      throw new InvalidTensorError(`tensor ${quote(tensor.name)} holds a value that is not finite`, {
        where: `element ${index} of shape [${tensor.shape.join(", ")}], byte ${tensor.byteOffset + 4 * index}`,
        expected: "finite numbers",
        got: String(values[index]),
        hint: "the file is damaged or its training diverged; fetch it again or use an earlier checkpoint",
      });
    }
  }
}

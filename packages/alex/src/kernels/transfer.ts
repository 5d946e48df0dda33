// Arguments of kernels between plain TypeScript (typed arrays, rows of rows, numbers) and the storage layout of
// tensors.

import { elementCount, encodeTensor } from "@fidelity/core";
import type { TensorType } from "@fidelity/core";
import { KernelValueError } from "./types.ts";

type Cells = Float32Array | Float64Array | Int32Array;

/** The storage of a plain tensor as numbers. */
function cellsOf(type: TensorType, bytes: Uint8Array): Cells {
  const count = elementCount(type.shape);
  const { buffer, byteOffset } = bytes;
  if (type.dtype === "f64") return new Float64Array(buffer, byteOffset, count);
  return type.dtype === "i32" ? new Int32Array(buffer, byteOffset, count) : new Float32Array(buffer, byteOffset, count);
}

function misfit(name: string, expected: string, value: unknown): KernelValueError {
  const isList = Array.isArray(value) || ArrayBuffer.isView(value);
  const got = isList
    ? `${(value as { constructor: { name: string } }).constructor.name} of ${(value as ArrayLike<unknown>).length}`
    : typeof value;
  return new KernelValueError(`the argument ${name} does not fit the kernel's parameter`, { expected, got });
}

/** Calls `visit` for each row of a nested list, which has the type's shape. Throws `KernelValueError`. */
function eachRow(
  name: string,
  shape: readonly number[],
  value: unknown,
  visit: (row: ArrayLike<number>, at: number) => void,
  at = 0,
): void {
  const [dim = 1, ...rest] = shape;
  const isList = Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
  if (!isList || (value as unknown as ArrayLike<unknown>).length !== dim) {
    throw misfit(name, `${dim} ${rest.length === 0 ? "elements" : "rows"}`, value);
  }
  const list = value as unknown as ArrayLike<unknown>;
  if (rest.length === 0) return visit(list as ArrayLike<number>, at);
  const step = elementCount(rest);
  for (let i = 0; i < dim; i++) eachRow(name, rest, list[i], visit, at + i * step);
}

/**
 * What an argument was when it was last written. Ternary weights are read only and take time to pack, so that the same
 * object is packed once; everything else may have changed and is written at each call.
 */
export class LastArguments {
  readonly #last: unknown[] = [];

  /** Whether argument `i` is there already. */
  isSame(i: number, type: TensorType, value: unknown): boolean {
    const same = type.dtype === "ternary" && this.#last[i] === value;
    this.#last[i] = value;
    return same;
  }
}

/** Writes an argument into a tensor's storage. Throws `KernelValueError` when it does not have the tensor's shape. */
export function writeArgument(name: string, type: TensorType, bytes: Uint8Array, value: unknown): void {
  if (type.dtype === "ternary") return writeTernary(name, type, bytes, value);
  const cells = cellsOf(type, bytes);
  if (type.shape.length === 0) {
    if (typeof value !== "number" && typeof value !== "boolean") throw misfit(name, "a number", value);
    cells[0] = Number(value);
    return;
  }
  eachRow(name, type.shape, value, (row, at) => cells.set(row, at));
}

function writeTernary(name: string, type: TensorType, bytes: Uint8Array, value: unknown): void {
  const data = new Float64Array(elementCount(type.shape));
  eachRow(name, type.shape, value, (row, at) => data.set(row, at));
  if (!data.every((weight) => weight === -1 || weight === 0 || weight === 1)) {
    throw misfit(name, "weights of -1, 0 and 1", value);
  }
  const scale = (value as { readonly scale?: unknown }).scale;
  encodeTensor({ type, data, scales: Float64Array.of(typeof scale === "number" ? scale : 1) }, bytes);
}

/**
 * Copies a tensor's storage back to an argument. Throws `KernelValueError` when it does not have the tensor's shape.
 */
export function readArgument(name: string, type: TensorType, bytes: Uint8Array, value: unknown): void {
  const cells = cellsOf(type, bytes);
  eachRow(name, type.shape, value, (row, at) => {
    const target = row as unknown as Cells;
    target.set(cells.subarray(at, at + row.length));
  });
}

/** The number in a tensor of rank 0. */
export function readNumber(type: TensorType, bytes: Uint8Array): number {
  return cellsOf(type, bytes)[0]!;
}

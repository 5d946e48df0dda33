// A function over tensors as a function over plain numbers and arrays: traced once for its types, compiled by a device,
// called as often as one likes. For programs that a person writes; training and decoding bind tensors themselves and
// copy nothing.

import { FidelityError } from "@fidelity/units";
import type { Dtype } from "./dtype.ts";
import type { Device, DeviceTensor, Executable } from "./device.ts";
import type { Tensor } from "./graph.ts";
import { formatType } from "./graph.ts";
import { cellsOf } from "./host.ts";
import { elementCount } from "./storage.ts";
import type { TensorsOf, TypedTensorType } from "./trace.ts";
import { isTensor, isTensorType, trace } from "./trace.ts";
import { mapTree } from "./tree.ts";

/** An argument of a compiled function is not an array of the numbers that it takes. */
export class ArgumentError extends FidelityError {}

/** What a leaf is given as: a number for a scalar, or the numbers in row-major order. */
export type HostLeaf = number | ArrayLike<number>;

/** The arguments for types: the same trees, with numbers for tensors. */
export type HostArguments<T> = T extends TypedTensorType
  ? HostLeaf
  : T extends object
    ? { readonly [K in keyof T]: HostArguments<T[K]> }
    : T;

/** The arrays of dtypes that have one on the host. */
interface HostArrays {
  readonly f64: Float64Array<ArrayBuffer>;
  readonly f32: Float32Array<ArrayBuffer>;
  readonly f16: Float16Array<ArrayBuffer>;
  readonly i32: Int32Array<ArrayBuffer>;
  readonly i8: Int8Array<ArrayBuffer>;
  readonly bool: Int32Array<ArrayBuffer>;
}
const HOSTED: ReadonlySet<Dtype> = new Set<keyof HostArrays>(["f64", "f32", "f16", "i32", "i8", "bool"]);

type HostArray<D extends Dtype> = D extends keyof HostArrays ? HostArrays[D] : never;

/** The results: the same trees, scalars as numbers and all others as arrays of their dtype. */
export type HostResults<R> =
  R extends Tensor<infer S, infer D>
    ? S extends readonly []
      ? number
      : HostArray<D>
    : R extends object
      ? { readonly [K in keyof R]: HostResults<R[K]> }
      : R;

/** A compiled function. Results are copies: they stay when it is called again. */
export interface CompiledFunction<I extends readonly unknown[], R> {
  (...args: { readonly [K in keyof I]: HostArguments<I[K]> }): HostResults<R>;
  /** Frees its program and its tensors. */
  free(): void;
}

/**
 * Traces `fn` over tensors of `types` (one tree an argument) and compiles it on `device`. Tensors may be of all dtypes
 * that have an array on the host. Throws what tracing and compiling throw, and `ArgumentError` for other dtypes; a call
 * throws `ArgumentError` where an argument has another number of elements than its type.
 */
export async function jit<const I extends readonly unknown[], R>(
  device: Device,
  fn: (...args: { [K in keyof I]: TensorsOf<I[K]> }) => R,
  types: readonly [...I],
): Promise<CompiledFunction<I, R>> {
  const { graph, inputPaths, results } = trace(fn.name || "function", fn, types);
  for (const { type } of [...graph.parameters, ...graph.results]) {
    if (!HOSTED.has(type.dtype)) {
      throw new ArgumentError(`a compiled function cannot pass ${formatType(type)}`, {
        expected: [...HOSTED].join(", "),
        hint: "cast it inside of the function",
      });
    }
  }
  const executable = await device.compile(graph);
  return callable(new Bound(device, executable, inputPaths), types, results);
}

function callable<I extends readonly unknown[], R>(
  bound: Bound,
  types: readonly unknown[],
  results: R,
): CompiledFunction<I, R> {
  const call = (...args: readonly unknown[]): unknown => {
    bound.run(args, types);
    let next = 0;
    return mapTree(results, isTensor, () => bound.read(next++));
  };
  return Object.assign(call, { free: () => bound.free() }) as CompiledFunction<I, R>;
}

class Bound {
  readonly #executable: Executable;
  readonly #paths: readonly string[];
  readonly #parameters: readonly DeviceTensor[];
  readonly #results: readonly DeviceTensor[];

  constructor(device: Device, executable: Executable, paths: readonly string[]) {
    this.#executable = executable;
    this.#paths = paths;
    this.#parameters = executable.parameterTypes.map((type) => device.tensor(type));
    this.#results = executable.resultTypes.map((type) => device.tensor(type));
    executable.bind(this.#parameters, this.#results);
  }

  run(args: readonly unknown[], types: readonly unknown[]): void {
    types.flatMap((type, i) => leavesLike(type, args[i])).forEach((leaf, i) => this.#write(i, leaf));
    this.#executable.run();
  }

  #write(at: number, leaf: unknown): void {
    const tensor = this.#parameters[at]!;
    const size = elementCount(tensor.type.shape);
    const numbers = typeof leaf === "number" ? [leaf] : isNumbers(leaf) ? leaf : undefined;
    if (numbers === undefined || numbers.length !== size) {
      throw new ArgumentError(`argument ${this.#paths[at]} does not fit`, {
        expected: `${size === 1 ? "1 number" : `${size} numbers`} for ${formatType(tensor.type)}`,
        got: numbers === undefined ? String(leaf) : `${numbers.length}`,
      });
    }
    view(tensor).set(numbers);
  }

  read(at: number): number | HostArray<Dtype> {
    const tensor = this.#results[at]!;
    const numbers = view(tensor);
    return tensor.type.shape.length === 0 ? numbers[0]! : numbers.slice(0, elementCount(tensor.type.shape));
  }

  free(): void {
    this.#executable.free();
    for (const tensor of [...this.#parameters, ...this.#results]) tensor.free();
  }
}

/** What a tree has where another one has types; undefined where it has nothing. */
function leavesLike(types: unknown, tree: unknown): unknown[] {
  if (isTensorType(types)) return [tree];
  return Object.entries(types as object).flatMap(([key, type]) =>
    leavesLike(type, (tree as Readonly<Record<string, unknown>> | undefined)?.[key]),
  );
}

function isNumbers(value: unknown): value is ArrayLike<number> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
}

function view(tensor: DeviceTensor): HostArray<Dtype> {
  return cellsOf(tensor.type, tensor.bytes()) as HostArray<Dtype>;
}

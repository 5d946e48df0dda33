// Compiled functions of float64 tensors, kept by name and shapes: the same function at the same shapes is traced and
// compiled once. Those that were used last stay, as long as their tensors take no more than a share of the memory.

import { flattenTree, isTensorType, storageBytes, trace } from "@fidelity/core";
import type { Device, DeviceTensor, Executable, Tensor, TensorType } from "@fidelity/core";

/** A tensor of float64 whose shape the types do not follow. */
export type F64 = Tensor<readonly number[], "f64">;
/** A scalar of float64. */
export type Scalar64 = Tensor<readonly [], "f64">;
/** Integers whose shape the types do not follow. */
export type I32 = Tensor<readonly number[], "i32">;

/** The type of a float64 tensor. */
export const f64 = (...shape: readonly number[]): TensorType => ({ dtype: "f64", shape });
/** The type of a tensor of integers. */
export const i32 = (...shape: readonly number[]): TensorType => ({ dtype: "i32", shape });

/** A compiled function with tensors of its own for arguments and results, in the order of their leaves. */
export class CompiledFunction {
  readonly sizeBytes: number;
  readonly #executable: Executable;
  readonly #parameters: readonly DeviceTensor[];
  readonly #results: readonly DeviceTensor[];

  constructor(device: Device, executable: Executable) {
    this.#executable = executable;
    this.#parameters = executable.parameterTypes.map((type) => device.tensor(type));
    this.#results = executable.resultTypes.map((type) => device.tensor(type));
    executable.bind(this.#parameters, this.#results);
    this.sizeBytes = [...executable.parameterTypes, ...executable.resultTypes].map(storageBytes).reduce(sum, 0);
  }

  /** Writes all arguments; each takes as many numbers as it has elements. */
  write(...values: readonly ArrayLike<number>[]): this {
    for (const [i, numbers] of values.entries()) view(this.#parameters[i]!).set(numbers);
    return this;
  }

  run(): void {
    this.#executable.run();
  }

  /** A copy of the numbers of one result. */
  result(index = 0): number[] {
    return Array.from(view(this.#results[index]!));
  }

  /** A few numbers of one result. */
  resultAt(index: number, at: readonly number[]): number[] {
    const numbers = view(this.#results[index]!);
    return at.map((i) => numbers[i]!);
  }

  free(): void {
    this.#executable.free();
    for (const tensor of [...this.#parameters, ...this.#results]) tensor.free();
  }
}

const sum = (a: number, b: number): number => a + b;

function view(tensor: DeviceTensor): Float64Array | Int32Array {
  const bytes = tensor.bytes();
  if (tensor.type.dtype === "i32") return tensor.i32();
  return new Float64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / Float64Array.BYTES_PER_ELEMENT);
}

/** Tensors of kept functions take no more than this, so that the largest evaluation finds room. */
const KEPT_BYTES = 256 * 2 ** 20;

/** The functions that one tool has compiled. */
export class Programs {
  readonly #device: Device;
  readonly #kept = new Map<string, CompiledFunction>();

  constructor(device: Device) {
    this.#device = device;
  }

  /**
   * `fn` compiled for arguments of `types`; `name` with the shapes must tell it from all others. Makes room by dropping
   * the functions that were used longest ago: what a caller holds is good until it asks for the next one.
   */
  async compile(
    name: string,
    types: readonly TensorType[],
    fn: (...args: never[]) => unknown,
  ): Promise<CompiledFunction> {
    const key = `${name} ${JSON.stringify(types)}`;
    let found = this.#kept.get(key);
    if (found === undefined) {
      const { graph } = trace(name, fn as (...args: unknown[]) => unknown, types);
      const needBytes = flattenTree<TensorType>(types, isTensorType).reduce(
        (all, { leaf }) => all + storageBytes(leaf),
        0,
      );
      this.#makeRoom(needBytes);
      found = new CompiledFunction(this.#device, await this.#device.compile(graph));
    }
    this.#kept.delete(key);
    this.#kept.set(key, found);
    return found;
  }

  free(): void {
    for (const compiled of this.#kept.values()) compiled.free();
    this.#kept.clear();
  }

  #makeRoom(needBytes: number): void {
    let keptBytes = needBytes;
    for (const { sizeBytes } of this.#kept.values()) keptBytes += sizeBytes;
    for (const [key, oldest] of this.#kept) {
      if (keptBytes <= KEPT_BYTES) return;
      this.#kept.delete(key);
      keptBytes -= oldest.sizeBytes;
      oldest.free();
    }
  }
}

// What every backend offers: memory for tensors, and graphs made into executables. The interpreter, wasm and later
// targets implement it; models, training and the command line know nothing more of a backend.

import { FidelityError } from "@fidelity/units";
import type { Graph, TensorType } from "./graph.ts";

/** A device that only has programs made ahead of time lacks one, and cannot make it. */
export class ProgramMissingError extends FidelityError {}

/** A tensor in a device's memory, in its storage layout. `bytes` is a view, not a copy. */
export interface DeviceTensor {
  readonly type: TensorType;
  /** The storage as it is now; take it again after memory may have grown. */
  bytes(): Uint8Array;
  f32(): Float32Array;
  i32(): Int32Array;
  /**
   * The first bytes of this tensor as one of another type, such as the first sequences of a batch. It shares the
   * memory, owns nothing and dies with this tensor. Throws where the type needs more bytes than there are.
   */
  view(type: TensorType): DeviceTensor;
  /** Gives the memory back. Owned memory only; harmless when repeated. */
  free(): void;
}

export interface CompileOptions {
  readonly name?: string;
  /** Pairs of parameter and result that share memory: the program updates that parameter in place. */
  readonly donations?: readonly { readonly parameter: number; readonly result: number }[];
}

/** A compiled graph. Its tensors are bound once and used by every run. */
export interface Executable {
  readonly name: string;
  readonly parameterTypes: readonly TensorType[];
  readonly resultTypes: readonly TensorType[];
  /** Bytes of intermediate values that a run needs. */
  readonly arenaBytes: number;
  /** Sets all parameters and results; a donated result is the tensor of its parameter. */
  bind(parameters: readonly DeviceTensor[], results: readonly DeviceTensor[]): void;
  /** Runs on the calling thread and the team; returns when the results are there. */
  run(): void;
  /** Runs on the team and leaves the calling thread free. */
  runAsync(): Promise<void>;
  free(): void;
}

export interface Device {
  readonly target: string;
  readonly threads: number;
  /** Starts what takes a while to start, such as threads, beside what the caller does before the first run. */
  prepare?(): void;
  /** Zeroed memory for a tensor (scales of packed dtypes are 0, too). */
  tensor(type: TensorType): DeviceTensor;
  compile(graph: Graph, options?: CompileOptions): Promise<Executable>;
  /** Ends the team and frees the memory. */
  close(): Promise<void>;
}

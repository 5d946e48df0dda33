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

/**
 * What a graph is traced from, where a few texts say all of it: by it a program that was compiled before is found
 * without tracing the graph again.
 */
export interface Recipe {
  /** The folder of the modules that trace the graph, as a URL: when one of them has changed, nothing is found. */
  readonly source: string;
  /** All else that the graph depends on, and how it is compiled. */
  readonly key: readonly string[];
}

/** A program that was found by its recipe, and the donations that it was compiled with. */
export interface RecalledProgram {
  readonly executable: Executable;
  readonly donations: NonNullable<CompileOptions["donations"]>;
}

export interface CompileOptions {
  readonly name?: string;
  /** Where the program may be recalled by, later and by other processes. */
  readonly recipe?: Recipe;
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
  /** The program of a recipe, where it is kept. `parameterTypes` are those of its graph. */
  recall?(recipe: Recipe, parameterTypes: readonly TensorType[]): Promise<RecalledProgram | undefined>;
  /** Ends the team and frees the memory. */
  close(): Promise<void>;
}

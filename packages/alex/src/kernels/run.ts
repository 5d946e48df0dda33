// Kernels at run time: compiled on a device, called like the functions that they are. A call copies plain arguments to
// the device's tensors and results back; who wants no copies writes into `tensors` and calls `run`.

import type { Device, DeviceTensor, Executable } from "@fidelity/core";
import { compileFunction } from "./compile.ts";
import type { CompiledKernel, KernelOptions } from "./compile.ts";
import { markOf } from "./kernel.ts";
import type { Captures, KernelFunction } from "./kernel.ts";
import { tensorTypeOf } from "./op.ts";
import { LastArguments, readArgument, readNumber, writeArgument } from "./transfer.ts";
import { KernelValueError } from "./types.ts";

/** Kernels that were compiled from a file. */
export interface KernelLibrary {
  /** Throws `KernelError` when there is no kernel of that name. */
  get(name: string): CompiledKernel;
}

/** A kernel on a device. Calling it does what calling the function does. */
export interface DeviceKernel<F extends (...args: never[]) => number | void> {
  (...args: Parameters<F>): ReturnType<F>;
  readonly kernel: CompiledKernel;
  readonly executable: Executable;
  /** The tensor of each parameter, in order; then that of the returned number. */
  readonly tensors: readonly DeviceTensor[];
  /** Runs on what is in the tensors. */
  run(): void;
  runAsync(): Promise<void>;
  /** Frees the tensors and the executable. */
  free(): void;
}

export interface CompileKernelOptions extends KernelOptions {
  /** Where the kernel was compiled from its file, when its types are there. */
  readonly from?: KernelLibrary;
}

/**
 * Compiles a kernel for a device: one that was marked with its types, one of a library by its function, or one that
 * was compiled already.
 * @throws KernelError when it is outside the language, and what the device's compiler throws.
 */
export async function compileKernel<F extends KernelFunction>(
  device: Device,
  kernel: F,
  options?: CompileKernelOptions,
): Promise<DeviceKernel<F>>;
export async function compileKernel(
  device: Device,
  kernel: CompiledKernel,
): Promise<DeviceKernel<(...args: unknown[]) => number | void>>;
export async function compileKernel(
  device: Device,
  kernel: KernelFunction | CompiledKernel,
  options: CompileKernelOptions = {},
): Promise<DeviceKernel<(...args: unknown[]) => number | void>> {
  const compiled = typeof kernel === "function" ? compiledOf(kernel, options) : kernel;
  const { graph, name, signature } = compiled;
  const executable = await device.compile(graph, { name, donations: signature.donations });
  return bindKernel(device, compiled, executable);
}

function compiledOf(fn: KernelFunction, options: CompileKernelOptions): CompiledKernel {
  const mark = markOf(fn);
  if (mark !== undefined) {
    const { constants, helpers } = sortCaptures(mark.captures);
    const name = fn.name === "" ? "kernel" : fn.name;
    return compileFunction({ name, text: fn.toString(), types: mark.types, constants, helpers }, options);
  }
  if (options.from !== undefined) return options.from.get(fn.name);
  throw new KernelValueError(`the types of the kernel ${fn.name} are not known at run time`, {
    hint: "pass { from: await loadKernels(import.meta.url) }, or mark it as kernel([t.vector(8)], (x) => ...)",
  });
}

function sortCaptures(captures: Captures): {
  readonly constants: ReadonlyMap<string, number | boolean>;
  readonly helpers: ReadonlyMap<string, string>;
} {
  const constants = new Map<string, number | boolean>();
  const helpers = new Map<string, string>();
  for (const [name, value] of Object.entries(captures)) {
    if (typeof value === "function") helpers.set(name, value.toString());
    else constants.set(name, value);
  }
  return { constants, helpers };
}

function bindKernel(
  device: Device,
  kernel: CompiledKernel,
  executable: Executable,
): DeviceKernel<(...args: unknown[]) => number | void> {
  const { ir, signature } = kernel;
  const outer = ir.arrays.filter(({ role }) => role !== "local");
  const tensors = outer.map((array) => device.tensor(tensorTypeOf(array)));
  const tensorOf = new Map(outer.map((array, i) => [array, tensors[i]!]));
  executable.bind(
    signature.inputs.map((array) => tensorOf.get(array)!),
    signature.results.map((array) => tensorOf.get(array)!),
  );
  const last = new LastArguments();
  const call = (...args: unknown[]): number | void => {
    if (args.length !== ir.parameterCount) {
      throw new KernelValueError(`${kernel.name} takes ${ir.parameterCount} arguments`, { got: `${args.length}` });
    }
    for (const array of signature.inputs) {
      const tensor = tensorOf.get(array)!;
      const i = outer.indexOf(array);
      if (last.isSame(i, tensor.type, args[i])) continue;
      writeArgument(array.name, tensor.type, tensor.bytes(), args[i]);
    }
    executable.run();
    for (const array of signature.results) {
      const tensor = tensorOf.get(array)!;
      if (array.role === "parameter") readArgument(array.name, tensor.type, tensor.bytes(), args[outer.indexOf(array)]);
    }
    const returned = ir.result === undefined ? undefined : tensorOf.get(ir.result)!;
    return returned === undefined ? undefined : readNumber(returned.type, returned.bytes());
  };
  return Object.assign(call, {
    kernel,
    executable,
    tensors,
    run: () => executable.run(),
    runAsync: () => executable.runAsync(),
    free() {
      executable.free();
      for (const tensor of tensors) tensor.free();
    },
  });
}

// A precompiled kernel as the function that it was: what a bundle holds of the compiler, in Node and in browsers.
// precompile.ts makes the data.

import { storageBytes } from "@fidelity/core";
import type { TensorType } from "@fidelity/core";
import type { WasmProgramExports } from "../targets/wasm/index.ts";
import type { KernelFunction } from "./kernel.ts";
import { LastArguments, readArgument, readNumber, writeArgument } from "./transfer.ts";
import { KernelValueError } from "./types.ts";

/** One argument of a precompiled kernel, or the number that it returns. */
export interface PrecompiledArgument {
  readonly name: string;
  readonly type: TensorType;
  readonly address: number;
  readonly isRead: boolean;
  readonly isWritten: boolean;
}

/** A kernel as data: everything that a call needs. */
export interface PrecompiledKernel {
  readonly name: string;
  /** The module in base64. */
  readonly wasm: string;
  readonly pages: number;
  readonly arguments: readonly PrecompiledArgument[];
  readonly returns?: PrecompiledArgument;
  /** What is in the table of bindings, and where that is, in bytes. */
  readonly bindings: readonly number[];
  readonly table: number;
  /** What the module's `run` takes after the member. */
  readonly addresses: readonly [bindings: number, arena: number, scratch: number, control: number];
}

/**
 * The function of a precompiled kernel. It takes and gives what `fn` does; the module is made at the first call. Where
 * the engine has no shared memory or no SIMD, `fn` itself runs.
 */
export function precompiledKernel<F extends KernelFunction>(fn: F, kernel: PrecompiledKernel): F {
  let run: ((...args: readonly unknown[]) => number | void) | undefined;
  const call = (...args: readonly unknown[]): number | void => {
    run ??= instantiate(kernel) ?? (fn as unknown as NonNullable<typeof run>);
    return run(...args);
  };
  Object.defineProperty(call, "name", { value: kernel.name });
  return call as unknown as F;
}

function instantiate(kernel: PrecompiledKernel): ((...args: readonly unknown[]) => number | void) | undefined {
  const { pages, bindings, table, addresses, returns } = kernel;
  const parameters = kernel.arguments;
  let memory: WebAssembly.Memory;
  let run: WasmProgramExports["run"];
  try {
    memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    const binary = Uint8Array.from(atob(kernel.wasm), (character) => character.charCodeAt(0));
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(binary), { env: { memory } });
    run = (exports as unknown as WasmProgramExports).run;
  } catch (error) {
    if (error instanceof WebAssembly.CompileError || error instanceof TypeError) return undefined;
    throw error;
  }
  new Int32Array(memory.buffer, table, bindings.length).set(bindings);
  const bytesOf = ({ address, type }: PrecompiledArgument): Uint8Array =>
    new Uint8Array(memory.buffer, address, storageBytes(type));
  const last = new LastArguments();
  return (...args) => {
    if (args.length !== parameters.length) {
      throw new KernelValueError(`${kernel.name} takes ${parameters.length} arguments`, { got: `${args.length}` });
    }
    for (const [i, argument] of parameters.entries()) {
      if (!argument.isRead || last.isSame(i, argument.type, args[i])) continue;
      writeArgument(argument.name, argument.type, bytesOf(argument), args[i]);
    }
    run(0, ...addresses);
    for (const [i, argument] of parameters.entries()) {
      if (argument.isWritten) readArgument(argument.name, argument.type, bytesOf(argument), args[i]);
    }
    return returns === undefined ? undefined : readNumber(returns.type, bytesOf(returns));
  };
}

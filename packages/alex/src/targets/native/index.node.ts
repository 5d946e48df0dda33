// The native target: programs of the loop IR to shared libraries, by way of MLIR and LLVM, kept on disk by the hash of
// what they come from.
//
//   print-program.ts   program -> MLIR text: kernels (print-kernel.ts, print-operation.ts), tables, the walk
//   toolchain.node.ts  MLIR text -> mlir-opt, mlir-translate, opt, llc, ld.lld -> library
//   cache.node.ts      library <-> disk
//   entry.node.ts      library -> the function that a member of a team calls

import os from "node:os";
import { FileError } from "@fidelity/barewire/node";
import type { Program } from "@fidelity/core";
import { memoryReachBytes } from "../../runtime/target.ts";
import type { CompiledProgram, CpuTarget } from "../../runtime/target.ts";
import { LibraryCache, cacheDirectory, cacheKey } from "./cache.node.ts";
import { openNative } from "./entry.node.ts";
import type { NativeMachine } from "./machine.ts";
import { hostMachine } from "./machine.node.ts";
import { NativeTargetError } from "./errors.ts";
import { printModules } from "./print-program.ts";
import { RECIPE, buildLibrary, findToolchain } from "./toolchain.node.ts";
import type { Toolchain } from "./toolchain.node.ts";

export type { NativeMachine } from "./machine.ts";
export { MACHINE_NAMES, UnknownMachineError, machineFromCpuInfo, machineOf, vectorsOf } from "./machine.ts";
export { hostMachine } from "./machine.node.ts";
export { CompilerLibraryMissingError, findCompilerLibrary } from "./compiler_library.node.ts";
export { NativeTargetError } from "./errors.ts";
export { printModules } from "./print-program.ts";
export {
  ToolFailedError,
  ToolMissingError,
  emitStages,
  findToolchain,
  searchTools,
  toolVersions,
} from "./toolchain.node.ts";
export { LibraryCache, cacheDirectory } from "./cache.node.ts";

/** How compilations went, for reports. */
export interface NativeStatistics {
  /** Programs that were found on disk, and those that were made. */
  readonly found: number;
  readonly made: number;
  /** Time of each tool, summed over modules that were compiled side by side. */
  readonly toolMs: ReadonlyMap<string, number>;
  readonly printMs: number;
  /** Looking for libraries and reading them. */
  readonly findMs: number;
}

export interface NativeTarget extends CpuTarget {
  readonly machine: NativeMachine;
  readonly statistics: NativeStatistics;
}

export interface NativeTargetOptions {
  /** What code is made for; by default the processor that this is, which must be able to run it in any case. */
  readonly machine?: NativeMachine;
  /** The tools; by default those that are found when the target is made. */
  readonly toolchain?: Toolchain;
  /** Where libraries are kept; by default `cacheDirectory()`. */
  readonly cache?: LibraryCache;
}

/**
 * The native target on this machine.
 * @throws ToolMissingError, UnknownMachineError
 */
export function createNativeTarget(options: NativeTargetOptions = {}): NativeTarget {
  const machine = options.machine ?? hostMachine();
  const toolchain = options.toolchain ?? findToolchain();
  const cache = options.cache ?? new LibraryCache(cacheDirectory());
  const identity = [machine.name, toolchain.identity, RECIPE];
  const toolMs = new Map<string, number>();
  const statistics = { found: 0, made: 0, toolMs, printMs: 0, findMs: 0 };
  return {
    name: "native",
    machine,
    statistics,
    identity: identity.join("\n"),
    memoryBytesMax: memoryReachBytes("native"),
    open: openLibrary,
    restore: (kept) => Promise.resolve(restoreLibrary(cache, kept)),
    async compile(program: Program): Promise<CompiledProgram> {
      const started = performance.now();
      const { modules, starts } = printModules(program, machine, os.availableParallelism());
      const printed = performance.now();
      statistics.printMs += printed - started;
      const key = cacheKey([...identity, ...modules]);
      const found = cache.find(key);
      statistics.findMs += performance.now() - printed;
      if (found !== undefined) {
        statistics.found++;
        return { ...libraryOf(key, found.path, found.bytes.byteLength), starts };
      }
      statistics.made++;
      const library = await buildLibrary(toolchain, machine, modules, toolMs);
      return { ...libraryOf(key, keep(cache, key, library), library.byteLength), starts };
    },
  };
}

/** Keeps a library, as it has to be a file to be loaded. Throws `FileError`. */
function keep(cache: LibraryCache, key: string, library: Uint8Array): string {
  try {
    return cache.keep(key, library);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    const hint = "native code has to be a file: FIDELITY_CACHE_DIR=<folder> names another place, or use --target wasm";
    throw new FileError("write", error.path, error.code, { hint, cause: error });
  }
}

/** Loads a library on the calling thread: `open` of every native target. */
export const openLibrary: CpuTarget["open"] = (loadable, memory) => {
  if (loadable.kind !== "native") throw new NativeTargetError("a program of another target");
  return openNative(loadable.path, memory);
};

/** A program by what was kept of it, the key of its library; undefined when that is gone, or was damaged. */
export function restoreLibrary(libraries: LibraryCache, kept: Uint8Array): CompiledProgram | undefined {
  const key = new TextDecoder().decode(kept);
  const found = libraries.find(key);
  return found && libraryOf(key, found.path, found.bytes.byteLength);
}

function libraryOf(key: string, file: string, sizeBytes: number): CompiledProgram {
  return { loadable: { kind: "native", path: file }, sizeBytes, kept: new TextEncoder().encode(key) };
}

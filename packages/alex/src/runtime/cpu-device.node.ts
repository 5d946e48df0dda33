// Devices of the processor in Node: worker threads as team members, programs kept on disk, settings from the
// environment.

import os from "node:os";
import { adviseHugeArena } from "@fidelity/barewire/node";
import type { VectorTarget } from "@fidelity/core";
import { compileGraph } from "../compile.ts";
import { cacheDirectory } from "../targets/native/cache.node.ts";
import { createNativeTarget, hostMachine, vectorsOf } from "../targets/native/index.node.ts";
import { PrebuiltPrograms } from "../targets/native/prebuilt.node.ts";
import { ToolMissingError } from "../targets/native/toolchain.node.ts";
import { dotTakesUnsigned } from "../targets/wasm/relaxed-dot.ts";
import { ScheduleFile } from "../tune/file.node.ts";
import type { ScheduleBook } from "../tune/schedule-book.ts";
import type { DebugSink } from "./debug.ts";
import { CpuDevice } from "./device.ts";
import { planPinning } from "./pin.node.ts";
import { KeptPrograms } from "./program-store.node.ts";
import type { ProgramStore } from "./store.ts";
import { wasmTarget } from "./target.ts";
import type { CpuTarget } from "./target.ts";
import { spawnWorkerThread } from "./team.node.ts";
import { setEngineFlags } from "./v8-flags.node.ts";

/** What a device of the processor is made with. */
export interface CpuDeviceOptions {
  /** Members of the thread team; by default as many as the machine runs at once. */
  readonly threads?: number;
  /** The most memory that tensors and programs may take; 4 GiB, which is also the limit. */
  readonly maximumBytes?: number;
  /** Where reports go. */
  readonly debug?: DebugSink;
  /**
   * Whether compiled programs are kept on disk, and looked for there, and whether schedules that were measured there
   * (`fidelity tune`) are followed; they are, unless FIDELITY_CACHE is `off`. Native libraries are files in any case.
   */
  readonly cache?: boolean;
  /**
   * A folder of native programs made ahead of time (`fidelity build`), used before anything is compiled, and without
   * LLVM; by default what FIDELITY_PREBUILT names. Its code runs in this process: name only what you trust.
   */
  readonly prebuilt?: string;
  /**
   * Keeps each member of the team on a processor of its own: those of a list, by the system's numbers, or as many as
   * there are members of those that this process may use. Linux only; elsewhere the device's `pinning` says why not.
   */
  readonly pin?: boolean | readonly number[];
}

/** float32 lanes of a 128-bit vector. */
const WASM_LANES = 4;

/** A module that was made in less is not worth a file. */
const KEEP_WASM_MS = 20;

/** What generators may know of the engine. */
export function wasmVectors(): VectorTarget {
  return { lanes: WASM_LANES, joinsVectors: setEngineFlags(), dot4Unsigned: dotTakesUnsigned() };
}

/** A device of WebAssembly. Throws `DeviceOptionError`. */
export function createWasmDevice(options: CpuDeviceOptions): CpuDevice {
  const vectors = wasmVectors();
  if (!caches(options)) return cpuDevice(options, wasmTarget, vectors, []);
  const place = { directory: cacheDirectory(process.env, "wasm"), target: wasmTarget, vectors };
  const schedules = new ScheduleFile(place).read();
  const kept = new KeptPrograms({ ...place, schedules, leastMs: KEEP_WASM_MS });
  return cpuDevice(options, wasmTarget, vectors, [kept], schedules);
}

/**
 * A device of native code.
 * @throws ToolMissingError where neither the tools are nor programs made ahead of time; UnknownMachineError,
 *   PrebuiltError, DeviceOptionError
 */
export function createNativeDevice(options: CpuDeviceOptions): CpuDevice {
  const machine = hostMachine();
  const vectors = vectorsOf(machine);
  const folder = prebuiltFolder(options);
  const prebuilt = folder === undefined ? undefined : new PrebuiltPrograms(folder, machine);
  const target = nativeTarget(prebuilt);
  const stores: ProgramStore[] = prebuilt === undefined ? [] : [prebuilt];
  if (!caches(options)) return cpuDevice(options, target, vectors, stores);
  const place = { directory: cacheDirectory(), target, vectors };
  const schedules = new ScheduleFile(place).read();
  stores.push(new KeptPrograms({ ...place, schedules, leastMs: 0 }));
  return cpuDevice(options, target, vectors, stores, schedules);
}

/** The folder that the options or the environment name. */
export function prebuiltFolder({ prebuilt }: Pick<CpuDeviceOptions, "prebuilt">): string | undefined {
  const folder = prebuilt ?? process.env.FIDELITY_PREBUILT;
  return folder === "" ? undefined : folder;
}

function nativeTarget(prebuilt: PrebuiltPrograms | undefined): CpuTarget {
  try {
    return createNativeTarget();
  } catch (error) {
    if (prebuilt === undefined || !(error instanceof ToolMissingError)) throw error;
    return prebuilt.target(error);
  }
}

function caches({ cache }: CpuDeviceOptions): boolean {
  return cache ?? process.env.FIDELITY_CACHE !== "off";
}

function cpuDevice(
  { threads = os.availableParallelism(), maximumBytes, debug, pin = false }: CpuDeviceOptions,
  target: CpuTarget,
  vectors: VectorTarget,
  stores: readonly ProgramStore[],
  schedules?: ScheduleBook,
): CpuDevice {
  const device = new CpuDevice({
    threads,
    ...(maximumBytes !== undefined && { maximumBytes }),
    target,
    compileGraph: (graph, options) =>
      compileGraph(graph, { ...options, target: vectors, ...(schedules !== undefined && { schedules }) }),
    stores,
    spawn: spawnWorkerThread,
    ...(debug !== undefined && { debug }),
    pinning: planPinning(pin, threads),
  });
  // Rows of one head, or of some channels, lie in a page each: translating addresses would cost more than they do.
  adviseHugeArena(device.arena);
  return device;
}

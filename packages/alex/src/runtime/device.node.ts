// Devices in Node: worker threads as team members, reports to standard error, settings from the environment.

import os from "node:os";
import { loadFfi } from "@fidelity/barewire/node";
import type { VectorTarget } from "@fidelity/core";
import { compileGraph } from "../compile.ts";
import {
  UnknownMachineError,
  createNativeTarget,
  hostMachine,
  searchTools,
  vectorsOf,
} from "../targets/native/index.node.ts";
import { debugSinkFromEnvironment } from "./debug.node.ts";
import type { DebugSink } from "./debug.ts";
import { CpuDevice } from "./device.ts";
import { DeviceOptionError } from "./errors.ts";
import { wasmTarget } from "./target.ts";
import type { CpuTarget } from "./target.ts";
import { spawnWorkerThread } from "./team.node.ts";
import { setEngineFlags } from "./v8-flags.node.ts";

/** float32 lanes of a 128-bit vector. */
const WASM_LANES = 4;

/** What `createDevice` can compile to. */
export const DEVICE_TARGETS = ["wasm", "native"] as const;

export type DeviceTarget = (typeof DEVICE_TARGETS)[number];

export interface DeviceOptions {
  /** Members of the thread team; by default as many as the machine runs at once. */
  readonly threads?: number;
  /**
   * Where programs run: `wasm`, the default, which needs nothing else, or `native`, code of the processor, which needs
   * LLVM 19; `auto` is native where it is to be had.
   */
  readonly target?: DeviceTarget | "auto";
  /** The most memory that tensors and programs may take; 4 GiB, which is also the limit. */
  readonly maximumBytes?: number;
  /** Where reports go; by default to standard error at the level of FIDELITY_DEBUG. */
  readonly debug?: DebugSink;
}

/**
 * Makes a device. Close it to end its threads at once; they sleep when there is nothing to run, and never keep the
 * process alive.
 * @throws DeviceOptionError; for `native` ToolMissingError, which says what to install, and UnknownMachineError
 */
export function createDevice(options: DeviceOptions = {}): CpuDevice {
  const { target, vectors } = openTarget(options.target === "auto" ? bestTarget() : (options.target ?? "wasm"));
  return new CpuDevice({
    threads: options.threads ?? os.availableParallelism(),
    ...(options.maximumBytes !== undefined && { maximumBytes: options.maximumBytes }),
    target,
    compileGraph: (graph, compileOptions) => compileGraph(graph, { ...compileOptions, target: vectors }),
    spawn: spawnWorkerThread,
    debug: options.debug ?? debugSinkFromEnvironment(),
  });
}

/** The fastest target that this machine has all for: it has LLVM's tools, calls of native code, and a machine. */
export function bestTarget(): DeviceTarget {
  if (searchTools().missing.length > 0 || loadFfi().ffi === undefined) return "wasm";
  try {
    hostMachine();
    return "native";
  } catch (error) {
    if (error instanceof UnknownMachineError) return "wasm";
    throw error;
  }
}

function openTarget(name: string): { readonly target: CpuTarget; readonly vectors: VectorTarget } {
  if (name === "native") {
    const target = createNativeTarget();
    return { target, vectors: vectorsOf(target.machine) };
  }
  if (name !== "wasm") {
    const expected = DEVICE_TARGETS.join(" or ");
    throw new DeviceOptionError("there is no such target", { expected, got: name });
  }
  return { target: wasmTarget, vectors: { lanes: WASM_LANES, joinsVectors: setEngineFlags() } };
}

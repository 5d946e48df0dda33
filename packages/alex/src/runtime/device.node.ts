// Devices in Node: worker threads as team members, reports to standard error, settings from the environment.

import os from "node:os";
import { compileGraph } from "../compile.ts";
import { debugSinkFromEnvironment } from "./debug.node.ts";
import type { DebugSink } from "./debug.ts";
import { WasmDevice } from "./device.ts";
import { DeviceOptionError } from "./errors.ts";
import { spawnWorkerThread } from "./team.node.ts";
import { setEngineFlags } from "./v8-flags.node.ts";

/** float32 lanes of a 128-bit vector. */
const WASM_LANES = 4;

export interface DeviceOptions {
  /** Members of the thread team; by default as many as the machine runs at once. */
  readonly threads?: number;
  /** Where programs run. There is one target so far. */
  readonly target?: "wasm";
  /** The most memory that tensors and programs may take; 4 GiB, which is also the limit. */
  readonly maximumBytes?: number;
  /** Where reports go; by default to standard error at the level of FIDELITY_DEBUG. */
  readonly debug?: DebugSink;
}

/**
 * Makes a device. Close it to end its threads at once; they sleep when there is nothing to run, and never keep the
 * process alive.
 */
export function createDevice(options: DeviceOptions = {}): WasmDevice {
  if (options.target !== undefined && options.target !== "wasm") {
    throw new DeviceOptionError("there is no such target", { expected: "wasm", got: String(options.target) });
  }
  const joinsVectors = setEngineFlags();
  return new WasmDevice({
    threads: options.threads ?? os.availableParallelism(),
    ...(options.maximumBytes !== undefined && { maximumBytes: options.maximumBytes }),
    compileGraph: (graph, compileOptions) =>
      compileGraph(graph, { ...compileOptions, target: { lanes: WASM_LANES, joinsVectors } }),
    spawn: spawnWorkerThread,
    debug: options.debug ?? debugSinkFromEnvironment(),
  });
}

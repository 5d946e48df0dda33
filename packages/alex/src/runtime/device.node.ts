// Devices in Node: worker threads as team members or a GPU, reports to standard error, settings from the environment.

import type { CudaDevice, CudaDeviceOptions } from "../targets/cuda/index.node.ts";
import { TARGETS } from "../targets/index.node.ts";
import type { CpuDeviceOptions } from "../targets/index.node.ts";
import { debugSinkFromEnvironment } from "./debug.node.ts";
import type { CpuDevice } from "./device.ts";
import { DeviceOptionError } from "./errors.ts";

/** The targets that run on the processor. */
export const DEVICE_TARGETS = ["wasm", "native"] as const;

export type DeviceTarget = (typeof DEVICE_TARGETS)[number];

export interface DeviceOptions extends CpuDeviceOptions {
  /**
   * Where programs run: `wasm`, the default, which needs nothing else, or `native`, code of the processor, which needs
   * LLVM 19; `auto` is native where it is to be had.
   */
  readonly target?: DeviceTarget | "auto";
}

/** A GPU: it needs one of NVIDIA's and its driver, and LLVM 19 for programs that are not compiled yet. */
export interface GpuDeviceOptions extends CudaDeviceOptions {
  readonly target: "cuda";
}

/**
 * Makes a device. Reports go to standard error at the level of FIDELITY_DEBUG unless `debug` says otherwise. Close it
 * to end its threads at once; they sleep when there is nothing to run, and never keep the process alive.
 * @throws DeviceOptionError; for `native` ToolMissingError, which says what to install, and UnknownMachineError; for
 *   `cuda` CudaUnavailableError
 */
export function createDevice(options: GpuDeviceOptions): CudaDevice;
export function createDevice(options?: DeviceOptions): CpuDevice;
export function createDevice({ target = "wasm", ...options }: DeviceOptions | GpuDeviceOptions = {}):
  | CpuDevice
  | CudaDevice {
  const name = target === "auto" ? bestTarget() : target;
  if (!Object.hasOwn(TARGETS, name)) {
    const expected = Object.keys(TARGETS).join(" or ");
    throw new DeviceOptionError("there is no such target", { expected, got: name });
  }
  return TARGETS[name].device({ debug: debugSinkFromEnvironment(), ...options });
}

/** The fastest target of the processor that this machine has all for. */
export function bestTarget(): DeviceTarget {
  return TARGETS.native.whyNot() === undefined ? "native" : "wasm";
}

// The table of targets in Node. A row is all that the runtime knows of a target.

import { readFile } from "node:fs/promises";
import { loadFfi } from "@fidelity/barewire/node";
import { createNativeDevice, createWasmDevice, prebuiltFolder, wasmVectors } from "../runtime/cpu-device.node.ts";
import type { CpuDeviceOptions } from "../runtime/cpu-device.node.ts";
import type { CpuDevice } from "../runtime/device.ts";
import { CUDA_VECTORS, CudaDevice, compileProgramToPtx, openCudaDriver } from "./cuda/index.node.ts";
import type { CudaDeviceOptions } from "./cuda/index.node.ts";
import type { Target } from "./index.ts";
import { UnknownMachineError, createNativeTarget, hostMachine, searchTools, vectorsOf } from "./native/index.node.ts";
import { compileProgramToWasm } from "./wasm/index.ts";

/** 4 GiB: the limit of the memory that code made without a device imports. */
const WASM_PAGES_MAX = 65_536;

export type { CpuDeviceOptions };

const wasm: Target<CpuDeviceOptions, CpuDevice> = {
  name: "wasm",
  summary: "WebAssembly with SIMD and threads, run by the JavaScript engine",
  whyNot: () => undefined,
  vectors: wasmVectors,
  compile: async (program) => compileProgramToWasm(program, { maximumPages: WASM_PAGES_MAX }),
  device: createWasmDevice,
};

const native: Target<CpuDeviceOptions, CpuDevice> = {
  name: "native",
  summary: "a shared library for this processor, by MLIR and LLVM",
  whyNot() {
    const { missing } = searchTools();
    if (missing.length > 0 && prebuiltFolder({}) === undefined)
      return `${missing.map((tool) => `${tool}-19`).join(", ")} not found`;
    const { reason } = loadFfi();
    if (reason !== undefined) return reason;
    try {
      hostMachine();
      return undefined;
    } catch (error) {
      if (error instanceof UnknownMachineError) return error.message;
      throw error;
    }
  },
  vectors: () => vectorsOf(hostMachine()),
  async compile(program) {
    const { loadable } = await createNativeTarget().compile(program, 0);
    return loadable.kind === "native" ? readFile(loadable.path) : new Uint8Array();
  },
  device: createNativeDevice,
};

const cuda: Target<CudaDeviceOptions, CudaDevice> = {
  name: "cuda",
  summary: "PTX for an NVIDIA GPU, by MLIR's gpu dialect and LLVM",
  whyNot: () => openCudaDriver().reason,
  vectors: () => CUDA_VECTORS,
  compile: async (program) => new TextEncoder().encode(await compileProgramToPtx(program)),
  device: (options) => new CudaDevice(options),
};

/** The targets by name. */
export const TARGETS = { wasm, native, cuda } as const;

export type TargetName = keyof typeof TARGETS;

// The table of targets in Node. A row is all that the runtime knows of a target.

import { readFile } from "node:fs/promises";
import os from "node:os";
import { loadFfi } from "@fidelity/barewire/node";
import type { VectorTarget } from "@fidelity/core";
import { compileGraph } from "../compile.ts";
import type { DebugSink } from "../runtime/debug.ts";
import { CpuDevice } from "../runtime/device.ts";
import type { CpuTarget } from "../runtime/target.ts";
import { wasmTarget } from "../runtime/target.ts";
import { spawnWorkerThread } from "../runtime/team.node.ts";
import { setEngineFlags } from "../runtime/v8-flags.node.ts";
import { CUDA_VECTORS, CudaDevice, compileProgramToPtx, openCudaDriver } from "./cuda/index.node.ts";
import type { CudaDeviceOptions } from "./cuda/index.node.ts";
import type { Target } from "./index.ts";
import { UnknownMachineError, createNativeTarget, hostMachine, searchTools, vectorsOf } from "./native/index.node.ts";
import { compileProgramToWasm } from "./wasm/index.ts";

/** float32 lanes of a 128-bit vector. */
const WASM_LANES = 4;

/** 4 GiB: the limit of the memory that code made without a device imports. */
const WASM_PAGES_MAX = 65_536;

/** What a device of the processor is made with. */
export interface CpuDeviceOptions {
  /** Members of the thread team; by default as many as the machine runs at once. */
  readonly threads?: number;
  /** The most memory that tensors and programs may take; 4 GiB, which is also the limit. */
  readonly maximumBytes?: number;
  /** Where reports go. */
  readonly debug?: DebugSink;
}

const wasm: Target<CpuDeviceOptions, CpuDevice> = {
  name: "wasm",
  summary: "WebAssembly with SIMD and threads, run by the JavaScript engine",
  whyNot: () => undefined,
  vectors: () => ({ lanes: WASM_LANES, joinsVectors: setEngineFlags() }),
  compile: async (program) => compileProgramToWasm(program, { maximumPages: WASM_PAGES_MAX }),
  device: (options) => cpuDevice(options, wasmTarget, wasm.vectors()),
};

const native: Target<CpuDeviceOptions, CpuDevice> = {
  name: "native",
  summary: "a shared library for this processor, by MLIR and LLVM",
  whyNot() {
    const { missing } = searchTools();
    if (missing.length > 0) return `${missing.map((tool) => `${tool}-19`).join(", ")} not found`;
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
  device(options) {
    const target = createNativeTarget();
    return cpuDevice(options, target, vectorsOf(target.machine));
  },
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

function cpuDevice(options: CpuDeviceOptions, target: CpuTarget, vectors: VectorTarget): CpuDevice {
  return new CpuDevice({
    threads: options.threads ?? os.availableParallelism(),
    ...(options.maximumBytes !== undefined && { maximumBytes: options.maximumBytes }),
    target,
    compileGraph: (graph, compileOptions) => compileGraph(graph, { ...compileOptions, target: vectors }),
    spawn: spawnWorkerThread,
    ...(options.debug !== undefined && { debug: options.debug }),
  });
}

// GPUs that code is made for: NVIDIA's, by the name of their instruction set. PTX for one is assembled by the driver
// for it and for later ones. What kernel generators are told is that of one thread of a GPU: vectors of 16 bytes, which
// are what one access moves; many registers; and a thread for every chunk, so that chunks are small.

import type { VectorTarget } from "@fidelity/core";
import type { CodeMachine } from "../native/machine.ts";

/** A GPU as the tools know it. */
export interface CudaMachine extends CodeMachine {
  readonly architecture: "nvptx64";
  /** The version of PTX, as LLVM names it. */
  readonly ptx: string;
}

const machine = (name: string, ptx: string): CudaMachine => {
  return { name, architecture: "nvptx64", ptx, features: new Set(["dp4a"]) };
};

/** Hopper (H100, H200) and later. */
export const SM_90 = machine("sm_90", "ptx80");

/** By the compute capability that they need, the best first. */
const MACHINES: readonly (readonly [capability: number, machine: CudaMachine])[] = [
  [90, SM_90],
  [80, machine("sm_80", "ptx70")],
];

/** The best machine that a GPU of a compute capability (90 is 9.0) can run code for, or undefined: it is too old. */
export function cudaMachineOf(capability: number): CudaMachine | undefined {
  return MACHINES.find(([needed]) => needed <= capability)?.[1];
}

/** One thread of a GPU. */
export const CUDA_VECTORS: VectorTarget = {
  lanes: 4,
  registers: 32,
  joinsVectors: false,
  chunkElements: 16,
  halves: true,
};

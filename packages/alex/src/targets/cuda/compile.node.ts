// A program to PTX: printed, found on disk by the hash of its text, or made by the tools and kept there.

import { readFileSync } from "node:fs";
import path from "node:path";
import type { Program } from "@fidelity/core";
import { LibraryCache, cacheDirectory, cacheKey } from "../native/cache.node.ts";
import { ToolMissingError, findToolchain } from "../native/toolchain.node.ts";
import type { Toolchain } from "../native/toolchain.node.ts";
import { PtxMissingError } from "./errors.ts";
import { SM_90 } from "./machine.ts";
import type { CudaMachine } from "./machine.ts";
import { CUDA_LOWERING, printGpuModule } from "./print-program.ts";
import { buildPtx } from "./toolchain.node.ts";

/**
 * Changes with what the text does not say: flags of the tools, and their version. The tools themselves are not in the
 * key, so that PTX made on another machine is found where there are none.
 */
const EMITTER_VERSION = "1";

const PTX_BYTES_MAX = 512 * 2 ** 20;

/** Where PTX is kept: FIDELITY_PTX_CACHE, or beside the native target's libraries. */
export function ptxDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  const own = environment.FIDELITY_PTX_CACHE;
  if (own !== undefined && own !== "") return path.resolve(own);
  return path.join(path.dirname(cacheDirectory(environment)), "cuda");
}

export interface PtxOptions {
  /** What code is made for; sm_90 by default. */
  readonly machine?: CudaMachine;
  /** The tools, when they are found already. */
  readonly toolchain?: Toolchain;
  /** Where PTX is kept; by default `ptxDirectory()`. */
  readonly directory?: string;
}

/**
 * The PTX of a program, which should be lowered for `CUDA_VECTORS`: found on disk, or made and kept there.
 * @throws PtxMissingError when it is not there, and the tools that make it are not, either; ToolFailedError
 */
export async function compileProgramToPtx(program: Program, options: PtxOptions = {}): Promise<string> {
  const { machine = SM_90, directory = ptxDirectory() } = options;
  const text = printGpuModule(program, machine);
  const cache = new LibraryCache(directory, PTX_BYTES_MAX, ".ptx");
  const key = cacheKey([EMITTER_VERSION, machine.name, machine.ptx, CUDA_LOWERING, text]);
  const found = cache.find(key);
  if (found !== undefined) return readFileSync(found.path, "utf8");
  const ptx = await buildPtx(options.toolchain ?? requireToolchain(program.name, directory), machine, text);
  cache.keep(key, new TextEncoder().encode(ptx));
  return ptx;
}

function requireToolchain(program: string, directory: string): Toolchain {
  try {
    return findToolchain();
  } catch (error) {
    throw error instanceof ToolMissingError ? new PtxMissingError(program, directory, error) : error;
  }
}

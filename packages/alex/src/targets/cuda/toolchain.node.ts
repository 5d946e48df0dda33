// From MLIR's gpu dialect to PTX, by the tools of the native target; and PTX assembled by `ptxas`, where CUDA's toolkit
// is on the machine, for the registers that kernels take and for errors before there is a GPU. Running PTX needs
// neither: the driver assembles it.
//
//   mlir-opt        gpu, scf, vector and arith dialects to llvm and nvvm
//   mlir-translate  the gpu.module's body to LLVM IR
//   opt, llc        LLVM IR to PTX

import { accessSync, constants, readdirSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { FidelityError, invariant } from "@fidelity/units";
import { runProcess } from "../native/tool-process.node.ts";
import { inDirectory, runTool } from "../native/toolchain.node.ts";
import type { Toolchain } from "../native/toolchain.node.ts";
import type { CudaMachine } from "./machine.ts";
import { CUDA_LOWERING, MODULE_NAME } from "./print-program.ts";

const TRIPLE = "nvptx64-nvidia-cuda";

/** Compiles a module of the gpu dialect to PTX. Throws `ToolFailedError`. */
export function buildPtx(toolchain: Toolchain, machine: CudaMachine, module: string): Promise<string> {
  return inDirectory(async (directory) => {
    const file = (suffix: string): string => path.join(directory, `program.${suffix}`);
    const run = (tool: Parameters<typeof runTool>[1], args: readonly string[]): Promise<void> =>
      runTool(toolchain, tool, args, directory);
    await writeFile(file("mlir"), module);
    const lowering = ["--mlir-disable-threading", `--pass-pipeline=${CUDA_LOWERING}`];
    await run("mlir-opt", [...lowering, "-o", file("gpu.mlir"), file("mlir")]);
    await writeFile(file("llvm.mlir"), moduleBody(await readFile(file("gpu.mlir"), "utf8")));
    await run("mlir-translate", ["--mlir-to-llvmir", "-o", file("ll"), file("llvm.mlir")]);
    await run("opt", [`-mcpu=${machine.name}`, "-passes=default<O2>", "-o", file("bc"), file("ll")]);
    const target = [`-mcpu=${machine.name}`, `-mattr=+${machine.ptx}`];
    await run("llc", [...target, "-O2", "-o", file("ptx"), file("bc")]);
    return readFile(file("ptx"), "utf8");
  });
}

/** The functions in the gpu.module as a module of their own: mlir-translate knows no gpu.module. */
function moduleBody(lowered: string): string {
  const begin = lowered.indexOf("{\n", lowered.indexOf(`gpu.module @${MODULE_NAME}`));
  const end = lowered.lastIndexOf("}", lowered.lastIndexOf("}") - 1);
  invariant(begin > 0 && end > begin, "the lowered module has no gpu.module in it");
  return `module attributes {llvm.target_triple = "${TRIPLE}"} {\n${lowered.slice(begin + 2, end)}}\n`;
}

/** `ptxas` refused PTX that LLVM made. */
export class PtxAssemblerError extends FidelityError {}

/** Where `ptxas` is: on the path, or where CUDA's toolkit is usually put; undefined when it is not there. */
export function findPtxAssembler(environment: NodeJS.ProcessEnv = process.env): string | undefined {
  const places = (environment.PATH ?? "").split(path.delimiter);
  return [...places, ...toolkitPlaces()].map((place) => path.join(place, "ptxas")).find(isExecutable);
}

function toolkitPlaces(): string[] {
  try {
    const toolkits = readdirSync("/usr/local").filter((name) => name === "cuda" || name.startsWith("cuda-"));
    return toolkits.map((name) => `/usr/local/${name}/bin`);
  } catch {
    return [];
  }
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** What `ptxas` says of a kernel. */
export interface KernelResources {
  readonly kernel: string;
  readonly registers: number;
  /** Bytes that did not find room in registers, written and read. */
  readonly spillStoreBytes: number;
  readonly spillLoadBytes: number;
}

const ASSEMBLER_MS_MAX = 300_000;

/**
 * Assembles PTX and gives what its kernels take, with ptxas's optimisation level; 3 is what the driver does, too.
 * @throws PtxAssemblerError
 */
export function assemblePtx(
  assembler: string,
  machine: CudaMachine,
  ptx: string,
  level: 0 | 1 | 2 | 3 = 3,
): Promise<KernelResources[]> {
  return inDirectory(async (directory) => {
    const source = path.join(directory, "program.ptx");
    await writeFile(source, ptx);
    const args = ["-v", `-O${level}`, `-arch=${machine.name}`, "-o", path.join(directory, "program.cubin"), source];
    const { code, stdout, stderr } = await runProcess(assembler, args, ASSEMBLER_MS_MAX);
    if (code === 0) return parseResources(`${stdout}\n${stderr}`);
    const got = stderr.trim().split("\n").slice(0, 6).join("\n");
    throw new PtxAssemblerError("ptxas refused a program's code", { where: assembler, got });
  });
}

/** Reads lines such as "Compiling entry function 'k' for 'sm_90'", "0 bytes spill stores", "Used 26 registers". */
function parseResources(text: string): KernelResources[] {
  return text
    .split("Compiling entry function '")
    .slice(1)
    .map((part) => ({
      kernel: part.slice(0, part.indexOf("'")),
      registers: Number(/Used (\d+) registers/.exec(part)?.[1] ?? 0),
      spillStoreBytes: Number(/(\d+) bytes spill stores/.exec(part)?.[1] ?? 0),
      spillLoadBytes: Number(/(\d+) bytes spill loads/.exec(part)?.[1] ?? 0),
    }));
}

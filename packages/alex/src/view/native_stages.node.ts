// A program's kernels on the native road: the printed MLIR, LLVM IR behind the optimiser, and assembly. Lines are tied
// together by the debug locations that the tools carry along, which name lines of the MLIR text; they are taken out of
// what is shown.

import type { Program } from "@fidelity/core";
import type { NativeMachine } from "../targets/native/machine.ts";
import { printKernelModule } from "../targets/native/print-program.ts";
import { emitStages } from "../targets/native/toolchain.node.ts";
import type { Toolchain } from "../targets/native/toolchain.node.ts";
import { numberInstructions, Ranges } from "./lines.ts";
import type { StageLine } from "./lines.ts";

/** The texts of all kernels; those of one are found by its number. */
export interface NativeStages {
  readonly mlir: readonly (readonly StageLine[])[];
  readonly llvm: readonly (readonly StageLine[])[];
  readonly asm: readonly (readonly StageLine[])[];
}

/** Compiles the kernels of a program for readers. Throws what the tools throw. */
export async function nativeStages(
  program: Program,
  machine: NativeMachine,
  toolchain: Toolchain,
): Promise<NativeStages> {
  const { text, owners } = mlirModule(program, machine);
  const mlir = split(text, /^llvm\.func hidden @kernel_(\d+)\(/, /^}/, (line, i) => withInst(line, owners[i]));
  const { llvm, assembly } = await emitStages(toolchain, machine, text);
  return { mlir, llvm: llvmLines(llvm, owners), asm: assemblyLines(assembly, owners) };
}

/** The MLIR text of a program's kernels, for which no tools are needed. */
export function mlirStage(program: Program, machine: NativeMachine): NativeStages["mlir"] {
  const { text, owners } = mlirModule(program, machine);
  return split(text, /^llvm\.func hidden @kernel_(\d+)\(/, /^}/, (line, i) => withInst(line, owners[i]));
}

/** The text, and the instruction that each of its lines belongs to, numbered within its kernel. */
function mlirModule(program: Program, machine: NativeMachine) {
  const numbers = program.kernels.map(numberInstructions);
  const ranges = new Ranges();
  const text = printKernelModule(program, machine, (kernel, inst, from, to) => {
    ranges.add(numbers[kernel]!.get(inst)!, from, to);
  });
  return { text, owners: ranges.owners(text.split("\n").length) };
}

function withInst(text: string, inst: number | undefined): StageLine {
  return inst === undefined ? { text } : { text, inst };
}

/** Lines from those that `begin` matches, whose group is the kernel's number, to the next that `end` matches. */
function split(
  text: string,
  begin: RegExp,
  end: RegExp,
  read: (line: string, index: number) => StageLine | undefined,
): StageLine[][] {
  const kernels: StageLine[][] = [];
  let current: StageLine[] | undefined;
  for (const [i, line] of text.split("\n").entries()) {
    const number = begin.exec(line)?.[1];
    if (number !== undefined) kernels[Number(number)] = current = [];
    const shown = current === undefined ? undefined : read(line, i);
    if (shown !== undefined) current?.push(shown);
    if (end.test(line)) current = undefined;
  }
  return kernels;
}

type Owners = readonly (number | undefined)[];

/** The owner of a line of the MLIR text that a tool names, counting from 1. */
function ownerOf(owners: Owners, line: string | undefined): number | undefined {
  return line === undefined ? undefined : owners[Number(line) - 1];
}

function llvmLines(llvm: string, owners: Owners): StageLine[][] {
  const locations = new Map<string, string>();
  for (const [, name, line] of llvm.matchAll(/^(!\d+) = (?:distinct )?!DILocation\(line: (\d+)/gm)) {
    locations.set(name!, line!);
  }
  return split(llvm, /^define hidden void @kernel_(\d+)\(/, /^}/, (line) => {
    const location = /, !dbg (!\d+)/.exec(line)?.[1];
    const inst = location === undefined ? undefined : ownerOf(owners, locations.get(location));
    return withInst(line.replace(/,? !dbg !\d+/, ""), inst);
  });
}

/** Lines that say nothing of the kernel: unwinding, debug information, labels for them. */
const ASSEMBLY_NOISE = /^\s+\.|^\.(Ltmp|Lfunc)|^\s*#/;

function assemblyLines(assembly: string, owners: Owners): StageLine[][] {
  let inst: number | undefined;
  return split(assembly, /^kernel_(\d+):/, /^\.Lfunc_end/, (line) => {
    const location = /^\s*\.loc\s+\d+ (\d+)/.exec(line)?.[1];
    if (location !== undefined) inst = ownerOf(owners, location);
    if (ASSEMBLY_NOISE.test(line) || line.trim() === "") return undefined;
    const isLabel = !line.startsWith("\t");
    return withInst(line.replace(/^\t/, "    ").replace(/\t/, " ").trimEnd(), isLabel ? undefined : inst);
  });
}

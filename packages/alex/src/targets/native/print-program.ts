// A program as MLIR modules: its kernels, in one or more modules that are compiled side by side, the first of which has
// the schedule's tables and the walk over them.
// mlir-opt lowers the text to the llvm dialect by `LOWERING`; the tools and their order are toolchain.node.ts's.

import type { Block, Program } from "@fidelity/core";
import { scratchStrideBytes } from "../wasm/index.ts";
import type { NativeMachine } from "./machine.ts";
import { printKernelFunction } from "./print-kernel.ts";
import type { LineListener } from "./print-kernel.ts";
import { scheduleTables } from "./tables.ts";
import type { ScheduleTables } from "./tables.ts";
import { printWalk } from "./walk.ts";

/** The pass pipeline from the printed dialects to the llvm dialect. */
export const LOWERING =
  "builtin.module(convert-scf-to-cf,convert-vector-to-llvm,convert-arith-to-llvm,convert-math-to-llvm," +
  "convert-cf-to-llvm,reconcile-unrealized-casts)";

/** The functions' names by the kernels' numbers. */
const kernelSymbol = (kernel: number): string => `kernel_${kernel}`;

/** Instructions of kernels that are worth a module of their own: below, starting the tools costs more than it saves. */
const MODULE_INSTRUCTIONS_MIN = 2000;

/**
 * The modules of a program, at most `modulesMax`, of about as much work each; the first has the schedule and exports
 * `run`. `starts` are the stages at which runs of single items of the schedule start.
 * @throws ScheduleLimitError when the schedule is too long or too deep for a team.
 */
export function printModules(
  program: Program,
  machine: NativeMachine,
  modulesMax: number,
): { readonly modules: readonly string[]; readonly starts: readonly number[] } {
  const tables = scheduleTables(program);
  const sizes = program.kernels.map(({ body }) => instructionCount(body));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const count = Math.max(1, Math.min(modulesMax, Math.ceil(total / MODULE_INSTRUCTIONS_MIN)));
  const groups = Array.from({ length: count }, () => ({ kernels: [] as number[], size: 0 }));
  // The largest first, each to the group with the least.
  for (const kernel of sizes.map((_, i) => i).sort((a, b) => sizes[b] - sizes[a] || a - b)) {
    const least = groups.reduce((a, b) => (b.size < a.size ? b : a));
    least.kernels.push(kernel);
    least.size += sizes[kernel];
  }
  const modules = groups.map(({ kernels }, i) => {
    const functions = kernels.map((kernel) =>
      printKernelFunction(program.kernels[kernel], kernelSymbol(kernel), machine),
    );
    const schedule = i === 0 ? printSchedule(program, tables, kernels, machine) : [];
    return printModule(machine, [...schedule, ...functions]);
  });
  return { modules, starts: tables.starts };
}

/**
 * A module of a program's kernels alone, for readers. `listener` hears the kernel's number, an instruction of it, and
 * which lines of the module, from 0, it became.
 */
export function printKernelModule(
  program: Program,
  machine: NativeMachine,
  listener: (kernel: number, ...lines: Parameters<LineListener>) => void,
): string {
  let line = 1; // The module's own comes first.
  const functions = program.kernels.map((kernel, number) => {
    const first = line;
    const text = printKernelFunction(kernel, kernelSymbol(number), machine, (inst, from, to) => {
      listener(number, inst, first + from, first + to);
    });
    line += text.split("\n").length;
    return text;
  });
  return printModule(machine, functions);
}

function instructionCount(block: Block): number {
  return block.insts.reduce((sum, inst) => {
    if (inst.op === "for") return sum + 1 + instructionCount(inst.body);
    return inst.op === "if" ? sum + 1 + instructionCount(inst.then) + instructionCount(inst.else) : sum + 1;
  }, 0);
}

/** The tables and the walk; `own` are the kernels that are in the same module. */
function printSchedule(
  program: Program,
  { byName, argumentsMax }: ScheduleTables,
  own: readonly number[],
  machine: NativeMachine,
): string[] {
  const others = program.kernels.map((_, kernel) => kernel).filter((kernel) => !own.includes(kernel));
  return [
    ...others.map((kernel) => `llvm.func hidden @${kernelSymbol(kernel)}(i64, i64, !llvm.ptr)`),
    ...Object.entries(byName).map(([name, values]) => printTable(name, values)),
    printKernelTable(program.kernels.length),
    printWalk(machine, scratchStrideBytes(program), argumentsMax),
  ];
}

function printModule(machine: NativeMachine, parts: readonly string[]): string {
  return [`module attributes {llvm.target_triple = "${machine.triple}"} {`, ...parts, "}", ""].join("\n");
}

/** A table has a row at least: MLIR has no empty arrays. */
function printTable(name: string, values: readonly number[]): string {
  const numbers = values.length === 0 ? [0] : values;
  const dense = `dense<[${numbers.join(", ")}]> : tensor<${numbers.length}xi64>`;
  return `llvm.mlir.global internal constant @${name}(${dense}) : !llvm.array<${numbers.length} x i64>`;
}

function printKernelTable(count: number): string {
  const type = `!llvm.array<${Math.max(count, 1)} x ptr>`;
  const lines = Array.from({ length: count }, (_, i) => [
    `  %k${i} = llvm.mlir.addressof @${kernelSymbol(i)} : !llvm.ptr`,
    `  %t${i + 1} = llvm.insertvalue %k${i}, %t${i}[${i}] : ${type}`,
  ]);
  return [
    `llvm.mlir.global internal constant @kernels() : ${type} {`,
    `  %t0 = llvm.mlir.zero : ${type}`,
    ...lines.flat(),
    `  llvm.return %t${count} : ${type}`,
    "}",
  ].join("\n");
}

// A program's kernels as WebAssembly text, each line with the instruction of the loop IR that it was made from.

import type { Program } from "@fidelity/core";
import { disassemble, printWat } from "../targets/wasm/disassemble.ts";
import type { WatModule } from "../targets/wasm/disassemble.ts";
import { compileProgramToWasm } from "../targets/wasm/emit-program.ts";
import { numberInstructions, Ranges } from "./lines.ts";
import type { StageLine } from "./lines.ts";

/** Pages of the memory that a module declares, where nobody will run it: 4 GiB. */
const PAGES_MAX = 65_536;
/** Parameters of the functions that walk a schedule. */
const RUN_PARAMETERS = ["member", "bindings", "arena", "scratch", "control", "epoch"] as const;

export interface WasmStage {
  readonly bytes: Uint8Array;
  readonly text: string;
  /** The text's functions; the first ones are the kernels. */
  readonly module: WatModule;
  /** Lines of each kernel. */
  readonly kernels: readonly (readonly StageLine[])[];
}

/** Prints the module of a program. Throws what compiling it throws. */
export function wasmStage(program: Program): WasmStage {
  const ranges = program.kernels.map(() => new Ranges());
  const numbers = program.kernels.map(numberInstructions);
  const bytes = compileProgramToWasm(program, {
    maximumPages: PAGES_MAX,
    listener: (kernel, inst, from, to) => ranges[kernel]!.add(numbers[kernel]!.get(inst)!, from, to),
  });
  const module = disassemble(bytes, { parameters: parameterNames });
  const kernels = program.kernels.map((_, kernel) => {
    const { lines } = module.functions[kernel]!;
    const owners = ranges[kernel]!.owners((lines.at(-2)?.offset ?? 0) + 1);
    let last: number | undefined;
    return lines.map(({ text, offset }): StageLine => {
      // What puts a value into its local belongs to the value.
      const inst = offset < 0 ? undefined : (owners[offset] ?? (text.includes(" local.set ") ? last : undefined));
      last = inst;
      return { text: text.slice(2), ...(inst !== undefined && { inst }) };
    });
  });
  return { bytes, text: printWat(module), module, kernels };
}

function parameterNames(name: string, count: number): readonly string[] {
  if (name === "run" || name === "run.alone" || name === "run.team") return RUN_PARAMETERS;
  return ["chunk", "scratch", ...Array.from({ length: count - 2 }, (_, i) => `buffer${i}`)];
}

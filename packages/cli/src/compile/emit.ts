// The texts of a program's stages: what `fidelity compile --emit` prints. Lines carry where they came from: the place
// in the kernel's source, or the unit of the model that a kernel was made for.

import {
  compileProgramToPtx,
  explainProgram,
  findToolchain,
  foldUnits,
  hostMachine,
  loopLines,
  mlirStage,
  nativeStages,
  numberInstructions,
  tokenize,
  wasmStage,
} from "@fidelity/alex/node";
import type { Explanation, StageLine, ViewStage } from "@fidelity/alex/node";
import { printGraph } from "@fidelity/core";
import { UsageError } from "../errors.ts";
import type { Subject } from "./subjects.ts";

/** What can be printed, in the order of the road. */
export const STAGES = ["tokens", "graph", "units", "loops", "wat", "wasm", "mlir", "llvm", "asm", "ptx"] as const;
export type Stage = (typeof STAGES)[number];

/**
 * The target that a stage belongs to; `undefined` for those that come before targets part, and for PTX, which is
 * lowered for a GPU whatever the target.
 */
export function targetOf(stage: Stage): "wasm" | "native" | undefined {
  if (stage === "wat" || stage === "wasm") return "wasm";
  return stage === "mlir" || stage === "llvm" || stage === "asm" ? "native" : undefined;
}

/** A stage of one program. */
export interface Emitted {
  readonly title: string;
  /** Bytes for `wasm`, text for all others. */
  readonly content: string | Uint8Array;
  /** The text's lines of each kernel with the instructions they belong to, where kernels have texts of their own. */
  readonly kernels?: readonly EmittedKernel[];
}

export interface EmittedKernel {
  readonly name: string;
  /** What it was made for: `blocks.0: rms_norm` of a model. */
  readonly from: readonly string[];
  readonly lines: readonly EmittedLine[];
}

export interface EmittedLine extends StageLine {
  /** Line and column of the kernel's source, from 1. */
  readonly at?: { readonly line: number; readonly column: number };
}

/** Prints a stage. Throws `ToolMissingError` for what needs LLVM, and `UsageError` for the tokens of a model. */
export async function emitStage(subject: Subject, stage: Stage): Promise<Emitted> {
  const { title, stages, source } = subject;
  if (stage === "tokens") {
    if (source === undefined) throw noTokens(title);
    const lines = tokenize(source.text).map(({ kind, text, start }) => {
      const { line, column } = source.position(start);
      return `${`${line}:${column}`.padEnd(8)}${kind.padEnd(13)}${JSON.stringify(text).slice(1, -1)}`;
    });
    return { title, content: `${lines.join("\n")}\n` };
  }
  if (stage === "graph") return { title, content: printGraph(stages.traced) };
  if (stage === "units") return { title, content: unitsText(explainProgram(stages)) };
  if (stage === "wasm") return { title, content: wasmStage(stages.program).bytes };
  if (stage === "ptx") return { title, content: await compileProgramToPtx(stages.program) };
  const kernels = linked(subject, await stageLines(subject, stage));
  const comment = COMMENT[stage];
  // Module and walk of a wasm program are part of its text; the other stages show kernels.
  if (stage === "wat") return { title, content: wasmStage(stages.program).text, kernels };
  return { title, content: kernels.map((kernel) => kernelText(kernel, comment)).join("\n"), kernels };
}

const COMMENT = { loops: "//", wat: ";;", mlir: "//", llvm: ";", asm: "#" } as const;

function noTokens(title: string): UsageError {
  return new UsageError("a model has no tokens", {
    where: title,
    expected: "a TypeScript file with kernels",
    hint: "--emit graph shows what was traced",
  });
}

async function stageLines({ stages }: Subject, stage: keyof typeof COMMENT): Promise<ViewStage["kernels"]> {
  const { program } = stages;
  if (stage === "loops") return program.kernels.map(loopLines);
  if (stage === "wat") return wasmStage(program).kernels;
  if (stage === "mlir") return mlirStage(program, hostMachine());
  return (await nativeStages(program, hostMachine(), findToolchain()))[stage];
}

/** The source line of an instruction of a kernel, from 1; undefined for models, and for what kernels did not write. */
export function sourcePlaces(subject: Subject): (kernel: number, inst: number) => EmittedLine["at"] {
  const { stages, kernel: compiled, source } = subject;
  if (compiled === undefined || source === undefined) return () => undefined;
  const places = stages.program.kernels.map((kernel) => {
    const spans = compiled.positions.get(kernel.name);
    const byInst = new Map<number, EmittedLine["at"]>();
    for (const [inst, number] of numberInstructions(kernel)) {
      // A store is found by what it stores, a loop by what it counts.
      const value =
        "result" in inst
          ? inst.result
          : inst.op === "store"
            ? inst.value
            : inst.op === "for"
              ? (inst.results[0] ?? inst.body.args[0])
              : inst.op === "if"
                ? (inst.results[0] ?? inst.condition)
                : undefined;
      const span = value === undefined ? undefined : spans?.get(value.id);
      if (span !== undefined) byInst.set(number, source.position(span.start));
    }
    return byInst;
  });
  return (kernel, inst) => places[kernel]?.get(inst);
}

function linked(subject: Subject, kernels: ViewStage["kernels"]): EmittedKernel[] {
  const { stages } = subject;
  const explanation = explainProgram(stages);
  const placeOf = sourcePlaces(subject);
  return kernels.map((lines, id) => {
    const units = new Set(explanation.kernels[id].calls.map((call) => explanation.calls[call].unit));
    const from = [...units].map((unit) => {
      const { group, title } = explanation.units[unit];
      return group === "" ? title : `${group}: ${title}`;
    });
    const placed = lines.map((line): EmittedLine => {
      const at = line.inst === undefined ? undefined : placeOf(id, line.inst);
      return at === undefined ? line : { ...line, at };
    });
    return { name: stages.program.kernels[id].name, from, lines: placed };
  });
}

const UNITS_SHOWN = 6;
const PLACE_COLUMN = 72;

/** A kernel's lines behind what it is for, with the place in the source at the end of lines that have another one. */
function kernelText({ name, from, lines }: EmittedKernel, comment: string): string {
  const shown = from.slice(0, UNITS_SHOWN).join("; ");
  const more = from.length > UNITS_SHOWN ? `; and ${from.length - UNITS_SHOWN} more` : "";
  let last = "";
  const texts = lines.map(({ text, at }) => {
    const place = at === undefined ? "" : `${at.line}:${at.column}`;
    if (place === "" || place === last) return text;
    last = place;
    return `${text.padEnd(PLACE_COLUMN)} ${comment} ${place}`;
  });
  return `${[`${comment} ${name}, for ${shown}${more}`, ...texts].join("\n")}\n`;
}

function unitsText(explanation: Explanation): string {
  const blocks = foldUnits(explanation).flatMap(({ group, units, times, lastGroup }) => [
    times === 1 ? `${group || "elsewhere"}:` : `${group} to ${lastGroup}, ${times} times:`,
    ...units.flatMap(({ id, kind, title, ops }) => [
      `  unit ${id}, ${kind}: ${title}`,
      ...ops.map(({ value, op, operands, type, isWritten }) => {
        return `    ${value} = ${op}(${operands.join(", ")}) : ${type}${isWritten ? " (written)" : ""}`;
      }),
    ]),
  ]);
  return `${blocks.join("\n")}\n`;
}

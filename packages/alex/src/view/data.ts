// What the page of a program shows, put together from the explanation, the texts of the stages and a profile.

import type { Kernel, Program } from "@fidelity/core";
import type { CallExplanation, Explanation } from "../explain/explanation.ts";
import type { Profile } from "../explain/profile.ts";
import { categoryOf } from "./category.ts";
import type { Category } from "./category.ts";
import { loopLines } from "./loop_text.ts";
import type { StageLine } from "./lines.ts";

/** The texts of all kernels on one stage. */
export interface ViewStage {
  /** A word for links and tests: `wat`. */
  readonly id: string;
  /** What people read above the column. */
  readonly title: string;
  /** Lines by the kernel's number. */
  readonly kernels: readonly (readonly StageLine[])[];
}

/** The text that kernels were written in. */
export interface ViewSource {
  readonly file: string;
  readonly text: string;
  /** What was recognised in the text, with lines from 1. */
  readonly intents?: readonly ViewIntent[];
  /** Lines of the text, from 1, by the number of a kernel and of its instruction. */
  lineOf(kernel: number, inst: number): number | undefined;
}

export interface ViewIntent {
  readonly name: string;
  readonly what: string;
  readonly how: string;
  readonly line: number;
}

export interface ViewInput {
  readonly title: string;
  /** What it was compiled for: "WebAssembly, 2 threads". */
  readonly target: string;
  readonly program: Program;
  readonly explanation: Explanation;
  /** Stages behind the loops. */
  readonly stages: readonly ViewStage[];
  readonly source?: ViewSource;
  readonly profile?: Profile;
}

/** A kernel with what all of its calls come to. */
export interface ViewKernel {
  readonly id: number;
  readonly name: string;
  readonly category: Category;
  readonly calls: readonly CallExplanation[];
  readonly units: readonly number[];
  readonly count: number;
  readonly bytes: number;
  readonly operations: number;
  /** Whether most of the arithmetic is on bytes. */
  readonly isInt8: boolean;
  readonly predictedSeconds: number | undefined;
  readonly measuredSeconds: number | undefined;
}

/** Everything that sections are drawn from. */
export interface View extends ViewInput {
  readonly allStages: readonly ViewStage[];
  readonly kernels: readonly ViewKernel[];
  /** The category of each unit. */
  readonly categories: readonly Category[];
}

export function createView(input: ViewInput): View {
  const { explanation, program, stages, profile } = input;
  const loops: ViewStage = { id: "loops", title: "Loops", kernels: program.kernels.map(loopLines) };
  const kernels = program.kernels.map((kernel, id) => viewKernel(kernel, id, explanation, profile));
  const categories = explanation.units.map(({ calls, kind }) => {
    const first = calls.map((id) => kernels[explanation.calls[id]!.kernel]!.category);
    // The calls that matter come last: packing and zeroing prepare them.
    return first.at(-1) ?? (kind === "copy" ? "move" : "rows");
  });
  return { ...input, allStages: [loops, ...stages], kernels, categories };
}

function viewKernel(kernel: Kernel, id: number, { calls }: Explanation, profile: Profile | undefined): ViewKernel {
  const own = calls.filter((call) => call.kernel === id);
  const sum = (of: (call: CallExplanation) => number): number => own.reduce((total, call) => total + of(call), 0);
  const int8 = sum(({ operations }) => operations.int8);
  const operations = sum(({ operations: { f32, f64 } }) => f32 + f64) + int8;
  const isPredicted = own.every(({ predictedSeconds }) => predictedSeconds !== undefined);
  return {
    id,
    name: kernel.name,
    category: categoryOf(kernel.name),
    calls: own,
    units: [...new Set(own.map(({ unit }) => unit))],
    count: sum(({ repeat }) => repeat),
    bytes: sum(({ bytes }) => bytes),
    operations,
    isInt8: 2 * int8 > operations,
    predictedSeconds: isPredicted ? sum(({ predictedSeconds }) => predictedSeconds ?? 0) : undefined,
    measuredSeconds: profile && sum((call) => profile.callSeconds[call.id]!),
  };
}

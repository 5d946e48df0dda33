// What an evaluation of GradBench is to this tool: a few functions by name, each of which poses a problem for an input:
// a function of float64 tensors, and the numbers to call it with. The function is compiled once for its shapes.

import type { TensorType } from "@fidelity/core";
import type { CompiledFunction, Programs } from "./programs.ts";

export interface Problem {
  /** What the function depends on besides the types of its arguments; part of its name. */
  readonly variant?: string;
  readonly types: readonly TensorType[];
  /** The numbers of each argument. */
  readonly values: readonly ArrayLike<number>[];
  /** The function of tensors: what is differentiated, or its derivative. */
  readonly fn: (...tensors: never[]) => unknown;
  /** The answer as JSON, from the results of the last run. */
  readonly answer: (results: CompiledFunction) => unknown;
}

/** One function of an evaluation: takes the input as it came. Throws `GradBenchInputError` where it does not fit. */
export type EvaluationFunction = (input: unknown) => Problem;

/** An evaluation's functions by their names in the protocol. */
export type Evaluation = Readonly<Record<string, EvaluationFunction>>;

/** A function ready to run at one input, as often as is asked. */
export interface PreparedRun {
  /** One evaluation: what is timed. */
  run(): void;
  answer(): unknown;
}

/** Compiles the problem's function, unless that is done, and writes its input where it will be read. */
export async function prepare(name: string, problem: Problem, programs: Programs): Promise<PreparedRun> {
  const { variant, types, values, fn, answer } = problem;
  const compiled = await programs.compile(variant === undefined ? name : `${name}.${variant}`, types, fn);
  compiled.write(...values);
  return { run: () => compiled.run(), answer: () => answer(compiled) };
}

/** The answer that is one number. */
export const oneNumber = (results: CompiledFunction): number => results.result()[0]!;

/** The answer that is the numbers of the first result. */
export const numbers = (results: CompiledFunction): number[] => results.result();

/** Numbers as rows of some columns. */
export function asRows(values: readonly number[], rows: number, columns: number): number[][] {
  return Array.from({ length: rows }, (_none, row) => values.slice(row * columns, (row + 1) * columns));
}

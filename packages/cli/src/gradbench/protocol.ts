// GradBench's protocol (CONTRIBUTING.md of github.com/gradbench/gradbench): one JSON object a line on standard input,
// an answer with the same id a line on standard output. What is wrong with a line is said in its answer.

import { FidelityError } from "@fidelity/units";
import { GradBenchMessageError } from "./errors.ts";
import { EVALUATIONS } from "./evaluations.ts";
import { prepare } from "./evaluation.ts";
import type { PreparedRun } from "./evaluation.ts";
import type { Programs } from "./programs.ts";

/** A part of what was done, by the clock. */
interface Timing {
  readonly name: string;
  readonly nanoseconds: number;
}

/** What every answer has, and what answers to `define` and `evaluate` have besides. */
export interface Answer {
  readonly id: number | null;
  readonly tool?: string;
  readonly config?: unknown;
  readonly success?: boolean;
  readonly output?: unknown;
  readonly timings?: readonly Timing[];
  readonly error?: string;
}

type Message = Readonly<Record<string, unknown>>;

/** Runs stop here even where fewer seconds than asked for have passed: every run is a line of the answer. */
const RUNS_MAX = 1_000_000;

/** The answer to a line; never throws. `config` tells how the tool runs. */
export async function answerLine(line: string, programs: Programs, config: unknown): Promise<Answer> {
  let id: number | null = null;
  try {
    const message = readMessage(line);
    if (typeof message["id"] === "number") id = message["id"];
    else throw badMessage("a message has no id", "a number", message["id"]);
    return { id, ...(await answerMessage(message, programs, config)) };
  } catch (error) {
    return { id, success: false, error: describe(error) };
  }
}

function readMessage(line: string): Message {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw badMessage("a line is not JSON", "one message a line", (error as Error).message);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Message;
  throw badMessage("a line is no message", "a JSON object", line.slice(0, 40));
}

async function answerMessage(message: Message, programs: Programs, config: unknown): Promise<Omit<Answer, "id">> {
  switch (message["kind"]) {
    case "start":
      return { tool: "fidelity", config };
    case "define":
      functionsOf(message);
      return { success: true };
    case "evaluate":
      return evaluate(message, programs);
    default:
      // Kinds that later versions may have want an answer as well, and nothing in it.
      if (typeof message["kind"] === "string") return {};
      throw badMessage("a message has no kind", "start, define, evaluate or analysis", message["kind"]);
  }
}

function functionsOf({ module }: Message): (typeof EVALUATIONS)[string] {
  if (typeof module === "string" && Object.hasOwn(EVALUATIONS, module)) return EVALUATIONS[module]!;
  throw badMessage("there is no such module", Object.keys(EVALUATIONS).join(", "), module);
}

async function evaluate(message: Message, programs: Programs): Promise<Omit<Answer, "id">> {
  const functions = functionsOf(message);
  const name = message["function"];
  if (typeof name !== "string" || !Object.hasOwn(functions, name)) {
    throw badMessage(`${String(message["module"])} has no such function`, Object.keys(functions).join(", "), name);
  }
  const { minRuns, minSeconds } = wantedRuns(message["input"]);
  const started = performance.now();
  const problem = functions[name]!(message["input"]);
  const prepared = await prepare(`${String(message["module"])}.${name}`, problem, programs);
  const preparing = { name: "prepare", nanoseconds: nanoseconds(performance.now() - started) };
  const runs = timeRuns(prepared, minRuns, minSeconds);
  return { success: true, output: prepared.answer(), timings: [preparing, ...runs] };
}

/** Runs until there are enough of them and they have taken long enough. */
function timeRuns(prepared: PreparedRun, minRuns: number, minSeconds: number): Timing[] {
  const timings: Timing[] = [];
  let totalMs = 0;
  do {
    const started = performance.now();
    prepared.run();
    const tookMs = performance.now() - started;
    timings.push({ name: "evaluate", nanoseconds: nanoseconds(tookMs) });
    totalMs += tookMs;
  } while ((timings.length < minRuns || totalMs < minSeconds * 1000) && timings.length < RUNS_MAX);
  return timings;
}

const nanoseconds = (ms: number): number => Math.round(ms * 1e6);

/** How often and for how long to run; once where the input does not say. */
function wantedRuns(input: unknown): { minRuns: number; minSeconds: number } {
  const wanted = (key: string): number => {
    const value: unknown = typeof input === "object" && input !== null ? (input as Message)[key] : undefined;
    if (value === undefined) return 0;
    if (typeof value === "number" && value >= 0) return value;
    throw badMessage(`${key} is no number of runs or seconds`, "a number from 0 on", value);
  };
  return { minRuns: wanted("min_runs"), minSeconds: wanted("min_seconds") };
}

function badMessage(what: string, expected: string, got: unknown): GradBenchMessageError {
  const text = typeof got === "string" ? got : got === undefined ? "nothing" : JSON.stringify(got);
  return new GradBenchMessageError(what, { expected, got: text });
}

/** An error with its name; a fault of Fidelity with its stack. */
function describe(error: unknown): string {
  if (error instanceof FidelityError) return `${error.name}: ${error.message}`;
  return error instanceof Error ? (error.stack ?? `${error.name}: ${error.message}`) : String(error);
}

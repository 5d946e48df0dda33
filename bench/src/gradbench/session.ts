// One session of GradBench: an evaluator and a tool, two processes that hand each other JSON lines. This one carries
// them across, as GradBench's own command does, and notes what was computed, how long it took, and whether it was
// right.

import { spawn } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { createInterface } from "node:readline";

/** A program to start. */
export interface CommandLine {
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** One function at one input. */
export interface Measured {
  readonly function: string;
  readonly input: string;
  /** The evaluator's word on the answer; undefined where it gave none. */
  readonly isRight: boolean | undefined;
  /** The tool's word on why there is no answer, or the evaluator's on what is wrong with it. */
  readonly error: string | undefined;
  /** Each run of the function. */
  readonly runsMs: readonly number[];
  /** What came before the runs, compiling included, where the tool tells. */
  readonly prepareMs: number | undefined;
}

export interface SessionResult {
  readonly measured: readonly Measured[];
  /** Why there is less than the evaluator asked for: the tool does not know the evaluation, or ended. */
  readonly failure: string | undefined;
}

interface Message {
  readonly id: number;
  readonly kind: string;
  readonly function?: string;
  readonly description?: string;
  readonly input?: unknown;
  readonly of?: number;
  readonly valid?: boolean;
  readonly error?: string;
}

interface Answer {
  readonly success?: boolean;
  readonly error?: string;
  readonly timings?: readonly { readonly name: string; readonly nanoseconds: number }[];
}

/** Runs an evaluator against a tool to the end, or until `limitMs` have passed. */
export async function runSession(evaluator: CommandLine, tool: CommandLine, limitMs: number): Promise<SessionResult> {
  const asking = start(evaluator);
  const answering = start(tool);
  const answers = createInterface({ input: answering.stdout })[Symbol.asyncIterator]();
  const notes = new Map<number, Measured>();
  let failure: string | undefined;
  const timer = setTimeout(() => {
    failure = `it took more than ${Math.round(limitMs / 1000)} s`;
    answering.kill("SIGKILL");
    asking.kill("SIGKILL");
  }, limitMs);
  for await (const line of createInterface({ input: asking.stdout })) {
    answering.stdin.write(`${line}\n`);
    const answered = await answers.next();
    if (answered.done === true) {
      failure ??= `the tool ended: ${answering.said().trim().split("\n").at(-1) ?? ""}`;
      break;
    }
    failure ??= note(JSON.parse(line) as Message, JSON.parse(answered.value) as Answer, notes);
    asking.stdin.write(`${answered.value}\n`);
  }
  clearTimeout(timer);
  answering.stdin.end();
  asking.stdin.end();
  const code = await asking.ended;
  await answering.ended;
  if (code !== 0) failure ??= `the evaluator failed: ${asking.said().trim().split("\n").at(-1) ?? ""}`;
  return { measured: [...notes.values()], failure };
}

/** Notes what an exchange tells; gives why the session has no more to tell, if so. */
function note(message: Message, answer: Answer, notes: Map<number, Measured>): string | undefined {
  if (message.kind === "define" && answer.success === false) return answer.error ?? "the tool does not know it";
  if (message.kind === "analysis") {
    const known = notes.get(message.of!);
    if (known !== undefined) notes.set(message.of!, { ...known, isRight: message.valid, error: message.error });
  }
  if (message.kind !== "evaluate") return undefined;
  const timesMs = (name: string): number[] =>
    (answer.timings ?? []).filter((timing) => timing.name === name).map(({ nanoseconds }) => nanoseconds / 1e6);
  notes.set(message.id, {
    function: message.function!,
    input: message.description ?? String(message.input),
    isRight: answer.success === true ? undefined : false,
    error: answer.error,
    runsMs: timesMs("evaluate"),
    prepareMs: timesMs("prepare")[0],
  });
  return undefined;
}

type Process = ChildProcessWithoutNullStreams & { said(): string; readonly ended: Promise<number | null> };

/** The end of what a process says on standard error is kept, for reports. */
const SAID_CHARACTERS = 4000;

function start({ program, args, cwd, env }: CommandLine): Process {
  const child = spawn(program, args, { cwd, env: { ...process.env, ...env }, stdio: "pipe" });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (piece: string) => (said = (said + piece).slice(-SAID_CHARACTERS)));
  child.stdin.on("error", () => undefined); // who has ended reads nothing; its end is noticed elsewhere
  const ended = new Promise<number | null>((resolve) => {
    child.on("error", (error) => {
      said += error.message;
      resolve(null);
    });
    child.on("close", (code) => resolve(code));
  });
  return Object.assign(child, { said: () => said, ended });
}

// `npm run fuzz`: runs the cases of a target in a worker, and watches it from outside, so that a case that hangs or
// takes the whole heap is told by its number.

import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { FidelityError, formatBytes } from "@fidelity/units";
import type { FuzzPlan, FuzzReport } from "./target.ts";
import { TARGETS } from "./targets.ts";
import type { WorkerTask } from "./worker.ts";

const USAGE = `Usage: npm run fuzz -- TARGET [--cases N] [--seed N] [--from N] [--seconds N]

Feeds hostile input to a part of Fidelity, until a rule is broken. A case follows from seed and number alone, and what
is printed of a failure runs it again. Ctrl-C stops with a report.

Targets:
${TARGETS.map(({ name, about }) => `  ${name.padEnd(15)}${about}`).join("\n")}

Options:
  --cases N      how many; by default 1000000
  --seed N       other cases for each seed; by default 1
  --from N       the number of the first case; by default 0
  --seconds N    stop after that time
  --help         this text`;

/** A case that takes as long hangs; the slowest take tenths of a second. */
const HANG_MS = 20_000;
const HEAP_MIB_MAX = 1024;
/** Progress is one line that changes on a terminal, and now and then a line elsewhere. */
const TICK_MS = 1000;
const LINE_MS = 60_000;

/** An argument that the fuzzer cannot use. */
class FuzzOptionError extends FidelityError {}

interface Options extends FuzzPlan {
  readonly target: string;
  readonly seconds: number;
}

function readOptions(args: readonly string[]): Options | undefined {
  const { values, positionals } = parse(args);
  if (values.help === true) return undefined;
  const [target, ...more] = positionals;
  if (more.length > 0 || !TARGETS.some(({ name }) => name === target)) {
    const expected = `one of ${TARGETS.map(({ name }) => name).join(", ")}`;
    throw new FuzzOptionError("there is no such target", { expected, got: positionals.join(" ") });
  }
  const number = (name: "cases" | "seed" | "from" | "seconds", otherwise: number): number => {
    const value = values[name] === undefined ? otherwise : Number(values[name]);
    if (Number.isInteger(value) && value >= 0 && value < 2 ** 32) return value;
    const expected = "a whole number from 0 to below 2^32";
    throw new FuzzOptionError(`--${name} cannot be used`, { expected, got: values[name] });
  };
  return {
    target,
    cases: number("cases", 1_000_000),
    seed: number("seed", 1),
    from: number("from", 0),
    seconds: number("seconds", 0),
  };
}

function parse(args: readonly string[]) {
  const text = { type: "string" } as const;
  const options = { cases: text, seed: text, from: text, seconds: text } as const;
  try {
    const help = { type: "boolean", short: "h" } as const;
    return parseArgs({ args: [...args], allowPositionals: true, options: { ...options, help } });
  } catch (error) {
    const got = error instanceof Error ? error.message : String(error);
    throw new FuzzOptionError("the arguments cannot be read", { got, hint: "npm run fuzz -- --help" });
  }
}

async function main(args: readonly string[]): Promise<void> {
  const options = readOptions(args);
  if (options === undefined) {
    console.log(USAGE);
    return;
  }
  const progress = new Int32Array(new SharedArrayBuffer(8)); // the case that runs; 1 to stop
  const task: WorkerTask = { ...options, progress };
  const worker = new Worker(new URL("./worker.ts", import.meta.url), {
    workerData: task,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB_MAX },
  });
  const stop = (): void => {
    if (Atomics.exchange(progress, 1, 1) === 1) process.exit(130);
  };
  process.on("SIGINT", stop);
  const start = performance.now();
  try {
    const report = await watched(worker, options, progress, start, stop);
    printReport(options, report, (performance.now() - start) / 1000);
  } finally {
    process.off("SIGINT", stop);
  }
}

// Waits for the worker's report. Throws what the worker throws, and where a case hangs.
function watched(
  worker: Worker,
  options: Options,
  progress: Int32Array,
  startMs: number,
  stop: () => void,
): Promise<FuzzReport> {
  let [last, sinceMs, lineMs] = [-1, startMs, startMs];
  const { promise, resolve, reject } = Promise.withResolvers<FuzzReport>();
  const repeat = (): string => `--seed ${options.seed} --from ${Atomics.load(progress, 0) >>> 0} --cases 1`;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    const index = Atomics.load(progress, 0) >>> 0;
    if (index !== last) [last, sinceMs] = [index, nowMs];
    else if (nowMs - sinceMs > HANG_MS) {
      reject(new Error(`a case hangs: npm run fuzz -- ${options.target} ${repeat()}`));
      void worker.terminate();
    }
    const isLine = nowMs - lineMs > LINE_MS;
    if (isLine) lineMs = nowMs;
    if (process.stdout.isTTY || isLine) printProgress(options, index, (nowMs - startMs) / 1000);
    if (options.seconds > 0 && nowMs - startMs > 1000 * options.seconds && Atomics.load(progress, 1) === 0) stop();
  }, TICK_MS);
  worker.on("message", resolve);
  worker.on("error", (error) => {
    const isHeap = error instanceof Error && "code" in error && error.code === "ERR_WORKER_OUT_OF_MEMORY";
    reject(isHeap ? new Error(`a case takes the whole heap: npm run fuzz -- ${options.target} ${repeat()}`) : error);
  });
  worker.on("exit", (code) => reject(new Error(`the worker ended with ${code} in: ${options.target} ${repeat()}`)));
  return promise.finally(() => clearInterval(timer));
}

function printProgress({ target, from, cases }: Options, index: number, seconds: number): void {
  const done = index - from;
  const rate = Math.round(done / seconds);
  const memory = formatBytes(process.memoryUsage.rss());
  const line = `${target}: ${done} of ${cases} cases, ${rate} a second, ${memory}`;
  if (process.stdout.isTTY) process.stdout.write(`\r${line.padEnd(100)}\r`);
  else console.log(line);
}

function printReport(options: Options, report: FuzzReport, seconds: number): void {
  const { target, seed, from, cases } = options;
  const { outcomes, slowestMs, slowestCase } = report;
  const rate = Math.round(report.cases / seconds);
  const memory = formatBytes(1024 * process.resourceUsage().maxRSS);
  const last = from + report.cases - 1;
  if (report.cases === 0) console.log(`${target}, seed ${seed}: stopped before the first case had ended`);
  else {
    console.log(`${target}, seed ${seed}, cases ${from} to ${last}: no rule was broken`);
    console.log(`  ${report.cases} cases in ${seconds.toFixed(0)} s, ${rate} a second, at most ${memory}`);
    console.log(`  the slowest was case ${slowestCase}, ${slowestMs.toFixed(0)} ms`);
  }
  for (const [word, count] of [...outcomes].toSorted(([, a], [, b]) => b - a)) {
    console.log(`  ${String(count).padStart(10)}  ${word}`);
  }
  if (report.cases < cases) {
    const rest = cases - report.cases;
    console.log(`go on: npm run fuzz -- ${target} --seed ${seed} --from ${from + report.cases} --cases ${rest}`);
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof FidelityError ? error.message : error);
  process.exitCode = 1;
}

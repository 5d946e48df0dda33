// GradBench's twelve evaluations: this repository's tool beside GradBench's JavaScript tools and its PyTorch tool, each
// driven by GradBench's own evaluators, which say whether answers are right. A tool's time for a function at an input
// is the median of its runs; that of an evaluation is the sum over all of its functions and inputs, and a ratio is the
// geometric mean over those that both tools got right.

import { GradBenchCheckout, GradBenchCheckoutError, TOOLS } from "../gradbench/checkout.ts";
import type { ToolName } from "../gradbench/checkout.ts";
import { runSession } from "../gradbench/session.ts";
import type { Measured, SessionResult } from "../gradbench/session.ts";
import type { Bench } from "../measure.ts";
import { formatNumber, formatTable } from "../row.ts";
import type { Row } from "../row.ts";
import { summarise } from "../statistics.ts";

/** Sizes of each evaluation: GradBench's smaller ones, so that slow tools end. */
const EVALUATIONS: Readonly<Record<string, readonly string[]>> = {
  hello: [],
  llsq: ["-n", "16", "256", "4096", "16392"],
  lse: ["-n", "2500", "40000", "640000"],
  det: ["-l", "5", "7", "9", "11"],
  ode: ["-n", "1000", "10000", "-s", "1", "10", "100"],
  kmeans: ["-k", "10", "100", "-n", "1000", "10000", "-d", "8", "16"],
  saddle: [],
  particle: [],
  gmm: ["-d", "2", "10", "32", "-k", "5", "25"],
  ba: ["--max", "1"],
  ht: ["--max", "3"],
  lstm: ["-l", "2", "4", "-c", "1024"],
};

const QUICK: Readonly<Record<string, readonly string[]>> = {
  llsq: ["-n", "16"],
  lse: ["-n", "2500"],
  det: ["-l", "5"],
  ode: ["-n", "1000", "-s", "1"],
  kmeans: ["-k", "10", "-n", "1000", "-d", "8"],
  gmm: ["-d", "2", "-k", "5"],
  ba: ["--max", "1"],
  ht: ["--max", "1", "--model", "small"],
  lstm: ["-l", "2", "-c", "1024"],
};

/** A session that has not ended by then is given up: GradBench gives a tool minutes as well. */
const SESSION_MS_MAX = 180_000;
const SECONDS = 0.2;

/** What a tool made of an evaluation. */
interface Outcome {
  readonly right: number;
  readonly asked: number;
  readonly totalMs: number;
  readonly result: SessionResult;
}

type Outcomes = ReadonlyMap<ToolName, Outcome>;

/** Runs all evaluations against all tools that are installed; says what is missing where nothing can be run. */
export async function gradbench(bench: Bench): Promise<void> {
  let checkout: GradBenchCheckout;
  try {
    checkout = await GradBenchCheckout.open(process.env["GRADBENCH_DIR"]);
  } catch (error) {
    if (!(error instanceof GradBenchCheckoutError)) throw error;
    bench.note(`gradbench is left out: ${error.message}`);
    return;
  }
  const all = new Map<string, Outcomes>();
  for (const [name, sizes] of Object.entries(EVALUATIONS)) {
    const args = bench.quick ? (QUICK[name] ?? []) : sizes;
    const timed = name === "hello" ? [] : ["--min-seconds", `${bench.quick ? 0 : SECONDS}`];
    all.set(name, await outcomesOf(checkout, name, [...args, ...timed], bench));
  }
  bench.report(
    "GradBench, milliseconds; ratio is the peer's time over ours",
    [...all].flatMap(([name, outcomes]) => rowsOf(name, outcomes)),
  );
  bench.note(`GradBench, milliseconds on one thread (times as fast as the peer)\n${tableOf(all)}`);
}

async function outcomesOf(
  checkout: GradBenchCheckout,
  name: string,
  args: readonly string[],
  bench: Bench,
): Promise<Outcomes> {
  const outcomes = new Map<ToolName, Outcome>();
  for (const tool of TOOLS) {
    const command = checkout.tool(tool, bench.target);
    if (command === undefined) continue;
    const result = await runSession(checkout.evaluator(name, args), command, SESSION_MS_MAX);
    const right = result.measured.filter(({ isRight }) => isRight === true);
    const outcome = {
      right: right.length,
      asked: result.measured.length,
      totalMs: right.reduce((sum, measured) => sum + timeMs(measured), 0),
      result,
    };
    outcomes.set(tool, outcome);
    bench.note(`${name}, ${tool}: ${describe(outcome)}`);
  }
  return outcomes;
}

function describe({ right, asked, result }: Outcome): string {
  const wrong = result.measured.find(({ isRight }) => isRight !== true);
  const what = `${right} of ${asked} right`;
  if (result.failure !== undefined) return `${what}; ${reason(result.failure)}`;
  return wrong === undefined ? what : `${what}; ${wrong.function} ${wrong.input}: ${reason(wrong.error ?? "")}`;
}

/** The line of a trace that says what went wrong. */
function reason(text: string): string {
  const lines = text.trim().split("\n");
  return (lines.find((line) => /^\w*Error\b/.test(line)) ?? lines[0]!).slice(0, 200);
}

/** A tool need not tell how long its runs took: GradBench's JavaScript tools do not for hello. */
const timeMs = ({ runsMs }: Measured): number => (runsMs.length === 0 ? 0 : summarise(runsMs).median);

/** Peer's time over ours for each function and input that both got right. */
function ratios(own: Outcome, peer: Outcome): number[] {
  const rightOf = (outcome: Outcome): Map<string, number> =>
    new Map(
      outcome.result.measured
        .filter(({ isRight, runsMs }) => isRight === true && runsMs.length > 0)
        .map((measured) => [`${measured.function} ${measured.input}`, timeMs(measured)]),
    );
  const [mine, theirs] = [rightOf(own), rightOf(peer)];
  return [...mine].flatMap(([key, ms]) => (theirs.has(key) ? [theirs.get(key)! / ms] : []));
}

function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** A row of our own for each function and input, and one for each peer. */
function rowsOf(name: string, outcomes: Outcomes): Row[] {
  const own = outcomes.get("fidelity")!;
  const absent = { share: null, ceiling: null, quiet: null };
  const alone = { peer: null, ratio: null, ratioLow: null, ratioHigh: null, ...absent };
  const inputs = own.result.measured.flatMap((measured): Row[] => {
    if (measured.isRight !== true) return [];
    const { median, low, high } = summarise(measured.runsMs);
    const id = `gradbench/${name}/${measured.function}/${measured.input}`;
    return [{ id, value: median, unit: "ms", low, high, ...alone }];
  });
  const peers = TOOLS.slice(1).flatMap((tool): Row[] => {
    const peer = outcomes.get(tool);
    const both = peer === undefined ? [] : ratios(own, peer);
    if (both.length === 0) return [];
    const { low, high } = summarise(both);
    const compared = { peer: tool, ratio: geometricMean(both), ratioLow: low, ratioHigh: high, ...absent };
    return [
      {
        id: `gradbench/${name}/${tool}`,
        value: own.totalMs,
        unit: "ms",
        low: own.totalMs,
        high: own.totalMs,
        ...compared,
      },
    ];
  });
  return [...inputs, ...peers];
}

/** A row an evaluation, a column a tool. */
function tableOf(all: ReadonlyMap<string, Outcomes>): string {
  const cell = (outcomes: Outcomes, tool: ToolName): string => {
    const outcome = outcomes.get(tool);
    if (outcome === undefined) return "not installed";
    if (outcome.asked === 0 || outcome.right === 0) return "-";
    if (outcome.totalMs === 0) return "untimed";
    const partial = outcome.right < outcome.asked || outcome.result.failure !== undefined;
    const counted = partial ? ` ${outcome.right} of ${outcomes.get("fidelity")!.asked}` : "";
    const both = tool === "fidelity" ? [] : ratios(outcomes.get("fidelity")!, outcome);
    const ratio = both.length === 0 ? "" : ` (${formatNumber(geometricMean(both))} x)`;
    return `${formatNumber(outcome.totalMs)}${ratio}${counted}`;
  };
  const rows = [...all].map(([name, outcomes]) => {
    const { right, asked } = outcomes.get("fidelity")!;
    return [name, `${right} of ${asked}`, ...TOOLS.map((tool) => cell(outcomes, tool))];
  });
  return formatTable([["", "right", ...TOOLS], ...rows], new Set([0]));
}

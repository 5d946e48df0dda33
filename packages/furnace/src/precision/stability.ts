// Where a gradient needs more digits: its float32 value on a device is compared with float64's, leaf by leaf, the ops
// are ranked by their condition numbers (condition.ts), and those that may lose most are computed in more precision,
// as few of them as bring the gradient below the error that was asked for. What was chosen is a policy for
// `extendGraph`, and what it brings is measured and not predicted.

import { encodeTensor, decodeTensor, interpret } from "@fidelity/core";
import type { Device, Graph, HostTensor, Node } from "@fidelity/core";
import type { OpCondition } from "./condition.ts";
import { conditionNumbers } from "./condition.ts";
import type { Precision, PrecisionPolicy } from "./extend.ts";
import { extendGraph } from "./extend.ts";

/** One result of the graph, such as the gradient of one parameter. */
export interface LeafStability {
  readonly path: string;
  /** |g32 - g64| / |g64|, by norms; 0 where both are 0. */
  readonly error: number;
  /** The same with the chosen ops in more precision. */
  readonly extendedError: number;
  /** The cosine of the angle between the float32 result and float64's. */
  readonly cosine: number;
}

export interface StabilityReport {
  readonly leaves: readonly LeafStability[];
  /** Of all results together. */
  readonly error: number;
  readonly extendedError: number;
  /** All ops, the largest predicted error first. */
  readonly conditions: readonly OpCondition[];
  /** The ops that are extended, of `expanded`. */
  readonly chosen: ReadonlySet<Node>;
  /** The graph without composite ops, whose nodes `conditions` and `chosen` name, and the same with the choice made. */
  readonly expanded: Graph;
  readonly extended: Graph;
}

export interface StabilityOptions {
  /** Names of the graph's results, in order. */
  readonly paths?: readonly string[];
  /** The error of all results together that is good enough; 1e-6 by default. */
  readonly tolerance?: number;
  /** How chosen ops are computed; float64 by default. */
  readonly precision?: Precision;
}

/** Rounds of choosing: each doubles the number of ops, so that few measurements find about the fewest. */
const ROUNDS_MAX = 12;

/**
 * Measures a float32 graph on `device` for these inputs, and finds the ops to extend. Runs the graph once for each
 * round of choosing. Nothing is chosen where float32 is good enough; where no choice is, all ops are.
 */
export async function gradientStability(
  device: Device,
  graph: Graph,
  inputs: readonly HostTensor[],
  { paths = [], tolerance = 1e-6, precision = "f64" }: StabilityOptions = {},
): Promise<StabilityReport> {
  const expanded = extendGraph(graph, () => "keep");
  const want = interpret(expanded, inputs);
  const conditions = conditionNumbers(expanded, inputs);
  const single = await runOn(device, expanded, inputs);
  let chosen: ReadonlySet<Node> = new Set<Node>();
  let extended = expanded;
  let got = single;
  for (let round = 0, count = 1; round < ROUNDS_MAX && errorOf(got, want) > tolerance; round++, count *= 2) {
    chosen = new Set(conditions.slice(0, count).map(({ node }) => node));
    extended = extendGraph(expanded, choosing(chosen, precision));
    got = await runOn(device, extended, inputs);
    if (count >= conditions.length) break;
  }
  const leaves = want.map((wanted, i): LeafStability => ({
    path: paths[i] ?? `result ${i}`,
    error: errorOf([single[i]!], [wanted]),
    extendedError: errorOf([got[i]!], [wanted]),
    cosine: cosineOf(single[i]!.data, wanted.data),
  }));
  const [error, extendedError] = [errorOf(single, want), errorOf(got, want)];
  return { leaves, error, extendedError, conditions, chosen, expanded, extended };
}

/** The policy that extends these nodes. */
export function choosing(nodes: ReadonlySet<Node>, precision: Precision): PrecisionPolicy {
  return (node) => (nodes.has(node) ? precision : "keep");
}

async function runOn(device: Device, graph: Graph, inputs: readonly HostTensor[]): Promise<HostTensor[]> {
  const program = await device.compile(graph);
  const parameters = program.parameterTypes.map((type) => device.tensor(type));
  const results = program.resultTypes.map((type) => device.tensor(type));
  try {
    inputs.forEach((input, i) => encodeTensor(input, parameters[i]!.bytes()));
    program.bind(parameters, results);
    await program.runAsync();
    return results.map((tensor) => decodeTensor(tensor.type, tensor.bytes()));
  } finally {
    program.free();
    for (const tensor of [...parameters, ...results]) tensor.free();
  }
}

function errorOf(got: readonly HostTensor[], want: readonly HostTensor[]): number {
  let [difference, size] = [0, 0];
  want.forEach(({ data }, i) =>
    data.forEach((value, j) => {
      difference += (got[i]!.data[j]! - value) ** 2;
      size += value ** 2;
    }),
  );
  return difference === 0 ? 0 : Math.sqrt(difference / size);
}

function cosineOf(a: Float64Array, b: Float64Array): number {
  let [dot, left, right] = [0, 0, 0];
  a.forEach((value, i) => {
    dot += value * b[i]!;
    left += value * value;
    right += b[i]! * b[i]!;
  });
  return left === 0 || right === 0 ? Number(left === right) : dot / Math.sqrt(left * right);
}

// Condition numbers of the ops of a graph at a point: how many times larger than the rounding of its operands the
// error of an op's result may be. An op is run by its reference; beside each result r stands the size a of what it
// was added up from, |x| + |y| for x + y, the sum of |x_i| for a sum, |x f'(x)| for a function. a / |r| is the
// condition number of an element (Higham, "Accuracy and Stability of Numerical Algorithms", chapters 1 and 4); of a
// whole tensor it is the quotient of the norms, so that elements that are small beside the others do not count. An
// error of a result reaches the results of the graph by way of its readers: the amplification of an op is the largest
// product of condition numbers on a way there. They are bounds: errors have random signs, as have the terms of most
// sums, so that a sum of n terms counts with its condition number by sqrt(n), and what costs no more than four bits
// as 1. Left out: amplification from step to step of a loop.

import { elementCount, isFloat, topologicalOrder, zerosHost } from "@fidelity/core";
import type { Graph, HostTensor, Node, Tensor } from "@fidelity/core";

/** What is known of an op after a run; loops have an entry for each op of their body, over all steps. */
export interface OpCondition {
  readonly node: Node;
  /** How many numbers are added for one of the result; 1 for elementwise ops. */
  readonly terms: number;
  /** Of the whole tensor; 1 for ops that only move elements. */
  readonly condition: number;
  /** The largest of an element that is not 0. */
  readonly worst: number;
  /** How much larger an error of the result may be in the results of the graph. */
  readonly amplification: number;
  /** What the op may add to the relative error of the graph's results in float32, by its operands and its own sums. */
  readonly predictedError: number;
}

const UNIT = 2 ** -24;
/** Condition numbers up to this are ordinary. */
const ORDINARY = 16;

/** Sums that are still growing: squares of sizes and results, over all runs of a node. */
interface Tally {
  terms: number;
  sizes: number;
  results: number;
  worst: number;
}

/** The condition numbers of `graph` for these inputs, the largest predicted error first. Composite ops count as 1. */
export function conditionNumbers(graph: Graph, inputs: readonly HostTensor[]): OpCondition[] {
  const tallies = new Map<Node, Tally>();
  run(graph, inputs, tallies);
  const found: OpCondition[] = [];
  amplify(graph, 1, (node, amplification) => {
    const { terms, sizes, results, worst } = tallies.get(node) ?? { terms: 1, sizes: 1, results: 1, worst: 1 };
    const condition = results === 0 ? (sizes === 0 ? 1 : Infinity) : Math.sqrt(sizes / results);
    const counted = condition <= Math.max(ORDINARY, Math.sqrt(terms)) ? 1 : condition / Math.sqrt(terms);
    const own = Math.max(1, counted * Math.sqrt(terms));
    if (node.inputs.length > 0 && node.results.some(({ dtype }) => isFloat(dtype))) {
      found.push({ node, terms, condition, worst, amplification, predictedError: UNIT * amplification * own });
    }
    return counted * amplification;
  });
  return found.sort((a, b) => b.predictedError - a.predictedError);
}

/**
 * Visits the nodes of a graph, readers first, with their amplifications; `visit` gives that of the node's inputs.
 * Gives the amplifications of the parameters.
 */
function amplify(graph: Graph, outer: number, visit: (node: Node, amplification: number) => number): number[] {
  const known = new Map<Tensor, number>(graph.results.map((result) => [result, outer]));
  const raise = (tensor: Tensor, to: number): void => void known.set(tensor, Math.max(known.get(tensor) ?? 0, to));
  for (const node of topologicalOrder(graph.results).toReversed()) {
    const amplification = Math.max(...node.results.map((result) => known.get(result) ?? 0));
    const ofInputs = visit(node, amplification);
    const inner = node.op.name === "scan" ? amplify(node.attrs["body"] as Graph, amplification, visit) : undefined;
    node.inputs.forEach((input, i) => raise(input, inner?.[i] ?? ofInputs));
  }
  return graph.parameters.map((parameter) => known.get(parameter) ?? 0);
}

function run(graph: Graph, inputs: readonly HostTensor[], tallies: Map<Node, Tally>): HostTensor[] {
  const known = new Map<Tensor, HostTensor>(graph.parameters.map((parameter, i) => [parameter, inputs[i]!]));
  for (const node of topologicalOrder(graph.results)) {
    if (node.results.every((result) => known.has(result))) continue;
    const operands = node.inputs.map((input) => known.get(input)!);
    const results = node.op.name === "scan" ? runScan(node, operands, tallies) : evaluate(node, operands);
    node.results.forEach((result, i) => known.set(result, results[i]!));
    tally(node, operands, results, tallies);
  }
  return graph.results.map((result) => known.get(result)!);
}

function evaluate(node: Node, operands: readonly HostTensor[]): readonly HostTensor[] {
  return node.op.evaluate(
    operands,
    node.attrs,
    node.results.map(({ type }) => type),
  );
}

function runScan(node: Node, operands: readonly HostTensor[], tallies: Map<Node, Tally>): HostTensor[] {
  // What a limit stops is computed as by the op itself, without numbers of its body.
  if (node.attrs["limited"] === true) return [...evaluate(node, operands)];
  const body = node.attrs["body"] as Graph;
  const [constants, carries, length] = ["constants", "carries", "length"].map((key) => Number(node.attrs[key]));
  let carry = operands.slice(constants!, constants! + carries!);
  const stacks = operands.slice(constants! + carries!);
  const ys = node.results.slice(carries).map(({ type }) => zerosHost(type));
  for (let step = 0; step < length!; step++) {
    const t = node.attrs["reverse"] === true ? length! - 1 - step : step;
    const slices = stacks.map((stack, i) => {
      const { type } = body.parameters[constants! + carries! + i]!;
      const size = elementCount(type.shape);
      return { type, data: stack.data.subarray(t * size, (t + 1) * size) };
    });
    const results = run(body, [...operands.slice(0, constants), ...carry, ...slices], tallies);
    carry = results.slice(0, carries);
    ys.forEach((y, i) => y.data.set(results[carries! + i]!.data, t * results[carries! + i]!.data.length));
  }
  return [...carry, ...ys];
}

/** |x f'(x)|, from x and y = f(x). */
const SENSITIVITIES: Readonly<Record<string, (x: number, y: number, node: Node) => number>> = {
  exp: (x, y) => x * y,
  log: () => 1,
  sin: (x) => x * Math.cos(x),
  cos: (x) => x * Math.sin(x),
  tanh: (x, y) => x * (1 - y * y),
  sigmoid: (x, y) => x * y * (1 - y),
  pow: (_x, y, node) => Number(node.attrs["exponent"]) * y,
  sqrt: (_x, y) => y / 2,
  rsqrt: (_x, y) => y / 2,
  mul: (_x, y) => y,
  div: (_x, y) => y,
};

/** Ops that add; the size of what they add is what they give for the absolute values of their inputs. */
const ADDING = new Set(["add", "sub", "reduce_sum", "matmul", "scatter_add", "linear_recurrence"]);

function tally(
  node: Node,
  operands: readonly HostTensor[],
  results: readonly HostTensor[],
  tallies: Map<Node, Tally>,
): void {
  const [result] = results;
  if (result === undefined || !isFloat(result.type.dtype)) return;
  const sizes = sizesOf(node, operands, result);
  if (sizes === undefined) return;
  const before = tallies.get(node) ?? { terms: termsOf(node), sizes: 0, results: 0, worst: 1 };
  result.data.forEach((value, i) => {
    const size = Math.abs(sizes[i]!);
    before.sizes += size * size;
    before.results += value * value;
    if (value !== 0) before.worst = Math.max(before.worst, size / Math.abs(value));
  });
  tallies.set(node, before);
}

function sizesOf(node: Node, operands: readonly HostTensor[], result: HostTensor): ArrayLike<number> | undefined {
  const { name } = node.op;
  const sensitivity = SENSITIVITIES[name];
  if (sensitivity !== undefined) {
    return result.data.map((y, i) => sensitivity(operands[0]!.data[i]!, y, node));
  }
  if (!ADDING.has(name)) return undefined;
  const absolute = operands.map((x) => (isFloat(x.type.dtype) ? { ...x, data: x.data.map(Math.abs) } : x));
  if (name === "sub") return absolute[0]!.data.map((a, i) => a + absolute[1]!.data[i]!);
  return evaluate(node, absolute)[0]!.data;
}

/** How many numbers meet in one of the result. */
function termsOf(node: Node): number {
  const [first] = node.inputs;
  const count = elementCount(node.results[0]!.shape);
  if (node.op.name === "reduce_sum") return elementCount(first!.shape) / Math.max(count, 1);
  if (node.op.name === "matmul") return first!.shape.at(node.attrs["transposeA"] === true ? -2 : -1)!;
  if (node.op.name === "linear_recurrence") return first!.shape[1]!;
  if (node.op.name === "scatter_add") return Math.max(1, elementCount(node.inputs[1]!.shape) / Math.max(count, 1));
  return 1;
}

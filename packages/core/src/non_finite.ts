// Where NaN and Inf come from: a graph is interpreted again with the inputs that gave them, and every op is watched.
// The one that is reported has finite inputs (or makes NaN out of Inf), and what it made reaches a result: an Inf that
// is masked away later is nobody's mistake. Values are rounded to their dtype after every op, since float32 overflows
// where float64 does not.

import type { Graph, Node, Tensor, TensorType } from "./graph.ts";
import { formatType, topologicalOrder } from "./graph.ts";
import { trailTo } from "./derive/errors.ts";
import type { HostTensor } from "./host.ts";
import { interpret, observing } from "./interpreter.ts";

/** The op that made the first NaN or Inf that a result has, or the input that already had one. */
export interface NonFiniteOrigin {
  /** The op's name; `parameter` where an input of the graph had it. */
  readonly op: string;
  /** The op inside of a loop's or branch's body, where `op` is the loop or branch. */
  readonly inner: string | undefined;
  readonly value: number;
  /** Where in the op's result. */
  readonly index: readonly number[];
  readonly type: TensorType;
  /** The op's inputs: types, and the least and the greatest number in each. */
  readonly inputs: readonly { readonly type: TensorType; readonly least: number; readonly greatest: number }[];
  /** From the result back to the op: `reduce_sum <- mul <- log`. */
  readonly trail: string;
  /** The name of the parameter, where an input of the graph had it. */
  readonly parameter: string | undefined;
}

interface Event {
  readonly node: Node;
  readonly at: number;
  readonly inputs: readonly HostTensor[];
  readonly results: readonly HostTensor[];
}

/**
 * Interprets `graph` and finds what made the NaN or Inf in its results; undefined where all results are finite, as
 * they may be when only the compiled program's rounding overflows. Slow: for one run that went wrong. Throws
 * `ExecutionError` where the inputs do not fit the graph.
 */
export function findNonFinite(graph: Graph, inputs: readonly HostTensor[]): NonFiniteOrigin | undefined {
  const order = topologicalOrder(graph.results);
  const outer = new Set(order);
  const births = new Map<Node, Event>();
  const innerOf = new Map<Node, string>();
  const bad = new Set<Tensor>();
  let inner: string | undefined;
  const watch = (node: Node, given: readonly HostTensor[], made: readonly HostTensor[]): void => {
    made.forEach(roundToDtype);
    const at = made.findIndex(({ type, data }, i) => isFloatType(type) && findBad(made[i]!) < data.length);
    const isBirth = at >= 0 && isBorn(given, made[at]!);
    if (!outer.has(node)) {
      if (isBirth) inner ??= node.op.name;
      return;
    }
    made.forEach((value, i) => isFloatType(value.type) && hasBad(value) && bad.add(node.results[i]!));
    if (isBirth && node.inputs.length > 0) births.set(node, { node, at, inputs: given, results: made });
    if (isBirth && inner !== undefined) innerOf.set(node, inner);
    inner = undefined;
  };
  graph.parameters.forEach((parameter, i) => inputs[i] && hasBad(inputs[i]) && bad.add(parameter));
  observing(watch, () => interpret(graph, inputs));
  const reached = reachedBy(graph.results, bad);
  const birth = order.map((node) => births.get(node)).find((event) => event && reached.has(event.node));
  if (birth !== undefined) return describeBirth(birth, graph, innerOf.get(birth.node));
  const source = graph.parameters.findIndex((parameter) => reached.has(parameter.node));
  return source < 0 ? undefined : describeParameter(graph, source, inputs[source]!);
}

/** Nodes from which NaN or Inf flows to a result. */
function reachedBy(results: readonly Tensor[], bad: ReadonlySet<Tensor>): Set<Node> {
  const seen = new Set<Node>();
  const stack = results.filter((result) => bad.has(result)).map(({ node }) => node);
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    for (const input of node.inputs) if (bad.has(input)) stack.push(input.node);
  }
  return seen;
}

const isFloatType = ({ dtype }: TensorType): boolean => dtype === "f32" || dtype === "f64" || dtype === "bf16";

function roundToDtype({ type, data }: HostTensor): void {
  if (type.dtype !== "f32") return;
  for (let i = 0; i < data.length; i++) data[i] = Math.fround(data[i]!);
}

/** The place of the first NaN or Inf; the length where there is none. */
function findBad({ data }: HostTensor): number {
  const at = data.findIndex((value) => !Number.isFinite(value));
  return at < 0 ? data.length : at;
}

const hasBad = (value: HostTensor): boolean => findBad(value) < value.data.length;

/** Whether these inputs did not have what the result has. */
function isBorn(inputs: readonly HostTensor[], result: HostTensor): boolean {
  const isTainted = inputs.some((input) => isFloatType(input.type) && hasBad(input));
  if (!isTainted) return true;
  const hasNaN = (value: HostTensor): boolean => value.data.some(Number.isNaN);
  return hasNaN(result) && !inputs.some((input) => isFloatType(input.type) && hasNaN(input));
}

function describeBirth({ node, at, inputs, results }: Event, graph: Graph, inner: string | undefined): NonFiniteOrigin {
  const result = results[at]!;
  const place = findBad(result);
  return {
    op: node.op.name,
    inner,
    value: result.data[place]!,
    index: unravel(place, result.type.shape),
    type: result.type,
    inputs: inputs.map(({ type, data }) => ({ type, ...rangeOf(data) })),
    trail: trailTo(node, graph.results),
    parameter: undefined,
  };
}

function describeParameter(graph: Graph, at: number, value: HostTensor): NonFiniteOrigin {
  const parameter = graph.parameters[at]!;
  const { name } = parameter.node.attrs;
  const place = findBad(value);
  return {
    op: "parameter",
    inner: undefined,
    value: value.data[place]!,
    index: unravel(place, value.type.shape),
    type: value.type,
    inputs: [],
    trail: trailTo(parameter.node, graph.results),
    parameter: typeof name === "string" ? name : `number ${at}`,
  };
}

function rangeOf(data: ArrayLike<number>): { least: number; greatest: number } {
  let [least, greatest] = [Infinity, -Infinity];
  for (let i = 0; i < data.length; i++) {
    least = Math.min(least, data[i]!);
    greatest = Math.max(greatest, data[i]!);
  }
  return { least, greatest };
}

function unravel(place: number, shape: readonly number[]): number[] {
  const index: number[] = [];
  for (const dim of shape.toReversed()) {
    index.unshift(place % dim);
    place = Math.floor(place / dim);
  }
  return index;
}

/** A few lines for a person: what was made, where, out of what. */
export function formatNonFinite(origin: NonFiniteOrigin): string {
  const { op, inner, value, index, type, inputs, trail, parameter } = origin;
  const place = index.length === 0 ? "" : ` at [${index.join(", ")}]`;
  if (parameter !== undefined) return `input ${parameter} (${formatType(type)}) already has ${value}${place}`;
  const given = inputs.map(
    (input) => `${formatType(input.type)} from ${short(input.least)} to ${short(input.greatest)}`,
  );
  return [
    `${op}${inner === undefined ? "" : ` (${inner} in its body)`} made the first ${value}: ${formatType(type)}${place}`,
    `out of   ${given.join("; ")}`,
    `trail    ${trail}`,
  ].join("\n");
}

const short = (value: number): string => String(Number(value.toPrecision(6)));

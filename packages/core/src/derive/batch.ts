// Batching: from a graph over one example to the graph over many, as vmap of JAX and of "Compiling machine learning
// programs via high-level tracing" (Frostig, Johnson, Leary, SysML 2018). Examples lie along a new leading axis. What
// does not depend on the examples stays as it is, and is computed once.
//
// Each op says how it is batched in one line of the table batch_rules.ts, as it says how it is differentiated. Since
// the result is an ordinary graph of the same ops, it is compiled and differentiated like any other, and batching
// nests with itself and with derivatives in any order.

import { FidelityError, invariant } from "@fidelity/units";
import { isBlocked, isPacked } from "../dtype.ts";
import type { Graph, Node, Tensor } from "../graph.ts";
import { emit, formatType, sameType, topologicalOrder } from "../graph.ts";
import { broadcastTo } from "../ops/broadcast.ts";
import { reshape } from "../ops/reshape.ts";
import { emitLoop } from "../ops/scan.ts";
import { transpose } from "../ops/transpose.ts";
import { parameter } from "../trace.ts";
import { batchingOf } from "./batch_rules.ts";
import { trailTo } from "./errors.ts";
import { expandNode } from "./linearize.ts";

/** A tensor of many examples along a new leading axis, or, unless `batched`, one that is the same for all of them. */
export interface Batched {
  readonly value: Tensor;
  readonly batched: boolean;
}

/** How an op is applied to many examples at once. */
export type Batching =
  /** It has no inputs, or its inputs never hold examples. */
  | { readonly kind: "source" }
  /** It treats leading axes alike: the same op with the axis in front of every input. */
  | { readonly kind: "rows" }
  /**
   * The first axis of its tensors is a batch already, which takes the examples in; its scalars hold for all of it, and
   * so do the inputs whose numbers are in `shared`.
   */
  | { readonly kind: "fold"; readonly shared: readonly number[] }
  /** As what it expands to. */
  | { readonly kind: "expand" }
  /** It has no form for many examples, and says why. */
  | { readonly kind: "refuse"; readonly reason: string; readonly hint: string }
  | {
      readonly kind: "rules";
      /** Results over `size` examples from inputs of which at least one is batched. */
      batch(inputs: readonly Batched[], size: number, node: Node): readonly Batched[];
    };

/** Something cannot be computed for many examples at once. */
export class BatchError extends FidelityError {}

/**
 * The `roots` when the tensors that are keys of `examples` have the values given there, of `size` examples along the
 * leading axis. The keys must be parameters made for this purpose. Throws `BatchError` at an op that has no such form.
 */
export function batchTensors(
  roots: readonly Tensor[],
  examples: ReadonlyMap<Tensor, Tensor>,
  size: number,
): readonly Batched[] {
  const known = new Map<Tensor, Batched>();
  for (const [tensor, value] of examples) known.set(tensor, { value, batched: true });
  const look = (tensor: Tensor): Batched => known.get(tensor) ?? { value: tensor, batched: false };
  const done = new Set<Node>([...examples.keys()].map((tensor) => tensor.node));
  // The recursion is as deep as one op's expansion: the inputs of every node in the order below are done before it.
  const visit = (node: Node): void => {
    if (done.has(node)) return;
    done.add(node);
    for (const input of node.inputs) visit(input.node);
    if (!node.inputs.some((input) => known.has(input))) return;
    const inputs = node.inputs.map(look);
    let results: readonly Batched[];
    if (!inputs.some(({ batched }) => batched)) {
      const values = inputs.map(({ value }) => value);
      results = emit(node.op, values, node.attrs).map((value) => ({ value, batched: false }));
    } else if (batchingOf(node.op.name).kind === "expand") {
      const expansion = expandNode(node);
      for (const part of expansion) visit(part.node);
      results = expansion.map(look);
    } else {
      results = batchNode(node, inputs, size, roots);
    }
    node.results.forEach((result, i) => known.set(result, checkBatched(node, result, results[i]!, size)));
  };
  for (const node of topologicalOrder(roots)) visit(node);
  return roots.map(look);
}

function batchNode(node: Node, inputs: readonly Batched[], size: number, roots: readonly Tensor[]): readonly Batched[] {
  const batching = batchingOf(node.op.name);
  const name = node.op.name;
  const weights = inputs.find(({ value, batched }) => batched && isBlocked(value.dtype));
  if (weights !== undefined) {
    throw new BatchError(`${name} cannot be batched over weights in blocks`, {
      where: trailTo(node, roots),
      got: formatType(weights.value.type),
      hint: "dequantize them, or keep them out of what is batched",
    });
  }
  switch (batching.kind) {
    case "rules":
      return batching.batch(inputs, size, node);
    case "rows":
      return asBatched(emit(node.op, everyExample(inputs, size), node.attrs));
    case "fold":
      return foldExamples(node, inputs, size, batching.shared);
    case "refuse":
      throw new BatchError(`${name} cannot be batched: ${batching.reason}`, {
        where: trailTo(node, roots),
        got: inputs.map(({ value, batched }) => `${formatType(value.type)}${batched ? " (batched)" : ""}`).join(", "),
        hint: batching.hint,
      });
    default:
      return invariant(false, `${name}: batched, but its batching is ${batching.kind}`) as never;
  }
}

/** Results that all hold examples. */
export function asBatched(results: readonly Tensor[]): readonly Batched[] {
  return results.map((value) => ({ value, batched: true }));
}

/** The tensor with the axis of examples in front, repeated along it if it is the same for all. */
export function everyExample(inputs: readonly Batched[], size: number): Tensor[] {
  return inputs.map(({ value, batched }) => (batched ? value : repeatExample(value, size)));
}

/** `x` once for each of `size` examples: [size, ...]. */
export function repeatExample(x: Tensor, size: number): Tensor {
  if (isPacked(x.dtype)) {
    throw new BatchError(`a packed tensor cannot be repeated for ${size} examples`, {
      got: formatType(x.type),
      hint: "dequantize it, or keep it out of what is batched",
    });
  }
  return broadcastTo(reshape(x, [1, ...x.shape]), [size, ...x.shape]);
}

/** `x` with axis `from` moved to place `to`, the others in order. */
export function moveAxis(x: Tensor, from: number, to: number): Tensor {
  const axes = x.shape.map((_dim, axis) => axis).filter((axis) => axis !== from);
  return transpose(x as Tensor<readonly number[]>, axes.toSpliced(to, 0, from) as never);
}

/** Examples into the first axis of every tensor, the op once, and out of it again. */
function foldExamples(
  node: Node,
  inputs: readonly Batched[],
  size: number,
  shared: readonly number[],
): readonly Batched[] {
  const hasBatch = node.inputs.map(({ rank }, i) => rank > 0 && !shared.includes(i));
  if (inputs.some(({ batched }, i) => batched && !hasBatch[i])) return oneByOne(node, inputs, size);
  const folded = everyExample(
    inputs.filter((_input, i) => hasBatch[i]),
    size,
  ).map((x) => reshape(x, [size * x.shape[1]!, ...x.shape.slice(2)]));
  const operands = inputs.map((input, i) => (hasBatch[i] ? folded.shift()! : input.value));
  return asBatched(
    emit(node.op, operands, node.attrs).map((result, i) => reshape(result, [size, ...node.results[i]!.shape])),
  );
}

/** The op applied to one example after another, as a loop. */
export function oneByOne(node: Node, inputs: readonly Batched[], size: number): readonly Batched[] {
  const slices = inputs.flatMap(({ value, batched }) =>
    batched
      ? [{ parameter: parameter("example", { dtype: value.dtype, shape: value.shape.slice(1) }), stack: value }]
      : [],
  );
  let next = 0;
  const operands = inputs.map(({ value, batched }) => (batched ? slices[next++]!.parameter : value));
  const outputs = emit(node.op, operands, node.attrs);
  const name = `${node.op.name}_examples`;
  return asBatched(emitLoop({ name, carries: [], slices, outputs, length: size, reverse: false }).stacks);
}

/** A closed graph over examples: parameters that `isBatched` marks get the axis. */
export interface BatchedGraph {
  readonly graph: Graph;
  readonly isBatched: readonly boolean[];
}

/** Batches a graph that stands by itself; `everyResult` says which results hold examples even if all are the same. */
export function batchGraph(
  graph: Graph,
  isBatched: readonly boolean[],
  size: number,
  everyResult: (result: number) => boolean,
): BatchedGraph {
  const examples = new Map<Tensor, Tensor>();
  const parameters = graph.parameters.map((made, i) => {
    if (!isBatched[i]) return made;
    const many = parameter("examples", { dtype: made.dtype, shape: [size, ...made.shape] });
    examples.set(made, many);
    return many;
  });
  const results = batchTensors(graph.results, examples, size).map((result, i) => {
    return everyResult(i) ? { value: everyExample([result], size)[0]!, batched: true } : result;
  });
  return {
    graph: { name: graph.name, parameters, results: results.map(({ value }) => value) },
    isBatched: results.map(({ batched }) => batched),
  };
}

function checkBatched(node: Node, result: Tensor, batched: Batched, size: number): Batched {
  const expected = { dtype: result.dtype, shape: batched.batched ? [size, ...result.shape] : result.shape };
  const { type } = batched.value;
  invariant(
    sameType(expected, type),
    `${node.op.name}: ${formatType(expected)} for ${size} examples came out as ${formatType(type)}`,
  );
  return batched;
}

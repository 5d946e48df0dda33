// Closure conversion: what a traced function used besides its parameters becomes further parameters, so that its graph
// stands by itself and can be the body of a loop. Whatever does not depend on the parameters is computed outside, once:
// the conversion moves loop invariants out of loops.

import type { Graph, Node, Substitution, Tensor } from "../graph.ts";
import { substitute, topologicalOrder } from "../graph.ts";
import { parameter } from "../trace.ts";
import { dependents } from "./linearize.ts";

/** A graph of its own, and the tensors that its first parameters stand for. */
export interface ClosedGraph {
  /** Its parameters are one for each of `constants`, and then those that were given. */
  readonly graph: Graph;
  readonly constants: readonly Tensor[];
  /** The nodes that the results depend on, as they were before closing. */
  readonly used: ReadonlySet<Node>;
}

/** The graph from `parameters` to `results`, closed over the tensors around it. */
export function closeGraph(name: string, parameters: readonly Tensor[], results: readonly Tensor[]): ClosedGraph {
  const order = topologicalOrder(results);
  const inside = dependents(order, parameters);
  const constants = new Set<Tensor>();
  const use = (tensor: Tensor): void => {
    if (inside.has(tensor.node) || isFree(tensor.node)) return;
    if (isRepeated(tensor.node)) tensor.node.inputs.forEach(use);
    else constants.add(tensor);
  };
  for (const node of order) if (inside.has(node)) node.inputs.forEach(use);
  results.forEach(use);
  const map: Substitution = new Map();
  for (const constant of constants) map.set(constant, parameter("constant", constant.type));
  const own = [...map.values()];
  return {
    graph: { name, parameters: [...own, ...parameters], results: substitute(results, map) },
    constants: [...constants],
    used: new Set(order),
  };
}

/** A function of several graphs over the same operands: those of each graph, and what it computes. */
export interface OpenGraph {
  readonly name: string;
  readonly parameters: readonly Tensor[];
  readonly results: readonly Tensor[];
}

/** Several graphs closed over the same tensors, which are the first parameters of each: branches, or loop and test. */
export function closeTogether(open: readonly OpenGraph[]): { graphs: readonly Graph[]; constants: readonly Tensor[] } {
  const closed = open.map(({ name, parameters, results }) => closeGraph(name, parameters, results));
  const constants = [...new Set(closed.flatMap((each) => each.constants))];
  const graphs = closed.map(({ graph, constants: own }, i) => {
    const shared = constants.map((constant) => {
      const at = own.indexOf(constant);
      return at < 0 ? parameter("constant", constant.type) : graph.parameters[at]!;
    });
    return { ...graph, parameters: [...shared, ...open[i]!.parameters] };
  });
  return { graphs, constants };
}

/** What repeats a smaller tensor: its reader repeats it on the way, and nobody has to hold the copies. */
function isRepeated(node: Node): boolean {
  return node.op.lowering.kind === "broadcast";
}

/** Splats and the like cost nothing where they are used, and optimisers see through them. */
function isFree(node: Node): boolean {
  return node.inputs.length === 0 && node.op.lowering.kind === "elementwise";
}

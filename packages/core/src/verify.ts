// The verifier of graphs: what must hold between any two passes. It trusts nothing that a pass might have broken: types
// are inferred again, values must be defined before they are used, and a graph uses no parameters but its own.

import { FidelityError } from "@fidelity/units";
import type { ErrorDetails } from "@fidelity/units";
import type { Graph, Node, Tensor, TensorType } from "./graph.ts";
import { formatType, sameType, topologicalOrder } from "./graph.ts";

/** A graph that no correct pass makes. `node` is where it is broken, when it is one node. */
export class GraphVerifyError extends FidelityError {
  readonly node: Node | undefined;

  constructor(graph: Graph, problem: string, node?: Node, facts: ErrorDetails = {}) {
    const where = node === undefined ? graph.name : `${graph.name}, node ${node.id}: ${node.op.name}`;
    super(`invalid graph: ${problem}`, { where, ...facts, hint: "verify between passes to see which one broke it" });
    this.node = node;
  }
}

/** Whether an attribute is a graph, such as the body of a scan. */
export function isGraph(value: unknown): value is Graph {
  return typeof value === "object" && value !== null && "parameters" in value && "results" in value;
}

/** Throws `GraphVerifyError` unless `graph`, and every graph inside it, is well formed. */
export function verifyGraph(graph: Graph): void {
  const parameters = new Set<Tensor>();
  for (const parameter of graph.parameters) {
    if (parameter.node.op.name !== "parameter") {
      throw new GraphVerifyError(graph, `the parameter ${String(parameter)} is computed`, parameter.node);
    }
    if (parameters.has(parameter))
      throw new GraphVerifyError(graph, `the parameter ${String(parameter)} appears twice`);
    parameters.add(parameter);
  }
  const defined = new Set<Node>();
  for (const node of topologicalOrder(graph.results)) {
    verifyNode(graph, node, defined);
    if (node.op.name === "parameter" && !node.results.every((result) => parameters.has(result))) {
      throw new GraphVerifyError(graph, `uses ${String(node.results[0])}, a parameter of another graph`, node);
    }
    for (const value of Object.values(node.attrs)) if (isGraph(value)) verifyGraph(value);
    defined.add(node);
  }
  graph.results.forEach((result) => requireResult(graph, result));
}

function verifyNode(graph: Graph, node: Node, defined: ReadonlySet<Node>): void {
  for (const input of node.inputs) {
    requireResult(graph, input, node);
    if (!defined.has(input.node))
      throw new GraphVerifyError(graph, `${String(input)} is used before it is defined`, node);
  }
  const inferred = inferAgain(graph, node);
  const types = node.results.map((result) => result.type);
  const agrees = inferred.length === types.length && inferred.every((type, i) => sameType(type, types[i]!));
  if (!agrees) {
    throw new GraphVerifyError(graph, "the types of its results are not those of its op", node, {
      expected: inferred.map(formatType).join(", "),
      got: types.map(formatType).join(", "),
    });
  }
}

function inferAgain(graph: Graph, node: Node): readonly TensorType[] {
  try {
    return node.op.infer(
      node.inputs.map((input) => input.type),
      node.attrs,
    );
  } catch (cause) {
    const reason = cause instanceof FidelityError ? cause.summary : String(cause);
    throw new GraphVerifyError(graph, "its op refuses the inputs", node, { got: reason, cause });
  }
}

/** A tensor must be the result of its node that it says it is. */
function requireResult(graph: Graph, tensor: Tensor, user?: Node): void {
  if (tensor.node.results[tensor.index] === tensor) return;
  throw new GraphVerifyError(graph, `${String(tensor)} is no result of its node`, user ?? tensor.node);
}

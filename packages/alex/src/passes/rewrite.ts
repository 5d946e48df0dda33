// Rebuilding a graph node by node in a fresh trace: what graph-to-graph passes are made of. Because nodes are
// hash-consed, every rebuild also removes common subexpressions and drops what no result needs.

import type { Graph, Node, Substitution, Tensor } from "@fidelity/core";
import { emit, inTrace, topologicalOrder } from "@fidelity/core";
import { noteOrigin } from "./origins.ts";

/** Gives replacement results for a node whose inputs are already rewritten, or undefined to keep the op. */
export type Rewrite = (node: Node, inputs: readonly Tensor[]) => readonly Tensor[] | undefined;

/** Rewrites a graph once, inputs before users; parameters stay the same tensors. */
export function rewriteGraph(graph: Graph, rewrite: Rewrite): Graph {
  return inTrace(() => {
    const map: Substitution = new Map();
    for (const node of topologicalOrder(graph.results)) {
      if (node.op.name === "parameter") continue;
      const inputs = node.inputs.map((input) => map.get(input) ?? input);
      const results = rewrite(node, inputs) ?? emit(node.op, inputs, node.attrs);
      noteOrigin(node, inputs, results);
      node.results.forEach((result, i) => map.set(result, results[i]!));
    }
    return { ...graph, results: graph.results.map((result) => map.get(result) ?? result) };
  });
}

/** A rewrite that looks into the body graphs of loops first. */
export function deep(pass: (graph: Graph) => Graph): Rewrite {
  return (node, inputs) => {
    const { body } = node.attrs;
    if (node.op.lowering.kind !== "loop" || body === undefined) return undefined;
    return emit(node.op, inputs, { ...node.attrs, body: pass(body as Graph) });
  };
}

// expand: composite ops (softmax, rms_norm, cross_entropy, ...) become the elementwise ops and reductions that the
// fusion pass joins with their neighbours. Ops with kernels of their own keep their intent and are left alone.

import type { Graph } from "@fidelity/core";
import { topologicalOrder } from "@fidelity/core";
import { deep, rewriteGraph } from "./rewrite.ts";

/** Rewrites until nothing composite is left; an expansion may itself use composite ops. */
export function expand(graph: Graph): Graph {
  const inner = deep(expand);
  const expanded = rewriteGraph(graph, (node, inputs) => {
    const { lowering } = node.op;
    return lowering.kind === "expand" ? lowering.expand(inputs, node.attrs) : inner(node, inputs);
  });
  return hasComposite(expanded) ? expand(expanded) : expanded;
}

/** Whether an op is composite here or in the body of a loop, which an expansion may have brought. */
function hasComposite(graph: Graph): boolean {
  return topologicalOrder(graph.results).some(({ op, attrs }) => {
    return op.lowering.kind === "expand" || (op.lowering.kind === "loop" && hasComposite(attrs["body"] as Graph));
  });
}

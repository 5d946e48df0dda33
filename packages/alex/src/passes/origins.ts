// Where nodes came from: rewrites make new nodes of old ones, and whoever looks at a compiled graph wants to know which
// op of the traced one a node stands for. A side table, so that the graph itself knows nothing of its history.

import type { Node, Tensor } from "@fidelity/core";

const origins = new WeakMap<Node, Node>();

/** The node of the traced graph that a node was made for: itself, where no rewrite made it. */
export function originOf(node: Node): Node {
  return origins.get(node) ?? node;
}

/** Notes that `node` was rewritten to `results`, over `inputs`. What was there before keeps its origin. */
export function noteOrigin(node: Node, inputs: readonly Tensor[], results: readonly Tensor[]): void {
  const origin = originOf(node);
  const seen = new Set(inputs.map((input) => input.node));
  const stack = results.map((result) => result.node);
  for (let made = stack.pop(); made !== undefined; made = stack.pop()) {
    if (seen.has(made) || made === origin || origins.has(made) || made.op.lowering.kind === "source") continue;
    seen.add(made);
    origins.set(made, origin);
    stack.push(...made.inputs.map((input) => input.node));
  }
}

// The error of everything that has no derivative, with the way that led to it.

import { FidelityError } from "@fidelity/units";
import type { Node, Tensor } from "../graph.ts";
import { topologicalOrder } from "../graph.ts";

/** How many ops of a trail are shown before it is cut. */
const TRAIL_OPS_MAX = 12;

/** Something that was asked to be differentiated has no derivative. */
export class NotDifferentiableError extends FidelityError {
  /** The op without a derivative; absent where the request itself is wrong, such as the gradient of a vector. */
  readonly op: string | undefined;

  constructor(
    problem: string,
    options: { op?: string; where?: string; expected?: string; got?: string; hint?: string },
  ) {
    const { op, ...details } = options;
    super(problem, details);
    this.op = op;
  }
}

/** The ops on a shortest way from one of `roots` back to `node`: `reduce_sum <- mul <- foo`. */
export function trailTo(node: Node, roots: readonly Tensor[]): string {
  // Inputs come before users in this order, so each node's distance to `node` is known when its users are reached.
  const next = new Map<Node, { distance: number; toward: Node | undefined }>([
    [node, { distance: 0, toward: undefined }],
  ]);
  for (const user of topologicalOrder(roots)) {
    for (const input of user.inputs) {
      const way = next.get(input.node);
      const known = next.get(user);
      if (way === undefined || (known !== undefined && known.distance <= way.distance + 1)) continue;
      next.set(user, { distance: way.distance + 1, toward: input.node });
    }
  }
  const start = roots.find((root) => next.has(root.node));
  const names: string[] = [];
  for (let at: Node | undefined = start?.node; at !== undefined; at = next.get(at)?.toward) names.push(at.op.name);
  if (names.length > TRAIL_OPS_MAX) names.splice(TRAIL_OPS_MAX - 2, names.length - TRAIL_OPS_MAX + 1, "...");
  return names.length === 0 ? node.op.name : names.join(" <- ");
}

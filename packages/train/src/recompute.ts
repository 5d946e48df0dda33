// Activations computed again in the backward pass instead of being kept (Chen et al. 2016, arXiv 1604.06174), as a
// rewriting of the loss: what lies between two marks of a model's layers becomes a `checkpoint`. So models know nothing
// of it, and whatever else rewrites the loss comes first. Losses and gradients are the same but for the order in which
// some sums are taken.

import { checkpoint, substitute, topologicalOrder } from "@fidelity/core";
import type { Substitution, Tensor } from "@fidelity/core";
import { LAYER_END } from "@fidelity/models";

/** `root` with one checkpoint a layer. Call it inside a trace. */
export function recomputeLayers<T extends Tensor>(root: T): T {
  const marks = topologicalOrder([root]).flatMap(({ op, attrs, results }) =>
    op.name === "checkpoint_name" && attrs["name"] === LAYER_END ? [results[0]] : [],
  );
  const computed: Substitution = new Map();
  let before: Tensor | undefined;
  for (const mark of marks) {
    const from = before;
    if (from !== undefined) {
      const layer = (x: Tensor): Tensor => substitute([mark], new Map([...computed, [from, x]]))[0]!;
      computed.set(mark, checkpoint(layer)(computed.get(from) ?? from));
    }
    before = mark;
  }
  return substitute([root], computed)[0] as T;
}

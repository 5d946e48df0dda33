// Ternary gradients: a weight of -1, 0 or 1 without a float master. Gradients are counted in whole votes, votes wait in
// an integer a weight, and the weight moves by one level when they have come to a threshold. It is the latent-free view
// of Helwegen et al., "Latent Weights Do Not Exist" (NeurIPS 2019, arXiv 1906.02107), with a counter in place of its
// moving average: integers add exactly, so that the order in which votes come in changes no weight.

import { add, cast, le, max, min, mul, round, sub } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import type { Float, Gradient, Integers, Ternary } from "./gradient.ts";
import { materialise } from "./materialise.ts";

/** How the gradient of a ternary weight becomes votes. */
export interface Votes {
  /** The gradient that one vote stands for. */
  readonly unit: number;
  /** How many votes move a weight by one level: a positive integer. */
  readonly threshold: number;
}

/** More votes than that in one batch would be an accident. */
const MAX_VOTES = 127;

/** The gradient in whole multiples of `unit`, ties to even, at most 127 either way. */
export function castVotes(gradient: Gradient, { unit, threshold }: Votes): Ternary {
  const counted = round(mul(materialise(gradient), 1 / unit) as Float);
  const votes = cast(min(max(counted, -MAX_VOTES), MAX_VOTES) as Tensor, "i32") as Integers;
  return { kind: "ternary", type: gradient.type, votes, unit, threshold };
}

/**
 * One step of a ternary weight: `levels` holds -1, 0 and 1 (any float dtype), `waiting` the votes so far (i32 of the
 * same shape, zeros at first). A weight moves at most one level a step, against its gradient; the votes beyond the
 * threshold go on waiting, at most as many again. A weight at its last level keeps votes, but does not move.
 */
export function flipTernary(
  levels: Float,
  waiting: Integers,
  { votes, threshold }: Ternary,
): { readonly levels: Float; readonly waiting: Integers } {
  const against = sub(waiting, votes);
  const move = sub(cast(le(threshold, against), "i32"), cast(le(against, -threshold), "i32"));
  const next = min(max(add(levels, cast(move, levels.dtype)), -1), 1);
  const moved = cast(sub(next, levels), "i32");
  const left = sub(against, mul(moved, threshold));
  return { levels: next, waiting: min(max(left, -threshold), threshold) };
}

// Stretched elastic quantisation of ParetoQ (Liu et al. 2025, arXiv 2502.02631, section 3.2), for three levels: with a
// learned a and u = clip(w / a, -1, 1),
//   q = a round(1.5 u) / 1.5,   dq/dw = 1 where |w / a| < 1, else 0,
//   dq/da = round(1.5 u) / 1.5 - u + (0 inside, sign(u) outside), times 1 / sqrt(elements),
// the gradient of LSQ (Esser et al. 2020, arXiv 1902.08153). The three levels lie in the middles of equal thirds of
// [-a, a].
//
// a is 1.5 mean |w| of the first master at first, which has the levels and thresholds of `ternarize`. One a stands for
// a matrix, as packed weights have one scale; the paper has one for each row.

import { div, max, mul, splat, stopGradient, sub, add, ternarize } from "@fidelity/core";
import { invariant } from "@fidelity/units";
import { asTernary, clamp, codesOf, graft, scaleGradient } from "./estimator.ts";
import type { Estimator, Float, Master } from "./estimator.ts";

/** Keeps 1.5 u below the tie between codes 1 and 2. */
const ROUND_BOUND = 0.99;
const FACTOR_FLOOR = 1e-3;

export const stretchedElastic: Estimator = {
  name: "stretched-elastic",
  summary: "equal thirds of a learned range (ParetoQ's SEQ)",
  learnsScale: true,
  estimate(master) {
    const { weight } = master;
    const [outputs, inputs] = weight.shape as [number, number];
    const range = rangeOf(master);
    const slowed = scaleGradient(range, splat(1 / Math.sqrt(outputs * inputs), []));
    return { weight: ternarize(graft(finished(weight, range), stretched(weight, slowed))) };
  },
  finish: (master) => finished(master.weight, rangeOf(master)),
};

/** q as a function of master and range with the derivatives of LSQ, but for their factor. */
function stretched(weight: Float, range: Float): Float {
  const u = clamp(div(weight, range) as Float, 1);
  const level = mul(stretchedCodes(u), 1 / 1.5);
  return mul(range, add(u, stopGradient(sub(level, u)))) as Float;
}

function stretchedCodes(u: Float): Float {
  return codesOf(mul(clamp(u, ROUND_BOUND), 1.5) as Float);
}

function finished(weight: Float, range: Float): Float {
  return asTernary(stretchedCodes(div(weight, range) as Float), mul(range, 1 / 1.5) as Float);
}

function rangeOf({ scale, firstMagnitude }: Master): Float {
  invariant(scale !== undefined, "stretched-elastic learns a scale");
  return mul(max(scale, FACTOR_FLOOR), 1.5 * firstMagnitude) as Float;
}

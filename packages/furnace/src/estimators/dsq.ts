// Differentiable soft quantisation (Gong et al. 2019, arXiv 1908.05033, equations 5 to 9): the stairs are replaced by
// tanh curves that join the levels. With u = clip(w / s, -1, 1), levels one apart and the middle m of u's interval,
//   phi(u) = m + tanh(k (u - m)) / (2 tanh(k / 2)),   k = ln(2 / a - 1).
// The forward pass has the codes (the paper's sign of phi), the backward pass has phi'.
//
// Leaves out: learning `a`, the distance of phi from the stairs at an edge, which the paper trains by layer; here it is
// 0.2, where the paper's curves start.

import { abs, div, mul, select, lt, sub, add, tanh, ternarize } from "@fidelity/core";
import { absMean, clamp, graft } from "./estimator.ts";
import type { Estimator, Float } from "./estimator.ts";

const DISTANCE = 0.2;
const STEEPNESS = Math.log(2 / DISTANCE - 1);

export const dsq: Estimator = {
  name: "dsq",
  summary: "the gradient of tanh stairs (DSQ)",
  estimate({ weight }) {
    const scale = absMean(weight);
    return { weight: ternarize(graft(weight, mul(softStairs(clamp(div(weight, scale), 1)), scale))) };
  },
};

/** phi of `u` [any shape], which lies between -1 and 1. */
export function softStairs(u: Float): Float {
  const rise = tanh(mul(sub(abs(u), 0.5), STEEPNESS));
  const height = add(mul(rise, 0.5 / Math.tanh(STEEPNESS / 2)), 0.5);
  return select(lt(u, 0), mul(height, -1), height) as Float;
}

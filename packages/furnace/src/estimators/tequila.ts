// Tequila (Huang et al. 2025, arXiv 2509.23809): weights whose code is 0 (the dead zone D) give the product nothing and
// get gradients of noise only. They are put to work as a bias that does not depend on the input,
//   y_o = sum_i x_i q_oi + b sum over i in D of w_oi,
// whose gradient, b dL/dy_o, comes on top of the straight-through one.
//
// The paper keeps the bias in the finished model, for free, as its layers may have one. Ours have none: b falls
// linearly from the paper's 1e-3 to 0 over the run, so that nothing is missing when the model is packed.

import { abs, div, lt, mul, reduceSum, select, stopGradient, sub, ternarize } from "@fidelity/core";
import { absMean, codesOf } from "./estimator.ts";
import type { Estimator, Float } from "./estimator.ts";

/** b in the first step. */
const FIRST_SHARE = 1e-3;

export const tequila: Estimator = {
  name: "tequila",
  summary: "weights of the dead zone act as a bias that fades during the run (Tequila)",
  estimate({ weight, progress }) {
    const codes = codesOf(div(weight, absMean(weight)) as Float);
    const idle = stopGradient(select(lt(abs(codes), 0.5), 1, 0)) as Float;
    const share = mul(sub(1, progress), FIRST_SHARE);
    return { weight: ternarize(weight), bias: mul(reduceSum(mul(weight, idle), 1), share) as Float };
  },
};

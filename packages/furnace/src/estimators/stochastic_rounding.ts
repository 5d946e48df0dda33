// Stochastic rounding (Gupta et al. 2015, arXiv 1502.02551; for binary and ternary weights Courbariaux et al. 2015,
// arXiv 1511.00363): u = clip(w / s, -1, 1) becomes its upper neighbour among -1, 0, 1 as often as it is near to it,
//   q = s floor(u + r),   r uniform in [0, 1),   s = mean |w|,
// so that q is right on average inside the range. The gradient passes straight through. The finished model rounds to
// the nearest, as always.

import { add, div, floor, ternarize } from "@fidelity/core";
import { absMean, asTernary, clamp, graft } from "./estimator.ts";
import type { Estimator, Float } from "./estimator.ts";

export const stochasticRounding: Estimator = {
  name: "stochastic",
  summary: "codes drawn by distance, other ones in every step (stochastic rounding)",
  noiseCount: 1,
  estimate({ weight, noise }) {
    const scale = absMean(weight);
    const u = clamp(div(weight, scale) as Float, 1);
    // 1 + r may round up to 2.
    const codes = clamp(floor(add(u, noise[0]!)) as Float, 1);
    return { weight: ternarize(graft(asTernary(codes, scale), weight)) };
  },
};

// The clipped straight-through estimator (Hubara et al. 2016, arXiv 1602.02830, equation 4: the derivative of a hard
// tanh; the same bounds as in LSQ, Esser et al. 2020, arXiv 1902.08153): with u = w / s and s = mean |w|,
//   dL/dw = dL/dq where |u| <= 1, else 0.
// A master that lies beyond the outermost level cannot move but by weight decay.

import { div, mul, ternarize } from "@fidelity/core";
import { absMean, clamp, graft } from "./estimator.ts";
import type { Estimator } from "./estimator.ts";

export const clipped: Estimator = {
  name: "clipped",
  summary: "no gradient where |w| is above the mean magnitude",
  estimate({ weight }) {
    const scale = absMean(weight);
    return { weight: ternarize(graft(weight, mul(clamp(div(weight, scale), 1), scale))) };
  },
};

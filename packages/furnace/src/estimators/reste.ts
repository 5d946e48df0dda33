// Rectified straight-through estimator (Wu et al., ICCV 2023, arXiv 2308.06689, equations 8 to 11): the derivative of
// the power function sign(r) |r|^(1/o), which turns from the identity (o = 1) to the sign as o grows during training,
// so that the gradient is stable at first and true to the quantiser at the end. Near 0 the derivative is that of the
// chord from -m to m, and beyond |r| = t there is none.
//
// The paper quantises to two levels. Ternary codes change at two places, |w| = s / 2, and the power function stands at
// both: r = 2 |u| - 1 with u = w / s, so that the levels 0 and 1 of |u| are its -1 and 1.

import { abs, add, div, exp, log, lt, max, mul, select, sub, ternarize, traceOnce } from "@fidelity/core";
import { absMean, scaleGradient } from "./estimator.ts";
import type { Estimator, Float } from "./estimator.ts";

/** o at the end of the run. */
const LAST_ORDER = 3;
/** Half the width of the chord. */
const CHORD = 0.1;
/** Where gradients end. */
const REACH = 1.5;

export const reste: Estimator = {
  name: "reste",
  summary: "the gradient of a power function that sharpens during the run (ReSTE)",
  estimate({ weight, progress }) {
    const order = add(mul(progress, LAST_ORDER - 1), 1) as Float;
    const [slope] = slopeOf(weight, order);
    return { weight: ternarize(scaleGradient(weight, slope)) };
  },
};

const slopeOf = traceOnce("power_slope", (weight: Float, order: Float) => {
  return [powerSlope(div(weight, absMean(weight)) as Float, order)] as const;
});

/**
 * The derivative by `u` of ternary stairs whose rises are power functions of order `order` >= 1, a scalar:
 * |r|^(1/o - 1) / o with r = 2 |u| - 1, that of the chord where |r| is below m, and 0 beyond t.
 */
export function powerSlope(u: Float, order: Float): Float {
  const size = abs(sub(mul(abs(u), 2), 1)) as Float;
  const power = exp(mul(log(max(size, CHORD)), sub(div(1, order), 1)));
  const slope = mul(power, select(lt(size, CHORD), 1, div(1, order) as Float)) as Float;
  return select(lt(size, REACH), slope, 0) as Float;
}

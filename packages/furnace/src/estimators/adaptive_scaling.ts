// Adaptive gradient scaling by thresholds (the design notes of the Fidelity framework): a gradient that is smaller than
// what would take its weight over the next threshold of the quantiser is raised to that,
//   g <- sign(g) max(|g|, c d),   d = | |w| - s / 2 |,   s = mean |w|,
// with c = 1 in the notes. Smaller c raise fewer gradients. A gradient of 0 stays 0.

import { abs, lt, mul, neg, select, stopGradient, sub, ternarize } from "@fidelity/core";
import { customVjp } from "../custom_vjp.ts";
import { absMean } from "./estimator.ts";
import type { Estimator, Float } from "./estimator.ts";

/** Straight-through gradients raised to `strength` times the distance to the nearest threshold. */
export function adaptiveScaling(strength: number): Estimator {
  return {
    name: strength === 1 ? "adaptive" : `adaptive-${strength}`,
    summary: `small gradients raised to ${strength} times the distance to a threshold`,
    estimate({ weight }) {
      const distance = abs(sub(abs(weight), mul(absMean(weight), 0.5)));
      return { weight: ternarize(raised(weight, stopGradient(mul(distance, strength)) as Float)) };
    },
  };
}

const raised = customVjp(
  function adaptiveScaling(w: Float, _least: Float): Float {
    return w;
  },
  {
    forward: (w: Float, least: Float) => ({ value: w, residuals: least }),
    backward: (least: Float, cotangent) => [raise(cotangent as Float, least), undefined],
  },
);

/** `g` with magnitudes of at least `least`, but for zeros. */
function raise(g: Float, least: Float): Float {
  const signed = select(lt(g, 0), neg(least), select(lt(0, g), least, 0));
  return select(lt(abs(g), least), signed, g) as Float;
}

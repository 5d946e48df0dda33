// QuEST (Panferov et al. 2025, arXiv 2502.05003, sections 3.2 to 3.4): the grid that fits normally distributed weights
// with the least squared error, and a mask that trusts the gradient only where quantising moved the weight by less than
// half a step:
//   q = a clip(round(w / a), -1, 1),  a = 1.2240 rms(w),   dL/dw = dL/dq where |q - w| <= a / 2, else 0.
// 1.2240 is the level of the best three-level quantiser of a normal distribution (Max 1960, "Quantizing for minimum
// distortion", table I). `questHadamard` does so in the basis of a Hadamard transform of the master, w = H v, and
// dL/dv = H (mask dL/dq): what the mask stops in one place still reaches the master by its neighbours.
//
// The paper rotates the activations by the same transform, for their 4 bits. Here they have 8 and stay, so that the
// transform is gone when the model is finished, and inference does not know of it.

import { abs, div, le, max, mean, mul, select, sqrt, stopGradient, sub, ternarize } from "@fidelity/core";
import { asTernary, codesOf, graft, scaleGradient } from "./estimator.ts";
import type { Estimator, Float } from "./estimator.ts";
import { hadamardRows } from "./hadamard.ts";

/** The outer levels of Max's three-level quantiser of a standard normal deviate. */
const BEST_LEVEL = 1.224;
const LEVEL_FLOOR = 1e-5;

export const quest: Estimator = {
  name: "quest",
  summary: "the grid of least squared error, and a trust mask on the gradient (QuEST)",
  estimate: ({ weight }) => ({ weight: trusted(weight) }),
  finish: ({ weight }) => fitted(weight).matrix,
};

export const questHadamard: Estimator = {
  name: "quest-hadamard",
  summary: "the same in the basis of a Hadamard transform of the weights",
  estimate: ({ weight }) => ({ weight: trusted(hadamardRows(weight)) }),
  finish: ({ weight }) => fitted(hadamardRows(weight)).matrix,
};

function trusted(w: Float) {
  const { matrix, quantised, level } = fitted(w);
  const trust = select(le(abs(sub(quantised, w)), mul(level, 0.5)), 1, 0) as Float;
  return ternarize(graft(matrix, scaleGradient(w, trust)));
}

/** The codes on the best grid, as values and as what `ternarize` makes them of. */
function fitted(master: Float): { matrix: Float; quantised: Float; level: Float } {
  const w = stopGradient(master) as Float;
  const level = max(mul(sqrt(mean(mul(w, w))), BEST_LEVEL), LEVEL_FLOOR) as Float;
  const codes = codesOf(div(w, level) as Float);
  return { matrix: asTernary(codes, level), quantised: mul(codes, level) as Float, level };
}

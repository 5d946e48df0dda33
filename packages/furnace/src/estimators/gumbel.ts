// Gumbel-softmax over the grid (Jang, Gu, Poole 2017, arXiv 1611.01144; for grids of quantisers GSQ, Dadgarnia et al.
// 2026, arXiv 2604.18556): training computes with a random mixture of the levels g = -1, 0, 1 that becomes a choice as
// the temperature t falls,
//   q = s sum_g g p_g,   p = softmax((l + noise) / t),   l_g = -k (u - g)^2,   u = w / s,   s = mean |w|,
// with Gumbel noise -ln(-ln(uniform)), and true derivatives in w.
//
// GSQ quantises a finished model and learns the logits l of every weight by themselves. In training from nothing they
// follow from the distance of the master to the levels, so that there is one number a weight, and the noise fades over
// the run as t falls from 1 to 0.05, so that the last steps compute with the codes that are packed.

import { add, div, exp, log, max, min, mul, neg, sub } from "@fidelity/core";
import { absMean } from "./estimator.ts";
import type { Estimator, Float } from "./estimator.ts";

const SHARPNESS = 8;
const LAST_TEMPERATURE = 0.05;
const LEVELS = [-1, 0, 1] as const;
/** Keeps the logarithms of a uniform number finite. */
const UNIFORM_FLOOR = 1e-6;

export const gumbel: Estimator = {
  name: "gumbel",
  summary: "a random mixture of the levels that becomes a choice (Gumbel-softmax)",
  noiseCount: LEVELS.length,
  estimate({ weight, progress, noise }) {
    const scale = absMean(weight);
    const temperature = exp(mul(progress, Math.log(LAST_TEMPERATURE))) as Float;
    const strength = sub(1, progress) as Float;
    const gumbels = noise.map((uniform) => mul(gumbelOf(uniform), strength) as Float);
    return { weight: mul(mixture(div(weight, scale) as Float, gumbels, temperature), scale) as Float };
  },
};

/** sum_g g p_g for `u` and one tensor of noise for each level. */
export function mixture(u: Float, noise: readonly Float[], temperature: Float): Float {
  const logits = LEVELS.map((level, i) => {
    const distance = sub(u, level);
    return div(sub(noise[i]!, mul(mul(distance, distance), SHARPNESS)), temperature) as Float;
  });
  const largest = logits.reduce((a, b) => max(a, b) as Float);
  const weights = logits.map((logit) => exp(sub(logit, largest)) as Float);
  const total = weights.reduce((a, b) => add(a, b) as Float);
  return div(sub(weights[2]!, weights[0]!), total) as Float;
}

function gumbelOf(uniform: Float): Float {
  return neg(log(neg(log(min(max(uniform, UNIFORM_FLOOR), 1 - UNIFORM_FLOOR))))) as Float;
}

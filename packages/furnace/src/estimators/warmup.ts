// Quantisation that sets in while training goes on: the step computes with (1 - l) w + l q(w), the gradient passes
// straight through, and l rises from 0 to 1 over the first half of the run ("Fine-tuning LLMs to 1.58bit", Hugging Face
// 2024, which compares these schedules). t is the share of that half that is done:
//   linear       l = t
//   exponential  l = (exp(5 t) - 1) / (exp(5) - 1)
//   sigmoid      l = 1 / (1 + exp(-20 (t - 1/2)))
//   discrete     l = floor(4 t) / 4
//   layerwise    l = 1 where t is past the depth of the matrix, else 0: one part of the model after the other
// Activations have 8 bits from the start.

import { add, dequantize, div, exp, floor, le, lt, min, mul, select, sub, ternarize } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import { graft } from "./estimator.ts";
import type { Estimator, Float } from "./estimator.ts";

/** The share of the run at whose end weights are ternary. */
const WARM_SHARE = 0.5;
const EXPONENT = 5;
const STEEPNESS = 20;

/** l from t, a scalar from 0 to below 1, and the depth of the matrix, from 0 to 1. */
type MixSchedule = (t: Float, depth: number) => Float;

const schedules = {
  linear: (t) => t,
  exponential: (t) => mul(sub(exp(mul(t, EXPONENT)), 1), 1 / (Math.exp(EXPONENT) - 1)) as Float,
  sigmoid: (t) => div(1, add(exp(mul(sub(t, 0.5), -STEEPNESS)), 1)) as Float,
  discrete: (t) => mul(floor(mul(t, 4)), 0.25) as Float,
  layerwise: (t, depth) => select(lt(t, depth), 0, 1) as Float,
} satisfies Record<string, MixSchedule>;

export type WarmupName = keyof typeof schedules;

/** Training that mixes master and codes by a schedule. */
export function warmup(name: WarmupName): Estimator {
  const schedule: MixSchedule = schedules[name];
  return {
    name: `warmup-${name}`,
    summary: `from the master to its codes in the first half of the run, ${name}`,
    estimate({ weight, progress, depth }) {
      const t = min(mul(progress, 1 / WARM_SHARE), 1) as Float;
      const share = select(le(1, t), 1, schedule(t, depth)) as Float;
      const codes = dequantize(ternarize(weight) as Tensor<Shape, "ternary">) as Float;
      return { weight: graft(add(mul(weight, sub(1, share)), mul(codes, share)) as Float, weight) };
    },
  };
}

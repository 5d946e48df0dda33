// What gradient estimators for ternary weights have in common. The codes of a ternary weight are piecewise constant in
// the float32 master that training updates, so that its derivative is zero or nothing, and each method puts another
// gradient in its place. Most also say how the master becomes codes, and some train with a weight that is not ternary
// yet. Whatever they do on the way, what is left at the end is a matrix for `ternarize`: models are packed as always.

import { abs, div, max, mean, min, mul, round, stopGradient, traceOnce } from "@fidelity/core";
import type { Tensor, TernaryDtype } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import { customVjp } from "../custom_vjp.ts";

export type Float = Tensor<Shape, "f32">;

/** The master of a weight and what is learned beside it. */
export interface Master {
  /** [outputs, inputs]. */
  readonly weight: Float;
  /** A learned factor of the scale, a scalar that is 1 at first; there for estimators with `learnsScale`. */
  readonly scale: Float | undefined;
  /** The mean magnitude of the first values of the master. */
  readonly firstMagnitude: number;
}

/** What an estimator may read in a training step. */
export interface TrainedMaster extends Master {
  /** The share of the run that is done, a scalar: 0 in the first step, below 1 in the last. */
  readonly progress: Float;
  /** `noiseCount` matrices like the weight of uniform numbers from 0 (included) to 1, other ones in every step. */
  readonly noise: readonly Float[];
  /** Where the matrix stands among those of the model: 0 for the first, 1 for the last. */
  readonly depth: number;
}

/** The weight that a training step computes with. */
export interface EstimatedWeight {
  /** Ternary, or float32 where the method trains with a weight between the master and its codes; [outputs, inputs]. */
  readonly weight: Tensor<Shape, TernaryDtype> | Float;
  /** Added to the product, [outputs]. */
  readonly bias?: Float;
}

/** A way to train ternary weights. */
export interface Estimator {
  readonly name: string;
  /** One line, for lists. */
  readonly summary: string;
  readonly learnsScale?: true;
  /** How many random matrices a step needs; none unless said. */
  readonly noiseCount?: number;
  /** The weight of a training step, with the gradients that are to reach the master. */
  estimate(master: TrainedMaster): EstimatedWeight;
  /** The matrix whose `ternarize` is the weight of the finished model; the master itself where absent. */
  finish?(master: Master): Float;
}

/** The value of `value` with the derivative of `surrogate`, two tensors of one shape. */
export function graft(value: Float, surrogate: Float): Float {
  return grafted(stopGradient(value), surrogate);
}

const grafted = customVjp(
  function graft(value: Float, _surrogate: Float): Float {
    return value;
  },
  {
    forward: (value: Float) => ({ value, residuals: [] as const }),
    backward: (_residuals: readonly [], cotangent) => [undefined, cotangent],
    jvp: (_primals, [, tangent]) => tangent,
  },
);

/** `x`, with gradients multiplied by `factor`, which has the shape of `x` and is no function of it. */
export function scaleGradient(x: Float, factor: Float): Float {
  return scaledOnce(x, stopGradient(factor) as Float)[0];
}

const scaled = customVjp(
  function scaleGradient(x: Float, _factor: Float): Float {
    return x;
  },
  {
    forward: (x: Float, factor: Float) => ({ value: x, residuals: factor }),
    backward: (factor: Float, cotangent) => [mul(cotangent as Float, factor), undefined],
    jvp: ([, factor], [tangent]) => mul(tangent as Float, factor),
  },
);

const scaledOnce = traceOnce("scale_gradient", (x: Float, factor: Float) => [scaled(x, factor)] as const);

/** The least scale, as that of `ternarize`. */
const SCALE_FLOOR = 1e-5;

/** The scale that `ternarize` takes, a scalar and no function of `w`: max(mean |w|, 1e-5). */
export function absMean(w: Float): Float {
  return stopGradient(max(mean(abs(w)), SCALE_FLOOR)) as Float;
}

/** -1, 0 or 1: the integer nearest to `u`, at most 1 in magnitude. */
export function codesOf(u: Float): Float {
  return clamp(round(u), 1);
}

/** `x` between -bound and bound. */
export function clamp(x: Float, bound: number): Float {
  return max(min(x, bound), -bound) as Float;
}

/**
 * The matrix whose `ternarize` has these codes [n, k] (-1, 0 and 1) and this scale, a scalar: c s / p with p the share
 * of codes that are not 0. Its mean magnitude is s, and all that is not 0 is s or more. The scale keeps but for
 * rounding.
 */
export function asTernary(codes: Float, scale: Float): Float {
  const share = max(mean(abs(codes)), SHARE_FLOOR);
  return mul(codes, div(scale, share)) as Float;
}

/** Codes that are all 0 stay 0. */
const SHARE_FLOOR = 1e-9;

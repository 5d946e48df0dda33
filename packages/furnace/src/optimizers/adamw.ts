// AdamW: Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101, algorithm 2):
//   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
//   p = p - rate (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon) + decay p).
// The step number t and the rate are inputs of the program, so that one program serves all steps.

import { add, cast, div, exp, lt, mul, select, sqrt, sub, traceOnce } from "@fidelity/core";
import type { FloatDtype, Tensor } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { Float } from "../gradients/gradient.ts";
import { leafwise } from "./optimizer.ts";
import type { LeafStep, Optimizer, StepInputs } from "./optimizer.ts";
import type { RowsMode } from "./variants.ts";

export interface AdamWOptions {
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  readonly weightDecay?: number;
  /** Which parameters decay, by path and shape. By default those of rank 2 and more: gains and biases do not. */
  readonly decayMask?: (path: string, shape: readonly number[]) => boolean;
  /**
   * What a sparse gradient does to rows that it does not name: "exact" (the default) updates them as a gradient of zero
   * does; "lazy" leaves them, their moments and their decay alone until they are named, for less work.
   */
  readonly rows?: RowsMode;
}

/** AdamW with betas 0.9 and 0.999, epsilon 1e-8 and decay 0.01 unless told otherwise. State: `first`, `second`. */
export function adamW(options: AdamWOptions = {}): Optimizer {
  return leafwise("adamW", ["first", "second"], adamWStep(options), { elementwise: true, rows: options.rows });
}

/** The step itself, which other optimisers take on what they do not treat themselves. */
export function adamWStep(options: AdamWOptions): (inputs: StepInputs) => LeafStep {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0.01 } = options;
  const decays = options.decayMask ?? ((_path, shape) => shape.length >= 2);
  const update = (isDecaying: boolean) =>
    traceOnce("adamW", (value: Float, grad: Float, m: Float, v: Float, ...scalars: readonly Float[]) => {
      const [scale, correction, decay] = scalars as readonly [Float, Float, Float];
      const first = add(mul(m, beta1), mul(grad, 1 - beta1));
      const second = add(mul(v, beta2), mul(mul(grad, grad), 1 - beta2));
      const change = mul(scale, div(first, add(sqrt(div(second, correction)), epsilon)));
      const kept = isDecaying ? sub(value, mul(decay, value)) : value;
      return [sub(kept, change), first, second] as const;
    });
  const [keep, shrink] = [update(false), update(true)];
  return ({ learningRate, step }) => {
    // One set per program and dtype, outside of the loops that update blocks of rows.
    const scalars = new Map<FloatDtype, readonly Float[]>();
    const scalarsOf = (dtype: FloatDtype): readonly Float[] => {
      const time = cast(step, dtype);
      const rate = cast(learningRate, dtype);
      return [div(rate, oneMinusPower(beta1, time)), oneMinusPower(beta2, time), mul(rate, weightDecay)] as Float[];
    };
    return ({ path, shape, value, grad, moments: [first, second] }) => {
      const { dtype } = value;
      if (!scalars.has(dtype)) scalars.set(dtype, scalarsOf(dtype));
      const next = decays(path, shape) && weightDecay !== 0 ? shrink : keep;
      return next(value, grad, first!, second!, ...scalars.get(dtype)!);
    };
  };
}

/**
 * 1 - base^t for a scalar t >= 1. In float32 the difference of 1 and 0.999 keeps four digits only, so that small
 * exponents go through the series of -expm1(z) = -z (1 + z/2 (1 + z/3 (...))).
 */
export function oneMinusPower(base: number, time: Tensor<Shape, FloatDtype>): Tensor<Shape, FloatDtype> {
  const z = mul(time, Math.log(base));
  let series = add(mul(z, 1 / 8), 1);
  for (let i = 7; i >= 2; i--) series = add(mul(mul(z, 1 / i), series), 1);
  return select(lt(z, -0.25), sub(1, exp(z)), mul(mul(z, -1), series)) as Tensor<Shape, FloatDtype>;
}

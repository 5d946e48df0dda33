// Schedule-free AdamW (Defazio et al. 2024, "The road less scheduled", arXiv 2405.15682, algorithm 1): the average of
// the iterates takes the place of a falling rate, so that a run may end whenever one likes.
//   y = (1 - b1) z + b1 x  is where gradients are taken, and what the parameters are
//   z = z - rate (g / (sqrt(v / (1 - b2^t)) + epsilon) + decay y),  x = (1 - c) x + c z,  c = rate^2 / sum of rate^2
// x is what is evaluated: `averaged` of the optimiser makes it of parameters and state.

import { add, cast, div, flattenTree, isTensor, lt, mul, select, sqrt, square, sub } from "@fidelity/core";
import { broadcastTo, splat } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import type { Float } from "../gradients/gradient.ts";
import { withLeaves } from "../tangent.ts";
import { oneMinusPower } from "./adamw.ts";
import { leafwise } from "./optimizer.ts";
import type { LeafStep, MomentType, Optimizer, OptimizerState, StepInputs } from "./optimizer.ts";

export interface ScheduleFreeOptions {
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  readonly weightDecay?: number;
  readonly decayMask?: (path: string, shape: readonly number[]) => boolean;
}

const scalarOf: MomentType = ({ dtype }) => ({ dtype, shape: [] });

/**
 * Schedule-free AdamW with betas 0.9 and 0.999, epsilon 1e-8 and decay 0.01 unless told otherwise. The rate is warmed
 * up and then constant. State: `iterate`, `second`, and the sum of squared rates, `weight`.
 */
export function scheduleFree(options: ScheduleFreeOptions = {}): Optimizer {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0.01 } = options;
  const decays = options.decayMask ?? ((_path, shape) => shape.length >= 2);
  const start =
    ({ learningRate, step }: StepInputs): LeafStep =>
    ({ path, shape, value, grad, moments: [iterate, oldSecond, oldWeight] }) => {
      const [time, rate] = [cast(step, value.dtype) as Float, cast(learningRate, value.dtype) as Float];
      // State starts as zeros, and the iterate as the parameters.
      const isFirst = broadcastTo(lt(time, 1.5) as Tensor, value.shape) as Tensor;
      const z = select(isFirst as never, value, iterate!) as Float;
      const x = div(sub(value, mul(z, 1 - beta1)), beta1) as Float;
      const second = add(mul(oldSecond!, beta2), mul(square(grad), 1 - beta2)) as Float;
      const spread = add(sqrt(div(second, oneMinusPower(beta2, time)) as Float), epsilon);
      const unit = div(grad, spread) as Float;
      const change = decays(path, shape) && weightDecay !== 0 ? add(unit, mul(value, weightDecay)) : unit;
      const nextZ = sub(z, mul(rate, change)) as Float;
      const weight = add(oldWeight!, square(rate)) as Float;
      // A rate of 0, as in the first step of some warm-ups, gives no weight at all.
      const share = div(square(rate), add(weight, splat(1e-30, [], value.dtype))) as Float;
      const nextX = add(x, mul(share, sub(nextZ, x))) as Float;
      return [add(mul(nextZ, 1 - beta1), mul(nextX, beta1)), nextZ, second, weight];
    };
  return {
    ...leafwise("scheduleFree", ["iterate", "second", { name: "weight", type: scalarOf }], start),
    averaged: (params, state) => averagedWeights(params, state, beta1),
  };
}

/** x from y and z; y where there was no step yet, and z is zeros. */
function averagedWeights<P>(params: P, state: OptimizerState<P>, beta1: number): P {
  const moment = (name: string): Float[] => flattenTree(state[name], isTensor).map(({ leaf }) => leaf as Float);
  const [iterates, weights] = [moment("iterate"), moment("weight")];
  const leaves = flattenTree(params, isTensor).map(({ leaf }, i) => {
    const average = div(sub(leaf as Float, mul(iterates[i]!, 1 - beta1)), beta1) as Float;
    const hasSteps = broadcastTo(lt(0, weights[i]!) as Tensor, leaf.shape) as Tensor;
    return select(hasSteps as never, average, leaf as Float);
  });
  return withLeaves(params, leaves);
}

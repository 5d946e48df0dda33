// Lion (Chen et al. 2023, "Symbolic discovery of optimization algorithms", arXiv 2302.06675, algorithm 2): steps of one
// size in every element, by the sign of an interpolated momentum; half of AdamW's state.
//   p = p - rate (sign(b1 m + (1 - b1) g) + decay p),  m = b2 m + (1 - b2) g

import { add, cast, lt, mul, select, splat, sub } from "@fidelity/core";
import type { Float } from "../gradients/gradient.ts";
import { leafwise } from "./optimizer.ts";
import type { LeafStep, Optimizer, StepInputs } from "./optimizer.ts";
import type { RowsMode } from "./variants.ts";

export interface LionOptions {
  readonly beta1?: number;
  readonly beta2?: number;
  readonly weightDecay?: number;
  /** Which parameters decay, by path and shape. By default those of rank 2 and more. */
  readonly decayMask?: (path: string, shape: readonly number[]) => boolean;
  /** What a sparse gradient does to rows that it does not name; see `adamW`. */
  readonly rows?: RowsMode;
}

/**
 * Lion with betas 0.9 and 0.99 and decay 0.1 unless told otherwise. Its rates are 3 to 10 times smaller than AdamW's,
 * and its decay as much larger. State: `momentum`.
 */
export function lion(options: LionOptions = {}): Optimizer {
  const { beta1 = 0.9, beta2 = 0.99, weightDecay = 0.1 } = options;
  const decays = options.decayMask ?? ((_path, shape) => shape.length >= 2);
  const start =
    ({ learningRate }: StepInputs): LeafStep =>
    ({ path, shape, value, grad, moments: [momentum] }) => {
      const rate = cast(learningRate, value.dtype);
      const direction = signOf(add(mul(momentum!, beta1), mul(grad, 1 - beta1)));
      const kept = decays(path, shape) && weightDecay !== 0 ? add(direction, mul(value, weightDecay)) : direction;
      return [sub(value, mul(rate, kept)), add(mul(momentum!, beta2), mul(grad, 1 - beta2))];
    };
  return leafwise("lion", ["momentum"], start, { elementwise: true, rows: options.rows });
}

/** 1, 0 or -1. */
function signOf(x: Float): Float {
  const one = splat(1, x.shape, x.dtype);
  const positive = select(lt(0, x), one, 0);
  return sub(positive, select(lt(x, 0), one, 0)) as Float;
}

// Adafactor (Shazeer and Stern 2018, arXiv 1804.04235, algorithm 4, with rates from outside and no momentum): second
// moments of a matrix as the product of a column and a row, so that the state is m + n numbers for m x n parameters.
//   R = b R + (1 - b) mean over columns of (g^2 + e1),  C likewise over rows,  V = R C / mean(R),  b = 1 - t^-0.8
//   u = g / sqrt(V), scaled down to root mean square 1;  p = p - rate (u + decay p)

import { add, cast, div, exp, log, matmul, max, mean, mul, neg, rsqrt, sqrt, square, sub } from "@fidelity/core";
import type { TensorType } from "@fidelity/core";
import type { Float } from "../gradients/gradient.ts";
import { leafwise } from "./optimizer.ts";
import type { LeafStep, MomentType, Optimizer, StepInputs } from "./optimizer.ts";

export interface AdafactorOptions {
  readonly weightDecay?: number;
  readonly decayMask?: (path: string, shape: readonly number[]) => boolean;
  /** The root mean square that a step is scaled down to; 1 by default. */
  readonly clipThreshold?: number;
}

/** Keeps squares above zero. */
const SQUARE_FLOOR = 1e-30;
const DECAY_POWER = 0.8;

const rowsOf: MomentType = (type) => (isMatrix(type) ? { ...type, shape: [type.shape[0]!, 1] } : scalarLike(type));
const columnsOf: MomentType = (type) => (isMatrix(type) ? { ...type, shape: [1, type.shape[1]!] } : scalarLike(type));
const wholeOf: MomentType = (type) => (isMatrix(type) ? scalarLike(type) : type);
const isMatrix = ({ shape }: TensorType): boolean => shape.length === 2;
const scalarLike = ({ dtype }: TensorType): TensorType => ({ dtype, shape: [] });

/** Adafactor without decay unless told otherwise. State: `row` and `column` of matrices, `second` of all others. */
export function adafactor(options: AdafactorOptions = {}): Optimizer {
  const { weightDecay = 0, clipThreshold = 1 } = options;
  const decays = options.decayMask ?? ((_path, shape) => shape.length >= 2);
  const moments = [
    { name: "row", type: rowsOf },
    { name: "column", type: columnsOf },
    { name: "second", type: wholeOf },
  ];
  const start =
    ({ learningRate, step }: StepInputs): LeafStep =>
    ({ path, shape, value, grad, moments: [row, column, second] }) => {
      const rate = cast(learningRate, value.dtype);
      // The weight of the newest square, t^-0.8: all of it at the first step.
      const newest = exp(mul(log(cast(step, value.dtype)), -DECAY_POWER)) as Float;
      const mixed = (old: Float, fresh: Float): Float => add(old, mul(newest, sub(fresh, old))) as Float;
      const squares = add(square(grad), SQUARE_FLOOR) as Float;
      const [rows, columns, whole] =
        shape.length === 2
          ? [mixed(row!, mean(squares, [1], true) as Float), mixed(column!, mean(squares, [0], true) as Float), second!]
          : [row!, column!, mixed(second!, squares)];
      const spread = shape.length === 2 ? div(matmul(rows, columns) as Float, mean(rows)) : whole;
      const unit = mul(grad, rsqrt(spread as Float)) as Float;
      const size = sqrt(mean(square(unit)) as Float);
      const change = div(unit, max(div(size, clipThreshold), 1)) as Float;
      const kept = decays(path, shape) && weightDecay !== 0 ? add(change, mul(value, weightDecay)) : change;
      return [add(value, neg(mul(rate, kept) as Float)), rows, columns, whole];
    };
  return leafwise("adafactor", moments, start);
}

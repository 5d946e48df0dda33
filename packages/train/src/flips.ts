// How many codes of each ternary matrix a step changes. The codes are those of the model that would be packed, before
// the step and after it, so that the numbers mean the same for every estimator. The step's program computes them.

import { abs, concat, div, max, mean, min, reduceSum, reshape, round, sub, traceOnce } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import { masterOf } from "./weight-estimation.ts";
import type { Estimation } from "./weight-estimation.ts";

type Float = Tensor<Shape, "f32">;

/** The least scale of `ternarize`. */
const SCALE_FLOOR = 1e-5;

/**
 * Codes that differ between two sets of parameters, given as their leaves: f32 [matrices], exact up to 2^24 each;
 * undefined for a model without ternary weights.
 */
export function countFlips(
  estimation: Estimation,
  before: readonly Tensor[],
  after: readonly Tensor[],
): Float | undefined {
  const counts = estimation.matrices.map((_matrix, i) => {
    return changedCodes(matrixOf(estimation, after, i), matrixOf(estimation, before, i))[0];
  });
  return counts.length === 0 ? undefined : (concat(counts, 0) as Float);
}

/** The matrix whose codes are counted. */
function matrixOf(estimation: Estimation, leaves: readonly Tensor[], index: number): Float {
  const master = masterOf(estimation, leaves, index);
  return estimation.estimator.finish?.(master) ?? master.weight;
}

const changedCodes = traceOnce("changed_codes", (after: Float, before: Float) => {
  const change = abs(sub(codes(after), codes(before)));
  return [reshape(reduceSum(min(change, 1)), [1])] as const;
});

function codes(matrix: Float): Float {
  const scale = max(mean(abs(matrix)), SCALE_FLOOR);
  return max(min(round(div(matrix, scale)), 1), -1) as Float;
}

/** Flips of a step by layer, the first number in the path of a matrix, as shares of the layer's weights. */
export function flipShares({ matrices }: Estimation, flips: ArrayLike<number>): number[] {
  const layers = new Map<number, { flips: number; weights: number }>();
  matrices.forEach(({ path, outputs, inputs }, i) => {
    const layer = Number(/\d+/.exec(path)?.[0] ?? 0);
    const sum = layers.get(layer) ?? { flips: 0, weights: 0 };
    layers.set(layer, { flips: sum.flips + flips[i], weights: sum.weights + outputs * inputs });
  });
  return [...layers.values()].map((sum) => sum.flips / sum.weights);
}

// Gradient clipping by the norm of all gradients together (Pascanu, Mikolov, Bengio, ICML 2013, arXiv 1211.5063).

import { add, cast, div, flattenTree, isTensor, min, mul, reduceSum, sqrt, TreeMismatchError } from "@fidelity/core";
import type { FloatDtype, Tensor } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import { withLeaves } from "../tangent.ts";

/** Keeps the division finite when all gradients are zero; the value that PyTorch uses. */
const NORM_FLOOR = 1e-6;

/**
 * The gradients, scaled down if their norm (the root of the sum of squares over the whole tree) is above `max`, and
 * that norm before clipping, a scalar.
 */
export function clipByGlobalNorm<G>(grads: G, max: number): { grads: G; norm: Tensor<readonly [], FloatDtype> } {
  const leaves = flattenTree(grads, isTensor).map(({ leaf }) => leaf as Tensor<Shape, FloatDtype>);
  const [first, ...rest] = leaves;
  if (first === undefined) throw new TreeMismatchError("clipByGlobalNorm: the tree of gradients has no leaf");
  const squares = (leaf: Tensor<Shape, FloatDtype>): Tensor<Shape, FloatDtype> => {
    return cast(reduceSum(mul(leaf, leaf)), first.dtype);
  };
  const norm = sqrt(rest.reduce((sum, leaf) => add(sum, squares(leaf)), squares(first)));
  const scale = min(div(max, add(norm, NORM_FLOOR)), 1);
  const clipped = leaves.map((leaf) => mul(leaf, cast(scale, leaf.dtype)));
  return { grads: withLeaves(grads, clipped), norm: norm as Tensor<readonly [], FloatDtype> };
}

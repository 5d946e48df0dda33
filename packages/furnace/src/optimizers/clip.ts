// Gradient clipping by the norm of all gradients together (Pascanu, Mikolov, Bengio, ICML 2013, arXiv 1211.5063).

import { add, cast, div, mapTree, min, mul, sqrt, TreeMismatchError } from "@fidelity/core";
import type { FloatDtype, Tensor } from "@fidelity/core";
import { scaleGradient, squaredNorm } from "../gradients/arithmetic.ts";
import type { Float, Gradient } from "../gradients/gradient.ts";
import { dense, isGradient } from "../gradients/gradient.ts";
import { gradientLeaves, isGradientLeaf } from "../gradients/gradients.ts";
import { mergeRows } from "../gradients/materialise.ts";

/** Keeps the division finite when all gradients are zero; the value that PyTorch uses. */
const NORM_FLOOR = 1e-6;

/**
 * The gradients, scaled down if their norm (the root of the sum of squares over the whole tree) is above `max`, and
 * that norm before clipping, a scalar. Gradients that are variants stay what they are; equal rows of sparse ones are
 * merged.
 */
export function clipByGlobalNorm<G>(grads: G, max: number): { grads: G; norm: Tensor<readonly [], FloatDtype> } {
  const leaves = gradientLeaves(grads).map(({ leaf }) => (isGradient(leaf) ? merged(leaf) : leaf));
  const [first] = leaves;
  if (first === undefined) throw new TreeMismatchError("clipByGlobalNorm: the tree of gradients has no leaf");
  const dtype = first.type.dtype as FloatDtype;
  const squares = leaves.map((leaf) => cast(squaredNorm(isGradient(leaf) ? leaf : dense(leaf)), dtype));
  const norm = sqrt(squares.reduce((sum, each) => add(sum, each)));
  const scale = min(div(max, add(norm, NORM_FLOOR)), 1) as Tensor<readonly [], FloatDtype>;
  let next = 0;
  const clipped = mapTree(grads, isGradientLeaf, () => {
    const leaf = leaves[next++]!;
    return isGradient(leaf) ? scaleGradient(leaf, scale) : mul(leaf as Float, cast(scale, leaf.dtype as FloatDtype));
  });
  return { grads: clipped as G, norm: norm as Tensor<readonly [], FloatDtype> };
}

function merged(gradient: Gradient): Gradient {
  return gradient.kind === "sparse" ? mergeRows(gradient) : gradient;
}

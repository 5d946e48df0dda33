// Gradients of a batch that does not fit: a loop over parts of it adds them up, inside of one program, so that memory
// is that of one part.

import {
  add,
  flattenTree,
  isTensor,
  mapTree,
  mean,
  mul,
  reshape,
  scan,
  ShapeMismatchError,
  zerosLike,
} from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import type { Float } from "../gradients/gradient.ts";
import { withLeaves } from "../tangent.ts";
import { valueAndGrad } from "../vjp.ts";

/**
 * The function that gives the mean over `parts` parts of a batch of the scalar `fn(params, ...data)`, and its gradient
 * by the parameters. All tensors of `data` are cut along their first axis. For a loss that is a mean over examples
 * this is the loss of the whole batch. Throws `ShapeMismatchError` where an axis cannot be cut into so many parts.
 */
export function accumulateGrad<P, D extends readonly unknown[], V extends Tensor>(
  fn: (params: P, ...data: D) => V,
  parts: number,
): (params: P, ...data: D) => { readonly value: V; readonly grad: P } {
  return (params, ...data) => {
    const cut = (leaf: Tensor, path: string): Tensor => {
      const [size = 0, ...rest] = leaf.shape;
      if (leaf.rank > 0 && Number.isInteger(parts) && parts > 0 && size % parts === 0) {
        return reshape(leaf, [parts, size / parts, ...rest]);
      }
      const problem = `cannot cut ${path} into ${parts} parts`;
      throw new ShapeMismatchError("accumulateGrad", problem, [leaf.type], "choose a divisor of the batch size");
    };
    const stacked = mapTree(data, isTensor, cut) as unknown;
    const leaves = flattenTree(params, isTensor).map(({ leaf }) => leaf as Float);
    const start = leaves.map((leaf) => zerosLike(leaf) as Float);
    const body = (sums: readonly Float[], part: unknown) => {
      const { value, grad } = valueAndGrad(fn)(params, ...(part as D));
      const slopes = flattenTree(grad, isTensor).map(({ leaf }) => leaf as Float);
      return { carry: sums.map((sum, i) => add(sum, slopes[i]!) as Float), y: value as Tensor };
    };
    const { carry, ys } = scan(body as never, start as never, stacked as never) as unknown as {
      readonly carry: readonly Float[];
      readonly ys: Float;
    };
    return {
      value: mean(ys) as Tensor as V,
      grad: withLeaves(
        params,
        carry.map((sum) => mul(sum, 1 / parts)),
      ),
    };
  };
}

// mean: a sum over a count.

import type { Tensor } from "../graph.ts";
import { elementCount } from "../storage.ts";
import { mul } from "./mul.ts";
import type { ReduceFunction } from "./reduce.ts";
import { reduceSum } from "./reduce_sum.ts";

/** The mean of `x` along `axes` (all of them by default), which stay with size 1 when `keepDims` is set. */
export const mean = ((x: Tensor, axes?: number | readonly number[], keepDims?: boolean): Tensor => {
  const sum = reduceSum(x, axes, keepDims);
  return mul(sum, elementCount(sum.shape) / elementCount(x.shape));
}) as ReduceFunction;

// softmax: numbers along the last axis as probabilities. The largest is subtracted first, so that nothing overflows;
// that leaves the result, and so its derivative, as it is.

import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import { composite } from "./composite.ts";
import { div } from "./div.ts";
import { unary } from "./elementwise.ts";
import { exp } from "./exp.ts";
import { mul } from "./mul.ts";
import { reduceMaxOp } from "./reduce_max.ts";
import { reduceSum } from "./reduce_sum.ts";
import { stopGradient } from "./stop_gradient.ts";
import { sub } from "./sub.ts";

export const softmaxOp = composite({
  name: "softmax",
  summary: "y[..., i] = e^x[..., i] / sum over j of e^x[..., j]",
  row: softmaxRow,
  expand(x) {
    const power = exp(shifted(x));
    return mul(power, div(1, reduceSum(power, -1, true)));
  },
});

/** `x` less its largest number along the last axis. */
export function shifted(x: Tensor): Tensor {
  return sub(x, stopGradient(emitOne(reduceMaxOp, [x], { axes: [x.rank - 1], skipsNaN: true })));
}

function softmaxRow(x: Float64Array, y: Float64Array): void {
  const largest = x.reduce((a, b) => Math.max(a, b), -Infinity);
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += y[i] = Math.exp(x[i]! - largest);
  for (let i = 0; i < x.length; i++) y[i]! /= sum;
}

/** Probabilities along the last axis, proportional to e^x. */
export const softmax = unary(softmaxOp);

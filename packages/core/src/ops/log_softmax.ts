// log_softmax: the logarithm of softmax, without computing probabilities that round to 0.

import { composite } from "./composite.ts";
import { unary } from "./elementwise.ts";
import { exp } from "./exp.ts";
import { log } from "./log.ts";
import { reduceSum } from "./reduce_sum.ts";
import { shifted } from "./softmax.ts";
import { sub } from "./sub.ts";

export const logSoftmaxOp = composite({
  name: "log_softmax",
  summary: "y[..., i] = x[..., i] - ln(sum over j of e^x[..., j])",
  row: logSoftmaxRow,
  expand(x) {
    const z = shifted(x);
    return sub(z, log(reduceSum(exp(z), -1, true)));
  },
});

/** The reference of one row. */
export function logSoftmaxRow(x: Float64Array, y: Float64Array): void {
  const largest = x.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = largest + Math.log(x.reduce((sum, value) => sum + Math.exp(value - largest), 0));
  for (let i = 0; i < x.length; i++) y[i] = x[i]! - total;
}

/** The logarithm of the softmax along the last axis. */
export const logSoftmax = unary(logSoftmaxOp);

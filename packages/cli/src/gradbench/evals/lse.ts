// lse: the logarithm of a sum of exponentials, shifted by the largest exponent, and its gradient. The shift changes
// nothing but the rounding, so that its derivative is zero and need not be computed.

import { add, exp, log, reduceMax, reduceSum, reshape, stopGradient, sub } from "@fidelity/core";
import { grad } from "@fidelity/furnace";
import { numbers, oneNumber } from "../evaluation.ts";
import type { Evaluation } from "../evaluation.ts";
import { InputReader } from "../input.ts";
import { f64 } from "../programs.ts";
import type { F64, Scalar64 } from "../programs.ts";

/** Of each row of x [rows, columns]. */
export function logSumExpRows(x: F64): F64 {
  const largest = stopGradient(reduceMax(x, 1, true) as F64);
  const sum = add(largest, log(reduceSum(exp(sub(x, largest) as F64), 1, true) as F64)) as F64;
  return reshape(sum, [x.shape[0]!]) as F64;
}

/** Of x [n]. */
export function logSumExp(x: F64): Scalar64 {
  return reshape(logSumExpRows(reshape(x, [1, x.shape[0]!]) as F64), []);
}

const vectorOf = (input: unknown): Float64Array => new InputReader(input).vector("x");

export const lse: Evaluation = {
  primal(input) {
    const x = vectorOf(input);
    return { types: [f64(x.length)], values: [x], fn: logSumExp, answer: oneNumber };
  },
  gradient(input) {
    const x = vectorOf(input);
    return { types: [f64(x.length)], values: [x], fn: grad(logSumExp), answer: numbers };
  },
};

// sigmoid: the logistic function.

import { sigmoidOf } from "../loop/math.ts";
import { elementwise, unary } from "./elementwise.ts";
import { mul } from "./mul.ts";
import { sub } from "./sub.ts";

export const sigmoidOp = elementwise({
  name: "sigmoid",
  summary: "y = 1 / (1 + e^-x)",
  arity: 1,
  scalar: (x) => 1 / (1 + Math.exp(-x)),
  value: (k, x) => sigmoidOf(k, x),
  derivative: { kind: "rules", jvp: ({ results: [y] }, [dx]) => [mul(dx!, mul(y!, sub(1, y!)))] },
});

/** 1 / (1 + e^-x), elementwise. */
export const sigmoid = unary(sigmoidOp);

// exp: the exponential function.

import { expOf } from "../loop/math.ts";
import { elementwise, unary } from "./elementwise.ts";
import { mul } from "./mul.ts";

export const expOp = elementwise({
  name: "exp",
  summary: "y = e^x",
  arity: 1,
  scalar: Math.exp,
  value: (k, x) => expOf(k, x),
  derivative: { kind: "rules", jvp: ({ results: [y] }, [dx]) => [mul(dx!, y!)] },
});

/** e^x, elementwise. */
export const exp = unary(expOp);

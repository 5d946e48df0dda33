// tanh: the hyperbolic tangent.

import { tanhOf } from "../loop/math.ts";
import { elementwise, unary } from "./elementwise.ts";
import { mul } from "./mul.ts";
import { sub } from "./sub.ts";

export const tanhOp = elementwise({
  name: "tanh",
  summary: "y = tanh x",
  arity: 1,
  scalar: Math.tanh,
  value: (k, x) => tanhOf(k, x),
  derivative: { kind: "rules", jvp: ({ results: [y] }, [dx]) => [mul(dx!, sub(1, mul(y!, y!)))] },
});

/** The hyperbolic tangent, elementwise. */
export const tanh = unary(tanhOp);

// sqrt: the square root.

import { div } from "./div.ts";
import { elementwise, unary } from "./elementwise.ts";
import { mul } from "./mul.ts";

export const sqrtOp = elementwise({
  name: "sqrt",
  summary: "y = sqrt(x)",
  arity: 1,
  scalar: Math.sqrt,
  value: (k, x) => k.unary("sqrt", x),
  derivative: { kind: "rules", jvp: ({ results: [y] }, [dx]) => [mul(dx!, div(0.5, y!))] },
  range: [0.25, 4],
});

/** The square root, elementwise. */
export const sqrt = unary(sqrtOp);

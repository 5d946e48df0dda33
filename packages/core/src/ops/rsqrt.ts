// rsqrt: one over the square root, in full precision (a division and a square root).

import { elementwise, unary } from "./elementwise.ts";
import { mul } from "./mul.ts";

export const rsqrtOp = elementwise({
  name: "rsqrt",
  summary: "y = 1 / sqrt(x)",
  arity: 1,
  scalar: (x) => 1 / Math.sqrt(x),
  value: (k, x) => k.div(k.constant(x.type, 1), k.unary("sqrt", x)),
  derivative: {
    kind: "rules",
    jvp: ({ results: [y] }, [dx]) => [mul(dx!, mul(-0.5, mul(y!, mul(y!, y!))))],
  },
  range: [0.25, 4],
});

/** 1 / sqrt(x), elementwise. */
export const rsqrt = unary(rsqrtOp);

// relu: the positive part of x. Its derivative at 0 is 0.

import { composite, eachNumber } from "./composite.ts";
import { unary } from "./elementwise.ts";
import { max } from "./max.ts";

export const reluOp = composite({
  name: "relu",
  summary: "y = max(0, x)",
  row: eachNumber((x) => Math.max(0, x)),
  expand: (x) => max(0, x),
});

/** max(0, x), elementwise. */
export const relu = unary(reluOp);

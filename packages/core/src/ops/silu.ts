// silu: x times its logistic function (Elfwing et al. 2017, arXiv 1702.03118).

import { composite, eachNumber } from "./composite.ts";
import { unary } from "./elementwise.ts";
import { mul } from "./mul.ts";
import { sigmoid } from "./sigmoid.ts";

export const siluOp = composite({
  name: "silu",
  summary: "y = x / (1 + e^-x)",
  row: eachNumber((x) => x / (1 + Math.exp(-x))),
  expand: (x) => mul(x, sigmoid(x)),
});

/** x / (1 + e^-x), elementwise. */
export const silu = unary(siluOp);

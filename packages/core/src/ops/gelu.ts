// gelu: x times the normal distribution function, in its tanh form (Hendrycks and Gimpel, arXiv 1606.08415).

import { add } from "./add.ts";
import { composite, eachNumber } from "./composite.ts";
import { unary } from "./elementwise.ts";
import { mul } from "./mul.ts";
import { tanh } from "./tanh.ts";

const SCALE = Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715;

export const geluOp = composite({
  name: "gelu",
  summary: "y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2",
  row: eachNumber((x) => 0.5 * x * (1 + Math.tanh(SCALE * (x + CUBIC * x ** 3)))),
  expand(x) {
    const inner = mul(x, add(mul(mul(x, x), SCALE * CUBIC), SCALE));
    return mul(mul(x, 0.5), add(tanh(inner), 1));
  },
});

/** The Gaussian error linear unit in its tanh form, elementwise. */
export const gelu = unary(geluOp);

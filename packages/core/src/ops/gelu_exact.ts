// gelu_exact: x times the normal distribution function (Hendrycks and Gimpel, arXiv 1606.08415), by the error function.
// gelu.ts is its tanh form.

import { add } from "./add.ts";
import { composite, eachNumber } from "./composite.ts";
import { unary } from "./elementwise.ts";
import { erf, errorFunction } from "./erf.ts";
import { mul } from "./mul.ts";

export const geluExactOp = composite({
  name: "gelu_exact",
  summary: "y = x (1 + erf(x / sqrt 2)) / 2",
  row: eachNumber((x) => 0.5 * x * (1 + errorFunction(x * Math.SQRT1_2))),
  expand: (x) => mul(mul(x, 0.5), add(erf(mul(x, Math.SQRT1_2)), 1)),
});

/** The Gaussian error linear unit by the error function, elementwise. */
export const geluExact = unary(geluExactOp);

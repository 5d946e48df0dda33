// softplus: a smooth positive part, computed so that large |x| neither overflows nor loses the answer.

import { abs } from "./abs.ts";
import { add } from "./add.ts";
import { composite, eachNumber } from "./composite.ts";
import { unary } from "./elementwise.ts";
import { exp } from "./exp.ts";
import { log } from "./log.ts";
import { max } from "./max.ts";
import { neg } from "./neg.ts";

export const softplusOp = composite({
  name: "softplus",
  summary: "y = ln(1 + e^x)",
  row: eachNumber((x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))),
  expand: (x) => add(max(x, 0), log(add(exp(neg(abs(x))), 1))),
});

/** ln(1 + e^x), elementwise. */
export const softplus = unary(softplusOp);

// log: the natural logarithm.

import { logOf } from "../loop/math.ts";
import { div } from "./div.ts";
import { elementwise, unary } from "./elementwise.ts";

export const logOp = elementwise({
  name: "log",
  summary: "y = ln x",
  arity: 1,
  scalar: Math.log,
  value: (k, x) => logOf(k, x),
  derivative: { kind: "rules", jvp: ({ inputs: [x] }, [dx]) => [div(dx!, x!)] },
  range: [0.25, 4],
});

/** The natural logarithm, elementwise. */
export const log = unary(logOp);

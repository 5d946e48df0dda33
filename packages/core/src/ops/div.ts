// div: x / y.

import { binary, elementwise, splatValue } from "./elementwise.ts";
import { mul } from "./mul.ts";
import { sub } from "./sub.ts";
import { neg } from "./neg.ts";

export const divOp = elementwise({
  name: "div",
  summary: "y = a / b",
  arity: 2,
  scalar: (a, b) => a / b,
  value: (k, a, b) => k.div(a, b),
  derivative: {
    kind: "rules",
    // y' = (a' - y b') / b, which needs no power of b.
    jvp({ inputs: [, b], results: [y] }, [da, db]) {
      const change = db && mul(y!, db);
      return [div(change === undefined ? da! : da === undefined ? neg(change) : sub(da, change), b!)];
    },
    transpose: ({ inputs: [, b] }, [ct], [inA]) => [inA ? div(ct!, b!) : undefined, undefined],
  },
  simplify: ([a, b]) => (splatValue(b!) === 1 ? [a!] : undefined),
  range: [0.5, 2],
});

/** a / b, elementwise. */
export const div = binary<"div">(divOp);

// sub: x - y.

import { binary, elementwise, NUMERIC, splatValue } from "./elementwise.ts";
import { neg } from "./neg.ts";

export const subOp = elementwise({
  name: "sub",
  summary: "y = a - b",
  arity: 2,
  accepts: NUMERIC,
  scalar: (a, b) => a - b,
  value: (k, a, b) => k.sub(a, b),
  derivative: {
    kind: "rules",
    jvp: (_node, [da, db]) => [db === undefined ? da : da === undefined ? neg(db) : sub(da, db)],
    transpose: (_node, [ct], [inA, inB]) => [inA ? ct : undefined, inB ? neg(ct!) : undefined],
  },
  simplify: ([a, b]) => (splatValue(b!) === 0 ? [a!] : undefined),
});

/** a - b, elementwise. */
export const sub = binary<"sub">(subOp);

// add: x + y.

import { binary, elementwise, NUMERIC, splatValue } from "./elementwise.ts";

export const addOp = elementwise({
  name: "add",
  summary: "y = a + b",
  arity: 2,
  accepts: NUMERIC,
  scalar: (a, b) => a + b,
  value: (k, a, b) => k.add(a, b),
  derivative: {
    kind: "rules",
    jvp: (_node, [da, db]) => [da === undefined ? db : db === undefined ? da : add(da, db)],
    transpose: (_node, [ct], linear) => linear.map((isLinear) => (isLinear ? ct : undefined)),
  },
  simplify: ([a, b]) => (splatValue(b!) === 0 ? [a!] : splatValue(a!) === 0 ? [b!] : undefined),
});

/** a + b, elementwise. */
export const add = binary<"add">(addOp);

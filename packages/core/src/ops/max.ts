// max: the larger of two numbers, elementwise. Where they are equal the derivative is that of the first.

import { binary, elementwise, NUMERIC } from "./elementwise.ts";
import { le } from "./le.ts";
import { select } from "./select.ts";
import { zerosLike } from "./splat.ts";

export const maxOp = elementwise({
  name: "max",
  summary: "y = max(a, b)",
  arity: 2,
  accepts: NUMERIC,
  scalar: Math.max,
  value: (k, a, b) => k.max(a, b),
  derivative: {
    kind: "rules",
    jvp: ({ inputs: [a, b] }, [da, db]) => [select(le(b!, a!), da ?? zerosLike(a!), db ?? zerosLike(b!))],
  },
});

/** The larger of a and b, elementwise; NaN where either is. */
export const max = binary<"max">(maxOp);

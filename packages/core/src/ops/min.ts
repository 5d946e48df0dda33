// min: the smaller of two numbers, elementwise. Where they are equal the derivative is that of the first.

import { binary, elementwise, NUMERIC } from "./elementwise.ts";
import { le } from "./le.ts";
import { select } from "./select.ts";
import { zerosLike } from "./splat.ts";

export const minOp = elementwise({
  name: "min",
  summary: "y = min(a, b)",
  arity: 2,
  accepts: NUMERIC,
  scalar: Math.min,
  value: (k, a, b) => k.min(a, b),
  derivative: {
    kind: "rules",
    jvp: ({ inputs: [a, b] }, [da, db]) => [select(le(a!, b!), da ?? zerosLike(a!), db ?? zerosLike(b!))],
  },
});

/** The smaller of a and b, elementwise; NaN where either is. */
export const min = binary<"min">(minOp);

// floor: the largest integer that is not above x.

import { elementwise, unary } from "./elementwise.ts";

export const floorOp = elementwise({
  name: "floor",
  summary: "y = largest integer <= x",
  arity: 1,
  scalar: Math.floor,
  value: (k, x) => k.unary("floor", x),
  derivative: { kind: "zero" },
});

/** The largest integer that is not above x, elementwise. */
export const floor = unary(floorOp);

// round: the nearest integer, ties to the even one, as IEEE 754 rounds.

import { elementwise, unary } from "./elementwise.ts";

/** The integer nearest to `x`, ties to even. */
export function roundTiesToEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

export const roundOp = elementwise({
  name: "round",
  summary: "y = nearest integer to x, ties to even",
  arity: 1,
  scalar: roundTiesToEven,
  value: (k, x) => k.unary("nearest", x),
  derivative: { kind: "zero" },
});

/** The nearest integer, ties to even, elementwise. */
export const round = unary(roundOp);

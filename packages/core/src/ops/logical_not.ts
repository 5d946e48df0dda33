// logical_not: not x, of a bool.

import type { Shape } from "@fidelity/units";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import { elementwise } from "./elementwise.ts";

export const logicalNotOp = elementwise({
  name: "logical_not",
  summary: "y = not x, of bool",
  arity: 1,
  accepts: ["bool"],
  scalar: (x) => 1 - x,
  value: (k, x) => k.binary("xor", x, k.constant(x.type, 1)),
  derivative: { kind: "zero" },
});

/** The opposite of a bool, elementwise. */
export function logicalNot<S extends Shape>(x: Tensor<S, "bool">): Tensor<S, "bool"> {
  return emitOne(logicalNotOp, [x], {}) as Tensor<S, "bool">;
}

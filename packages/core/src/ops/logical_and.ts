// logical_and: a and b, of bools.

import type { Broadcast, Shape } from "@fidelity/units";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import { broadcastTogether, elementwise } from "./elementwise.ts";

export const logicalAndOp = elementwise({
  name: "logical_and",
  summary: "y = a and b, of bool",
  arity: 2,
  accepts: ["bool"],
  scalar: (a, b) => a * b,
  value: (k, a, b) => k.binary("and", a, b),
  derivative: { kind: "zero" },
});

/** Whether both hold, elementwise with broadcasting. */
export function logicalAnd<A extends Shape, B extends Shape>(
  a: Tensor<A, "bool">,
  b: Tensor<B, "bool">,
): Tensor<Broadcast<A, B>, "bool"> {
  return emitOne(logicalAndOp, broadcastTogether("logical_and", a, b), {}) as unknown as Tensor<
    Broadcast<A, B>,
    "bool"
  >;
}

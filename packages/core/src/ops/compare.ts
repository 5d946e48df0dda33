// What comparisons have in common: they take numbers of one dtype and give bool, which is 0 or 1 in an i32.

import { loopType } from "../loop/ir.ts";
import type { OpDef } from "../op.ts";
import type { NoAttrs } from "./elementwise.ts";
import { elementwise, NUMERIC } from "./elementwise.ts";

/** Defines a comparison; `sign` is its symbol in the documentation. */
export function comparison(
  name: "eq" | "lt" | "le",
  sign: string,
  holds: (a: number, b: number) => boolean,
): OpDef<NoAttrs> {
  return elementwise({
    name,
    summary: `y = a ${sign} b, a bool`,
    arity: 2,
    accepts: NUMERIC,
    scalar: (a, b) => (holds(a, b) ? 1 : 0),
    value(k, a, b) {
      const type = loopType("i32", a.type.lanes);
      return k.select(k.compare(name, a, b), k.constant(type, 1), k.constant(type, 0));
    },
    derivative: { kind: "zero" },
    resultDtype: "bool",
  });
}

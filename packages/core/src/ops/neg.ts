// neg: -x.

import type { OpDef } from "../op.ts";
import { elementwise, splatValue, unary } from "./elementwise.ts";
import type { NoAttrs } from "./elementwise.ts";
import { splat } from "./splat.ts";

export const negOp: OpDef<NoAttrs> = elementwise({
  name: "neg",
  summary: "y = -x",
  arity: 1,
  scalar: (x) => -x,
  value: (k, x) => k.unary("neg", x),
  derivative: {
    kind: "rules",
    jvp: (_node, [dx]) => [neg(dx!)],
    transpose: (_node, [ct]) => [neg(ct!)],
  },
  simplify([x]) {
    if (x!.node.op.name === "neg") return [x!.node.inputs[0]!];
    const value = splatValue(x!);
    return value === undefined ? undefined : [splat(-value, x!.shape, x!.dtype)];
  },
});

/** -x, elementwise. */
export const neg = unary(negOp);

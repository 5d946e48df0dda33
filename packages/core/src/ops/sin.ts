// sin: the sine of an angle in radians.

import type { OpDef } from "../op.ts";
import { sinOf } from "../loop/math.ts";
import { cos } from "./cos.ts";
import { elementwise, unary } from "./elementwise.ts";
import type { NoAttrs } from "./elementwise.ts";
import { mul } from "./mul.ts";

export const sinOp: OpDef<NoAttrs> = elementwise({
  name: "sin",
  summary: "y = sin x",
  arity: 1,
  scalar: Math.sin,
  value: (k, x) => sinOf(k, x),
  derivative: { kind: "rules", jvp: ({ inputs: [x] }, [dx]) => [mul(dx!, cos(x!))] },
});

/** The sine, elementwise; x in radians. */
export const sin = unary(sinOp);

// cos: the cosine of an angle in radians.

import type { OpDef } from "../op.ts";
import { cosOf } from "../loop/math.ts";
import { elementwise, unary } from "./elementwise.ts";
import type { NoAttrs } from "./elementwise.ts";
import { mul } from "./mul.ts";
import { neg } from "./neg.ts";
import { sin } from "./sin.ts";

export const cosOp: OpDef<NoAttrs> = elementwise({
  name: "cos",
  summary: "y = cos x",
  arity: 1,
  scalar: Math.cos,
  value: (k, x) => cosOf(k, x),
  derivative: { kind: "rules", jvp: ({ inputs: [x] }, [dx]) => [mul(dx!, neg(sin(x!)))] },
});

/** The cosine, elementwise; x in radians. */
export const cos = unary(cosOp);

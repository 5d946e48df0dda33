// abs: |x|. Its derivative at 0 is taken from the right.

import { elementwise, unary } from "./elementwise.ts";
import { lt } from "./lt.ts";
import { neg } from "./neg.ts";
import { select } from "./select.ts";

export const absOp = elementwise({
  name: "abs",
  summary: "y = |x|",
  arity: 1,
  scalar: Math.abs,
  value: (k, x) => k.unary("abs", x),
  derivative: { kind: "rules", jvp: ({ inputs: [x] }, [dx]) => [select(lt(x!, 0), neg(dx!), dx!)] },
});

/** |x|, elementwise. */
export const abs = unary(absOp);

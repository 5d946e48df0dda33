// reduce_max: the largest number along some axes, which stay with size 1. Where several are the largest, the derivative
// is the mean of theirs.

import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { cast } from "./cast.ts";
import { div } from "./div.ts";
import { eq } from "./eq.ts";
import { mul } from "./mul.ts";
import type { ReduceAttrs } from "./reduce.ts";
import { evaluateReduce, inferReduce, reduceFunction, sampleReduce } from "./reduce.ts";
import { reduceSumOp } from "./reduce_sum.ts";

export const reduceMaxOp: OpDef<ReduceAttrs> = {
  name: "reduce_max",
  summary: "y = max of x over axes (kept with size 1)",
  infer: (inputs, attrs) => inferReduce("reduce_max", inputs, attrs),
  evaluate: ([x], _attrs, [type]) => [evaluateReduce(x!, type!, -Infinity, Math.max)],
  derivative: {
    kind: "rules",
    jvp({ inputs: [x], results: [y] }, [dx], attrs) {
      const isLargest = cast(eq(x!, y!), dx!.dtype);
      const share = div(isLargest, emitOne(reduceSumOp, [isLargest], attrs));
      return [emitOne(reduceSumOp, [mul(dx!, share)], attrs)];
    },
  },
  lowering: { kind: "reduce", combine: "max" },
  simplify: ([x], { axes }) => (axes.every((axis) => x!.shape[axis] === 1) ? [x!] : undefined),
  sample: sampleReduce,
};

/** The largest number of `x` along `axes` (all of them by default), which stay with size 1 when `keepDims` is set. */
export const reduceMax = reduceFunction(reduceMaxOp);

// reduce_sum: the sum along some axes, which stay with size 1. The order of additions is fixed by the lowering and does
// not depend on the number of threads.

import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { broadcastTo } from "./broadcast.ts";
import type { ReduceAttrs } from "./reduce.ts";
import { evaluateReduce, inferReduce, reduceFunction, sampleReduce } from "./reduce.ts";

export const reduceSumOp: OpDef<ReduceAttrs> = {
  name: "reduce_sum",
  summary: "y = sum of x over axes (kept with size 1)",
  infer: (inputs, attrs) => inferReduce("reduce_sum", inputs, attrs),
  evaluate: ([x], _attrs, [type]) => [evaluateReduce(x!, type!, 0, (sum, value) => sum + value)],
  derivative: {
    kind: "rules",
    jvp: (_node, [dx], attrs) => [emitOne(reduceSumOp, [dx!], attrs)],
    transpose: (node, [ct]) => [broadcastTo(ct!, node.inputs[0]!.shape)],
  },
  lowering: { kind: "reduce", combine: "sum" },
  simplify: ([x], { axes }) => (axes.every((axis) => x!.shape[axis] === 1) ? [x!] : undefined),
  sample: sampleReduce,
};

/** The sum of `x` along `axes` (all of them by default), which stay with size 1 when `keepDims` is set. */
export const reduceSum = reduceFunction(reduceSumOp);

// stop_gradient: x, seen as a constant by differentiation.

import type { Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import type { NoAttrs } from "./elementwise.ts";
import { sampleShape } from "./elementwise.ts";

export const stopGradientOp: OpDef<NoAttrs> = {
  name: "stop_gradient",
  summary: "y = x, with derivative 0",
  infer: (inputs) => [inputs[0]!],
  evaluate: ([x]) => [x!],
  derivative: { kind: "zero" },
  lowering: { kind: "alias" },
  simplify: ([x]) => (x!.node.op.name === "stop_gradient" ? [x!] : undefined),
  sample: (draw) => ({ inputs: [{ dtype: "f32", shape: sampleShape(draw) }], attrs: {} }),
};

/** `x` itself, but its derivative is zero. */
export function stopGradient<S extends Shape, D extends Dtype>(x: Tensor<S, D>): Tensor<S, D> {
  return emitOne(stopGradientOp, [x], {}) as Tensor<S, D>;
}

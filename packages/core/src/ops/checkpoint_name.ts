// checkpoint_name: x, under a name by which a policy of `checkpoint` can ask to keep it.

import type { Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { sampleShape } from "./elementwise.ts";

export type CheckpointNameAttrs = { readonly name: string };

export const checkpointNameOp: OpDef<CheckpointNameAttrs> = {
  name: "checkpoint_name",
  summary: "y = x, kept by checkpoints that save its name",
  infer: (inputs) => [inputs[0]!],
  evaluate: ([x]) => [x!],
  derivative: {
    kind: "rules",
    jvp: (_node, [dx]) => [dx],
  },
  lowering: { kind: "alias" },
  sample: (draw) => ({ inputs: [{ dtype: "f32", shape: sampleShape(draw) }], attrs: { name: "h" } }),
};

/** `x` itself; `checkpoint(fn, { save: [name] })` around it keeps it instead of computing it again. */
export function checkpointName<S extends Shape, D extends Dtype>(x: Tensor<S, D>, name: string): Tensor<S, D> {
  return emitOne(checkpointNameOp, [x], { name }) as Tensor<S, D>;
}

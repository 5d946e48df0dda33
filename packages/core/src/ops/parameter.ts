// parameter: an input of a graph. Its id makes it different from every other tensor.

import { invariant } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import type { OpDef } from "../op.ts";

export type ParameterAttrs = {
  readonly name: string;
  readonly id: number;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
};

export const parameterOp: OpDef<ParameterAttrs> = {
  name: "parameter",
  summary: "an input of the graph",
  infer: (_inputs, { dtype, shape }) => [{ dtype, shape }],
  evaluate: () => invariant(false, "a parameter has no value of its own") as never,
  derivative: { kind: "zero" },
  lowering: { kind: "source" },
  sample: () => ({ inputs: [], attrs: { name: "x", id: -1, dtype: "f32", shape: [2] } }),
};

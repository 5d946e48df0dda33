// constant: data known when the graph is built.

import type { Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { isPacked } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";

export type ConstantAttrs = { readonly data: Float64Array; readonly shape: readonly number[]; readonly dtype: Dtype };

export const constantOp: OpDef<ConstantAttrs> = {
  name: "constant",
  summary: "y = data known when the graph is built",
  infer(_inputs, { data, shape, dtype }) {
    requireShape(!isPacked(dtype), "constant", `${dtype} constants have no scale`, []);
    const fits = data.length === elementCount(shape);
    requireShape(fits, "constant", `${data.length} numbers do not fill [${shape.join(", ")}]`, []);
    return [{ dtype, shape }];
  },
  evaluate: (_inputs, { data }, [type]) => [{ type: type!, data }],
  derivative: { kind: "zero" },
  lowering: { kind: "source" },
  sample: (draw) => ({
    inputs: [],
    attrs: {
      data: Float64Array.from({ length: 6 }, () => draw.int(-9, 9) / 4),
      shape: draw.pick([[6], [2, 3]]),
      dtype: "f32",
    },
  }),
};

/** A tensor of numbers that are known now, in row-major order. The data must not change afterwards. */
export function constant<const S extends Shape, D extends Dtype = "f32">(
  data: ArrayLike<number>,
  shape: S,
  dtype: D = "f32" as D,
): Tensor<S, D> {
  const values = data instanceof Float64Array ? data : Float64Array.from(data);
  const attrs = { data: values, shape: shape as unknown as readonly number[], dtype };
  return emitOne(constantOp, [], attrs) as unknown as Tensor<S, D>;
}

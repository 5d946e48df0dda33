// iota: each element is its index along the last axis. Positions, one-hot masks and causal masks start from it.

import type { Shape } from "@fidelity/units";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { sampleShape } from "./elementwise.ts";
import { elementLoopType } from "./loop-types.ts";

export type IotaDtype = "f32" | "f64" | "i32";
export type IotaAttrs = { readonly shape: readonly number[]; readonly dtype: IotaDtype };

export const iotaOp: OpDef<IotaAttrs> = {
  name: "iota",
  summary: "y[..., j] = j",
  infer(_inputs, { shape, dtype }) {
    requireShape(shape.length > 0, "iota", "a scalar has no axis to count along", []);
    return [{ dtype, shape }];
  },
  evaluate(_inputs, { shape }, [type]) {
    const columns = shape[shape.length - 1]!;
    return [{ type: type!, data: new Float64Array(elementCount(shape)).map((_zero, i) => i % columns) }];
  },
  derivative: { kind: "zero" },
  lowering: {
    kind: "elementwise",
    value: (context) => context.k.convert(elementLoopType(context.attrs.dtype, context.lanes), context.columnIndex()),
  },
  sample: (draw) => ({ inputs: [], attrs: { shape: sampleShape(draw), dtype: draw.pick(["f32", "i32"]) } }),
};

/** The index along the last axis, in every element of a tensor of `shape`. */
export function iota<const S extends Shape, D extends IotaDtype = "i32">(
  shape: S,
  dtype: D = "i32" as D,
): Tensor<S, D> {
  return emitOne(iotaOp, [], { shape: shape as unknown as readonly number[], dtype }) as unknown as Tensor<S, D>;
}

// splat: one number in every element. Scalars, zeros and ones are splats, so that no memory is ever read for them.

import type { Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { elementCount } from "../storage.ts";
import { elementLoopType } from "./loop-types.ts";
import { sampleShape } from "./elementwise.ts";

export type SplatAttrs = { readonly value: number; readonly shape: readonly number[]; readonly dtype: Dtype };

export const splatOp: OpDef<SplatAttrs> = {
  name: "splat",
  summary: "y[...] = value",
  infer: (_inputs, { dtype, shape }) => [{ dtype, shape }],
  evaluate: (_inputs, { value }, [type]) => [
    { type: type!, data: new Float64Array(elementCount(type!.shape)).fill(value) },
  ],
  derivative: { kind: "zero" },
  lowering: {
    kind: "elementwise",
    value: ({ k, attrs, lanes }) => k.constant(elementLoopType(attrs.dtype, lanes), attrs.value),
  },
  sample: (draw) => ({ inputs: [], attrs: { value: draw.int(-3, 3), shape: sampleShape(draw), dtype: "f32" } }),
};

/** A tensor that holds `value` everywhere. */
export function splat<const S extends Shape, D extends Dtype = "f32">(
  value: number,
  shape: S,
  dtype: D = "f32" as D,
): Tensor<S, D> {
  return emitOne(splatOp, [], { value, shape: shape as unknown as readonly number[], dtype }) as Tensor<S, D>;
}

/** Zeros of the shape and dtype in which derivatives of `x` live. */
export function zerosLike(x: Tensor, dtype: Dtype = x.dtype): Tensor {
  return splat(0, x.shape, dtype);
}

// rms_norm: x over its root mean square along the last axis, times a weight (Zhang and Sennrich, arXiv 1910.07467).

import type { Shape } from "@fidelity/units";
import type { FloatDtype } from "../dtype.ts";
import { isFloat } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne, sameShape } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { add } from "./add.ts";
import { evaluateRows } from "./composite.ts";
import { COMPOSITE_DERIVATIVE } from "./composite_tangent.ts";
import { sampleShape } from "./elementwise.ts";
import { mul } from "./mul.ts";
import { reduceSum } from "./reduce_sum.ts";
import { rsqrt } from "./rsqrt.ts";

export type RmsNormAttrs = { readonly epsilon: number };

export const rmsNormOp: OpDef<RmsNormAttrs> = {
  name: "rms_norm",
  summary: "y = x / sqrt(mean of x^2 over the last axis + epsilon) * weight (optional)",
  infer(inputs) {
    const [x, weight] = inputs as [TensorType, TensorType?];
    requireShape(isFloat(x.dtype), "rms_norm", `does not work on ${x.dtype}`, inputs, "cast it to f32");
    requireShape(x.shape.length > 0, "rms_norm", "a scalar has no last axis", inputs);
    const fits = weight === undefined || (weight.dtype === x.dtype && sameShape(weight.shape, x.shape.slice(-1)));
    requireShape(fits, "rms_norm", "the weight is not one number a column", inputs);
    return [x];
  },
  evaluate([x, weight], { epsilon }, [type]) {
    const normalize = (row: Float64Array, y: Float64Array): void => {
      const scale = 1 / Math.sqrt(row.reduce((sum, value) => sum + value * value, 0) / row.length + epsilon);
      for (let i = 0; i < row.length; i++) y[i] = row[i]! * scale * (weight?.data[i] ?? 1);
    };
    return [evaluateRows(x!, type!, normalize)];
  },
  derivative: COMPOSITE_DERIVATIVE,
  lowering: {
    kind: "expand",
    expand([x, weight], { epsilon }) {
      const columns = x!.shape[x!.rank - 1]!;
      const meanSquare = mul(reduceSum(mul(x!, x!), -1, true), 1 / columns);
      const normalized = mul(x!, rsqrt(add(meanSquare, epsilon)));
      return [weight === undefined ? normalized : mul(normalized, weight)];
    },
  },
  sample(draw) {
    const shape = sampleShape(draw);
    const x: TensorType = { dtype: "f32", shape };
    const weight: TensorType = { dtype: "f32", shape: shape.slice(-1) };
    return { inputs: draw.pick([[x], [x, weight]]), attrs: { epsilon: draw.pick([1e-5, 1e-2]) } };
  },
};

/** Options of `rmsNorm`. */
export interface RmsNormOptions<D extends FloatDtype> {
  /** [columns]; 1 where absent. */
  readonly weight?: Tensor<Shape, D>;
  /** Added to the mean square. */
  readonly epsilon?: number;
}

/** `x` over its root mean square along the last axis, times `weight`. */
export function rmsNorm<S extends Shape, D extends FloatDtype>(
  x: Tensor<S, D>,
  { weight, epsilon = 1e-6 }: RmsNormOptions<D> = {},
): Tensor<S, D> {
  return emitOne(rmsNormOp, weight === undefined ? [x] : [x, weight], { epsilon }) as unknown as Tensor<S, D>;
}

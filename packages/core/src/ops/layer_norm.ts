// layer_norm: x less its mean, over its standard deviation along the last axis, times a weight, plus a bias (Ba, Kiros
// and Hinton 2016, arXiv 1607.06450).

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
import { sub } from "./sub.ts";

export type LayerNormAttrs = { readonly epsilon: number };

/** Inputs: x, and a weight, and a bias. */
export const layerNormOp: OpDef<LayerNormAttrs> = {
  name: "layer_norm",
  summary: "y = (x - mean) / sqrt(variance over the last axis + epsilon) * weight (optional) + bias (optional)",
  infer(inputs) {
    const [x, ...columns] = inputs as [TensorType, ...TensorType[]];
    requireShape(isFloat(x.dtype), "layer_norm", `does not work on ${x.dtype}`, inputs, "cast it to f32");
    requireShape(x.shape.length > 0, "layer_norm", "a scalar has no last axis", inputs);
    const fit = columns.every(({ dtype, shape }) => dtype === x.dtype && sameShape(shape, x.shape.slice(-1)));
    requireShape(fit, "layer_norm", "the weight or the bias is not one number a column", inputs);
    return [x];
  },
  evaluate([x, weight, bias], { epsilon }, [type]) {
    const normalize = (row: Float64Array, y: Float64Array): void => {
      const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
      const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / row.length;
      const scale = 1 / Math.sqrt(variance + epsilon);
      for (let i = 0; i < row.length; i++) {
        y[i] = (row[i]! - mean) * scale * (weight?.data[i] ?? 1) + (bias?.data[i] ?? 0);
      }
    };
    return [evaluateRows(x!, type!, normalize)];
  },
  derivative: COMPOSITE_DERIVATIVE,
  lowering: {
    kind: "expand",
    expand([x, weight, bias], { epsilon }) {
      const columns = x!.shape[x!.rank - 1]!;
      const mean = (values: Tensor): Tensor => mul(reduceSum(values, -1, true), 1 / columns);
      const centred = sub(x!, mean(x!));
      const normalized = mul(centred, rsqrt(add(mean(mul(centred, centred)), epsilon)));
      const scaled = weight === undefined ? normalized : mul(normalized, weight);
      return [bias === undefined ? scaled : add(scaled, bias)];
    },
  },
  sample(draw) {
    const shape = sampleShape(draw);
    const x: TensorType = { dtype: "f32", shape };
    const columns: TensorType = { dtype: "f32", shape: shape.slice(-1) };
    const inputs = draw.pick([[x], [x, columns], [x, columns, columns]]);
    return { inputs, attrs: { epsilon: draw.pick([1e-2, 1]) } };
  },
};

/** Options of `layerNorm`. */
export interface LayerNormOptions<D extends FloatDtype> {
  /** [columns]; 1 where absent. */
  readonly weight?: Tensor<Shape, D>;
  /** [columns]; 0 where absent. */
  readonly bias?: Tensor<Shape, D>;
  /** Added to the variance. */
  readonly epsilon?: number;
}

/**
 * `x` less its mean, over its standard deviation along the last axis, times `weight`, plus `bias`.
 * @throws ShapeMismatchError when the weight or the bias is not one number a column.
 */
export function layerNorm<S extends Shape, D extends FloatDtype>(
  x: Tensor<S, D>,
  { weight, bias, epsilon = 1e-5 }: LayerNormOptions<D> = {},
): Tensor<S, D> {
  const columns = weight === undefined ? [] : bias === undefined ? [weight] : [weight, bias];
  const y = emitOne(layerNormOp, [x, ...columns], { epsilon }) as Tensor;
  return (weight === undefined && bias !== undefined ? add(y, bias as Tensor) : y) as unknown as Tensor<S, D>;
}

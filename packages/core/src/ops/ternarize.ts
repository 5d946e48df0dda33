// ternarize: a float32 matrix to weights of -1, 0 and 1 with one scale, the mean magnitude, as in BitNet b1.58
// (Ma et al. 2024, arXiv 2402.17764): scale = max(mean |w|, 1e-5), code = clip(round(w / scale), -1, 1).
// The derivative is the straight-through estimator (Bengio et al. 2013, arXiv 1308.3432): identity in w, and the scale
// counts as a constant.

import type { Shape } from "@fidelity/units";
import type { TernaryDtype } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { lowerTernarize } from "./kernels/ternarize.ts";
import { roundHalfEven } from "./quantize_activations.ts";

/** The smallest scale: keeps a matrix of zeros finite. */
export const TERNARY_FLOOR = 1e-5;

/** How the weights are packed. */
export type TernarizeAttrs = { readonly dtype: TernaryDtype };

export const ternarizeOp: OpDef<TernarizeAttrs> = {
  name: "ternarize",
  summary: "code = clip(round(w / scale), -1, 1), scale = max(mean |w|, 1e-5)",
  infer(inputs, { dtype }) {
    const w = inputs[0]!;
    requireShape(w.dtype === "f32", "ternarize", `does not work on ${w.dtype}`, inputs, "cast to f32");
    const matrix = w.shape.length === 2 && w.shape.every((dim) => dim > 0);
    requireShape(matrix, "ternarize", "needs a matrix [outputs, inputs] that is not empty", inputs);
    return [{ dtype, shape: w.shape }];
  },
  evaluate([w], _attrs, [type]) {
    const total = w!.data.reduce((sum, value) => sum + Math.abs(value), 0);
    const scale = Math.max(total / w!.data.length, TERNARY_FLOOR);
    const data = w!.data.map((value) => Math.min(1, Math.max(-1, roundHalfEven(value / scale))));
    return [{ type: type!, data, scales: Float64Array.of(scale) }];
  },
  derivative: { kind: "rules", surrogate: true, jvp: (_node, [dw]) => [dw] },
  lowering: { kind: "kernel", lower: lowerTernarize },
  sample: (draw) => ({
    inputs: [{ dtype: "f32", shape: [draw.int(1, 37), draw.int(1, 70)] }],
    attrs: { dtype: draw.pick(["ternary", "ternary5"]) },
  }),
};

/**
 * `w` [n, k] as ternary weights with one scale, in 2 bits, or five to a byte as `ternary5`. Gradients pass through
 * unchanged.
 * @throws ShapeMismatchError when w is not an f32 matrix.
 */
export function ternarize<S extends Shape>(w: Tensor<S, "f32">): Tensor<S, "ternary">;
export function ternarize<S extends Shape, D extends TernaryDtype>(w: Tensor<S, "f32">, dtype: D): Tensor<S, D>;
export function ternarize<S extends Shape>(
  w: Tensor<S, "f32">,
  dtype: TernaryDtype = "ternary",
): Tensor<S, TernaryDtype> {
  return emitOne(ternarizeOp, [w], { dtype }) as unknown as Tensor<S, TernaryDtype>;
}

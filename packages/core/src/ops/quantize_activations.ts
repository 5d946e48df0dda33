// quantize_activations: float32 rows to int8 codes with one scale a row, by the largest magnitude of the row, as in
// BitNet b1.58 (Ma et al. 2024, arXiv 2402.17764) and the MatMul-free LM (Zhu et al. 2024, arXiv 2406.02528):
//   s = 127 / max(|x|, 1e-5), code = clip(round(x s), -128, 127), value = code / s; ties round to even.
// The derivative is the straight-through estimator (Bengio et al. 2013, arXiv 1308.3432): rounding counts as identity.

import type { Shape } from "@fidelity/units";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { rowCount } from "../storage.ts";
import type { NoAttrs } from "./elementwise.ts";
import { sampleShape } from "./elementwise.ts";
import { lowerQuantizeActivations, quantizeTail } from "./kernels/quantize.ts";

/** The smallest row maximum: keeps the scale of a row of zeros finite. */
export const QUANTIZE_FLOOR = 1e-5;

export const quantizeActivationsOp: OpDef<NoAttrs> = {
  name: "quantize_activations",
  summary: "code = clip(round(127 x / m), -128, 127), scale = m / 127, m = max(|row|, 1e-5)",
  infer(inputs) {
    const x = inputs[0]!;
    requireShape(x.dtype === "f32", "quantize_activations", `does not work on ${x.dtype}`, inputs, "cast to f32");
    const rows = x.shape.length >= 1 && x.shape.every((dim) => dim > 0);
    requireShape(rows, "quantize_activations", "needs at least one axis and no empty ones", inputs);
    return [{ dtype: "q8", shape: x.shape }];
  },
  evaluate([x], _attrs, [type]) {
    const columns = type!.shape[type!.shape.length - 1]!;
    const scales = new Float64Array(rowCount(type!.shape));
    const data = new Float64Array(x!.data.length);
    for (let row = 0; row < scales.length; row++) {
      const values = x!.data.subarray(row * columns, (row + 1) * columns);
      const largest = values.reduce((max, value) => Math.max(max, Math.abs(value)), QUANTIZE_FLOOR);
      const scale = 127 / largest;
      for (const [column, value] of values.entries()) {
        data[row * columns + column] = Math.min(127, Math.max(-128, roundHalfEven(value * scale)));
      }
      scales[row] = largest / 127;
    }
    return [{ type: type!, data, scales }];
  },
  // A tangent of a q8 tensor is an f32 tensor of its shape.
  derivative: { kind: "rules", surrogate: true, jvp: (_node, [dx]) => [dx] },
  lowering: { kind: "kernel", lower: lowerQuantizeActivations, rowTail: quantizeTail },
  sample: (draw) => ({
    inputs: [{ dtype: "f32", shape: [...sampleShape(draw).slice(0, 2), draw.int(1, 70)] }],
    attrs: {},
  }),
  // A float32 product that falls on the other side of a tie is one code off.
  tolerance: 0.01,
};

/** The nearest integer, ties to the even one. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const above = value - floor;
  if (above !== 0.5) return above < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * `x` [..., k] as int8 codes with one scale a row. Gradients pass through unchanged.
 * @throws ShapeMismatchError when x is not f32.
 */
export function quantizeActivations<S extends Shape>(x: Tensor<S, "f32">): Tensor<S, "q8"> {
  return emitOne(quantizeActivationsOp, [x], {}) as unknown as Tensor<S, "q8">;
}

// ternary_linear: int8 activations times ternary weights, summed exactly in int32, with one multiplication a result:
//   y[r, o] = scale_x[r] scale_w sum over i of q[r, i] t[o, i],   q in -128..127, t in -1, 0, 1
// as in BitNet b1.58 (Ma et al. 2024, arXiv 2402.17764). Its derivative is that of the product of the dequantised
// factors; quantize_activations and ternarize pass their cotangents straight through.

import type { Checked, Dim, SameDim, Shape, ShapeError, ShowShape } from "@fidelity/units";
import { isTernary } from "../dtype.ts";
import type { TernaryDtype } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount, rowCount } from "../storage.ts";
import { add } from "./add.ts";
import { dequantize } from "./dequantize.ts";
import type { NoAttrs } from "./elementwise.ts";
import { sampleShape } from "./elementwise.ts";
import { lowerTernaryLinear } from "./kernels/ternary_linear.ts";
import { matmul } from "./matmul.ts";
import { reshape } from "./reshape.ts";

export const ternaryLinearOp: OpDef<NoAttrs> = {
  name: "ternary_linear",
  summary: "y[..., o] = scale_x scale_w sum over i of x[..., i] w[o, i], exact in int32",
  infer(inputs) {
    const [x, w] = inputs as [(typeof inputs)[0], (typeof inputs)[0]];
    const packed = x.dtype === "q8" && isTernary(w.dtype) && w.shape.length === 2;
    requireShape(
      packed,
      "ternary_linear",
      "takes q8 activations and a ternary matrix",
      inputs,
      "apply quantizeActivations and ternarize",
    );
    const inner = x.shape[x.shape.length - 1];
    requireShape(inner === w.shape[1], "ternary_linear", `inner dimensions differ: ${inner} and ${w.shape[1]}`, inputs);
    requireShape(elementCount(x.shape) > 0 && w.shape[0]! > 0, "ternary_linear", "empty tensors", inputs);
    return [{ dtype: "f32", shape: [...x.shape.slice(0, -1), w.shape[0]!] }];
  },
  evaluate([x, w], _attrs, [type]) {
    const [outputs, inner] = w!.type.shape as [number, number];
    const data = new Float64Array(elementCount(type!.shape));
    for (let row = 0; row < rowCount(type!.shape); row++) {
      for (let output = 0; output < outputs; output++) {
        let sum = 0;
        for (let i = 0; i < inner; i++) sum += x!.data[row * inner + i]! * w!.data[output * inner + i]!;
        data[row * outputs + output] = sum * x!.scales![row]! * w!.scales![0]!;
      }
    }
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp({ inputs: [x, w], results: [y] }, [dx, dw]) {
      const rows = (value: Tensor): Tensor<Shape, "f32"> =>
        reshape(value as Tensor<Shape, "f32">, [rowCount(value.shape), value.shape[value.rank - 1]!]);
      const left = dx && matmul(rows(dx), dequantize(w as Tensor<Shape, TernaryDtype>), { transposeB: true });
      const right =
        dw && matmul(rows(dequantize(x as Tensor<Shape, "q8">)), dw as Tensor<Shape, "f32">, { transposeB: true });
      const dy = left === undefined ? right! : right === undefined ? left : add(left, right);
      return [reshape(dy, y!.shape)];
    },
  },
  lowering: { kind: "kernel", lower: lowerTernaryLinear },
  sample(draw) {
    const k = draw.int(1, 70);
    return {
      inputs: [
        { dtype: "q8", shape: [...sampleShape(draw).slice(0, 2), k] },
        { dtype: draw.pick(["ternary", "ternary5"]), shape: [draw.int(1, 37), k] },
      ],
      attrs: {},
    };
  },
};

/** The result's shape: the last dim of the activations `X` gives way to the outputs of the weights `W`. */
export type TernaryLinearShape<X extends Shape, W extends Shape> = number extends X["length"] | W["length"]
  ? Shape
  : X extends readonly [...infer Rows extends Shape, infer Inner extends Dim]
    ? W extends readonly [infer Outputs extends Dim, infer K extends Dim]
      ? [SameDim<Inner, K>] extends [never]
        ? ShapeError<`ternaryLinear: inner dimensions differ: ${Inner} and ${K}`>
        : readonly [...Rows, Outputs]
      : ShapeError<`ternaryLinear: ${ShowShape<W>} is not a matrix`>
    : ShapeError<"ternaryLinear: the activations have no axes">;

/**
 * Activations `x` [..., k] times weights `w` [n, k]: [..., n] in f32.
 * @throws ShapeMismatchError when dtypes or inner dimensions do not fit.
 */
export function ternaryLinear<X extends Shape, W extends Shape>(
  x: Tensor<X, "q8">,
  w: Checked<TernaryLinearShape<X, W>, Tensor<W, TernaryDtype>>,
): Tensor<TernaryLinearShape<X, W>, "f32"> {
  return emitOne(ternaryLinearOp, [x, w as Tensor], {}) as unknown as Tensor<TernaryLinearShape<X, W>, "f32">;
}

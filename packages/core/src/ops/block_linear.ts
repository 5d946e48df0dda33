// block_linear: int8 activations with a scale for each block of 32 or 16 neighbours, times the rows of a matrix of
// blocks:
//   y[r, o] = sum over blocks g of scale_x[r, g] sum over i in g of q[r, g, i] w[o, g, i],   q in -127..127
// The sums within a block are of integers and exact; llama.cpp multiplies its quantised weights in the same way
// (ggml-cpu of ggml-org/llama.cpp: Q8_0 activations). Activations are rounded by quantize_activations, row by row of
// [..., blocks, columns of a block], as long as the weights' scales reach: with m_g the largest magnitude in block g,
// none is further than m_g / 254 from what it was (4e-8 where m_g is below 1e-5), so that
//   |y - y_exact| <= sum over g of m_g / 254 sum over i in g of |w[o, g, i]|.
// The derivative is that of the product of the dequantised factors; the weights have none.

import type { Checked, Dim, SameDim, Shape, ShapeError, ShowShape } from "@fidelity/units";
import type { BlockDtype } from "../dtype.ts";
import { BLOCK_DTYPES, isBlocked } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne } from "../graph.ts";
import { hostValues } from "../host.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { BLOCK_FORMATS, elementCount, rowCount } from "../storage.ts";
import { dequantize, requireWholeBlocks } from "./dequantize.ts";
import type { NoAttrs } from "./elementwise.ts";
import { lowerBlockLinear } from "./kernels/block_linear.ts";
import { matmul } from "./matmul.ts";
import { quantizeActivations } from "./quantize_activations.ts";
import { reshape } from "./reshape.ts";

export const blockLinearOp: OpDef<NoAttrs> = {
  name: "block_linear",
  summary: "y[..., o] = sum over g of scale_x[..., g] sum over i of x[..., g, i] w[o, g, i], exact in int32 within g",
  infer(inputs) {
    const [x, w] = inputs as [TensorType, TensorType];
    const fits = x.dtype === "q8" && x.shape.length >= 2 && isBlocked(w.dtype) && w.shape.length === 2;
    requireShape(fits, "block_linear", TAKES, inputs, "apply blockLinear to float32 activations");
    requireWholeBlocks("block_linear", w, inputs);
    const { scaleColumns } = BLOCK_FORMATS[w.dtype as BlockDtype];
    const [blocks, columns] = x.shape.slice(-2) as [number, number];
    requireShape(columns === scaleColumns, "block_linear", `${w.dtype} has scales of ${scaleColumns}`, inputs);
    const inner = blocks * columns;
    requireShape(inner === w.shape[1], "block_linear", `inner dimensions differ: ${inner} and ${w.shape[1]}`, inputs);
    requireShape(elementCount(x.shape) > 0 && w.shape[0]! > 0, "block_linear", "empty tensors", inputs);
    return [{ dtype: "f32", shape: [...x.shape.slice(0, -2), w.shape[0]!] }];
  },
  evaluate([x, w], _attrs, [type]) {
    const [outputs, inner] = w!.type.shape as [number, number];
    const [left, right] = [hostValues(x!), hostValues(w!)];
    const data = new Float64Array(elementCount(type!.shape));
    for (let row = 0; row < rowCount(type!.shape); row++) {
      for (let output = 0; output < outputs; output++) {
        let sum = 0;
        for (let i = 0; i < inner; i++) sum += left[row * inner + i]! * right[output * inner + i]!;
        data[row * outputs + output] = sum;
      }
    }
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp({ inputs: [, w], results: [y] }, [dx]) {
      const rows = reshape(dx as Tensor<Shape, "f32">, [rowCount(y!.shape), w!.shape[1]!]);
      return [reshape(matmul(rows, dequantize(w as Tensor<Shape, BlockDtype>), { transposeB: true }), y!.shape)];
    },
  },
  lowering: { kind: "kernel", lower: lowerBlockLinear },
  sample(draw) {
    const dtype = draw.pick(BLOCK_DTYPES);
    const { blockColumns, scaleColumns } = BLOCK_FORMATS[dtype];
    const inner = blockColumns * draw.int(1, blockColumns === 32 ? 9 : 2);
    const rows = draw.pick([[], [draw.int(1, 19)], [2, 3]]);
    const x: TensorType = { dtype: "q8", shape: [...rows, inner / scaleColumns, scaleColumns] };
    return { inputs: [x, { dtype, shape: [draw.int(1, 37), inner] }], attrs: {} };
  },
};

const TAKES = "takes q8 activations [..., blocks, columns of a block] and a matrix of blocks";

/** The result's shape: the last dim of the activations `X` gives way to the outputs of the weights `W`. */
export type BlockLinearShape<X extends Shape, W extends Shape> = number extends X["length"] | W["length"]
  ? Shape
  : X extends readonly [...infer Rows extends Shape, infer Inner extends Dim]
    ? W extends readonly [infer Outputs extends Dim, infer K extends Dim]
      ? [SameDim<Inner, K>] extends [never]
        ? ShapeError<`blockLinear: inner dimensions differ: ${Inner} and ${K}`>
        : readonly [...Rows, Outputs]
      : ShapeError<`blockLinear: ${ShowShape<W>} is not a matrix`>
    : ShapeError<"blockLinear: the activations have no axes">;

/**
 * Activations `x` [..., k], rounded to int8 codes with a scale for each of the weights' blocks, times weights `w`
 * [n, k] of blocks: [..., n]. For a product that rounds nothing, `matmul` with `dequantize(w)`.
 * @throws ShapeMismatchError when dtypes or inner dimensions do not fit.
 */
export function blockLinear<X extends Shape, W extends Shape>(
  x: Tensor<X, "f32">,
  w: Checked<BlockLinearShape<X, W>, Tensor<W, BlockDtype>>,
): Tensor<BlockLinearShape<X, W>, "f32"> {
  const weights = w as Tensor<Shape, BlockDtype>;
  const y = emitOne(blockLinearOp, [blockActivations(x as Tensor<Shape, "f32">, weights), weights], {});
  return y as unknown as Tensor<BlockLinearShape<X, W>, "f32">;
}

/** Activations [..., k] as weights of blocks meet them: q8 [..., blocks, columns of a block]. */
export function blockActivations(x: Tensor<Shape, "f32">, w: Tensor<Shape, BlockDtype>): Tensor<Shape, "q8"> {
  const inner = x.shape[x.rank - 1];
  const fits = isBlocked(w.dtype) && w.rank === 2 && inner === w.shape[1];
  requireShape(fits, "block_linear", "takes f32 [..., k] and a matrix of blocks [n, k]", [x.type, w.type]);
  const { scaleColumns } = BLOCK_FORMATS[w.dtype];
  return quantizeActivations(reshape(x, [...x.shape.slice(0, -1), inner! / scaleColumns, scaleColumns]));
}

// dequantize: the real numbers that a packed tensor stands for, code times scale, as float32.
// Its derivative is the identity: tangents of packed tensors are already float32 tensors of the values. Those of blocks
// have none.

import type { Shape } from "@fidelity/units";
import { BLOCK_DTYPES, isBlocked, isPacked } from "../dtype.ts";
import type { BlockDtype, TernaryDtype } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne } from "../graph.ts";
import { hostValues } from "../host.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { BLOCK_FORMATS } from "../storage.ts";
import type { NoAttrs } from "./elementwise.ts";
import { sampleShape } from "./elementwise.ts";
import { lowerDequantize } from "./kernels/dequantize.ts";

export const dequantizeOp: OpDef<NoAttrs> = {
  name: "dequantize",
  summary: "y = code * scale",
  infer(inputs) {
    const x = inputs[0]!;
    requireShape(isPacked(x.dtype), "dequantize", `${x.dtype} is not packed`, inputs);
    requireWholeBlocks("dequantize", x, inputs);
    return [{ dtype: "f32", shape: x.shape }];
  },
  evaluate: ([x], _attrs, [type]) => [{ type: type!, data: hostValues(x!) }],
  derivative: { kind: "rules", jvp: (_node, [dx]) => [dx] },
  lowering: { kind: "kernel", lower: lowerDequantize },
  sample(draw) {
    const k = draw.int(1, 70);
    const dtype = draw.pick(["q8", "ternary", "ternary5", ...BLOCK_DTYPES] as const);
    if (isBlocked(dtype)) {
      return {
        inputs: [{ dtype, shape: [draw.int(1, 19), BLOCK_FORMATS[dtype].blockColumns * draw.int(1, 3)] }],
        attrs: {},
      };
    }
    if (dtype !== "q8") return { inputs: [{ dtype, shape: [draw.int(1, 37), k] }], attrs: {} };
    return { inputs: [{ dtype: "q8", shape: [...sampleShape(draw).slice(0, 2), k] }], attrs: {} };
  },
};

/** Kernels take rows of whole blocks, as files have them. Throws `ShapeMismatchError`. */
export function requireWholeBlocks(op: string, { dtype, shape }: TensorType, inputs: readonly TensorType[]): void {
  if (!isBlocked(dtype)) return;
  const { blockColumns } = BLOCK_FORMATS[dtype];
  requireShape((shape.at(-1) ?? 1) % blockColumns === 0, op, `rows of ${dtype} are blocks of ${blockColumns}`, inputs);
}

/** The float32 values of a packed tensor. */
export function dequantize<S extends Shape>(
  x: Tensor<S, "q8"> | Tensor<S, TernaryDtype> | Tensor<S, BlockDtype>,
): Tensor<S, "f32"> {
  return emitOne(dequantizeOp, [x], {}) as unknown as Tensor<S, "f32">;
}

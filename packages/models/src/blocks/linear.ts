// A dense linear layer. The weight is [outputs, inputs], as model files keep it, in float32 or a narrow dtype. Weights
// of blocks meet activations that are rounded to 8 bits, as in llama.cpp (block_linear); all others meet them as they
// are.

import type { BlockDtype, HalfDtype, Tensor } from "@fidelity/core";
import { add, blockLinear, isBlocked, matmul } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { NarrowSpec, ParameterSpec, TensorsOf } from "../parameters.ts";
import { channels, matrix, narrow } from "../parameters.ts";

export type LinearParameters = {
  readonly weight: NarrowSpec<"dense">;
  readonly bias?: ParameterSpec<"norm">;
};

/** @param std standard deviation of the first weights */
export function linearParameters(outputs: number, inputs: number, std?: number, bias = false): LinearParameters {
  return { weight: narrow(matrix("dense", outputs, inputs, std)), ...(bias && { bias: channels([outputs]) }) };
}

/** `x` [..., inputs] times the weight, plus the bias if there is one: [..., outputs]. */
export function linear({ weight, bias }: TensorsOf<LinearParameters>, x: Tensor<Shape, "f32">): Tensor<Shape, "f32"> {
  const product = isBlocked(weight.dtype)
    ? blockLinear(x, weight as Tensor<Shape, BlockDtype>)
    : matmul(x, weight as Tensor<Shape, "f32" | HalfDtype>, { transposeB: true });
  return bias === undefined ? product : add(product, bias);
}

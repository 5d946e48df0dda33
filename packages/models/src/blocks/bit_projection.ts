// A projection of the MatMul-free language model: BitLinear, or the dense layer that it is compared with.

import type { Tensor } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { TensorsOf } from "../parameters.ts";
import type { BitLinearParameters } from "./bit_linear.ts";
import { bitLinear, bitLinearParameters } from "./bit_linear.ts";
import type { LinearParameters } from "./linear.ts";
import { linear, linearParameters } from "./linear.ts";
import type { WeightKind } from "./projection.ts";

export type BitProjectionParameters = BitLinearParameters | LinearParameters;

/**
 * @param std standard deviation of the first weights
 * @param hasGain whether the normalisation inside a ternary one has a gain
 */
export function bitProjectionParameters(
  kind: WeightKind,
  outputs: number,
  inputs: number,
  std?: number,
  hasGain = false,
): BitProjectionParameters {
  return kind === "dense" ? linearParameters(outputs, inputs, std) : bitLinearParameters(outputs, inputs, std, hasGain);
}

/** `x` [..., inputs] times the weight: [..., outputs]. `epsilon` is that of the normalisation inside a ternary one. */
export function bitProjection(
  kind: WeightKind,
  parameters: TensorsOf<BitProjectionParameters>,
  x: Tensor<Shape, "f32">,
  epsilon?: number,
): Tensor<Shape, "f32"> {
  return kind === "ternary"
    ? bitLinear(parameters as TensorsOf<BitLinearParameters>, x, epsilon)
    : linear(parameters as TensorsOf<LinearParameters>, x);
}

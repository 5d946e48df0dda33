// BitLinear (Zhu et al. 2024, arXiv 2406.02528, algorithm 1): RMSNorm, activations to int8 by the largest magnitude of
// each token, weights to -1, 0 and 1 by their mean magnitude, and an exact integer product.
//
// The RMSNorm needs no gain: the norm before each block has one, and without a second one the projections that read the
// same input share one normalisation and one quantisation, because equal nodes of a graph are one node. The released
// code gives each projection a gain of its own, which is for its files.

import type { Tensor, TernaryDtype } from "@fidelity/core";
import { isTernary, quantizeActivations, rmsNorm, ternarize, ternaryLinear } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { ParameterSpec, TensorsOf } from "../parameters.ts";
import { matrix } from "../parameters.ts";
import type { NormParameters } from "./norm.ts";
import { norm, normParameters } from "./norm.ts";

/** Epsilon of the normalisation inside, as in the plain form of the released code. */
export const BIT_LINEAR_EPSILON = 1e-8;

export type BitLinearParameters = {
  readonly weight: ParameterSpec<"ternary">;
  /** The gain of the normalisation inside. */
  readonly norm?: NormParameters;
};

/** @param hasGain whether the normalisation inside has a gain */
export function bitLinearParameters(
  outputs: number,
  inputs: number,
  std?: number,
  hasGain = false,
): BitLinearParameters {
  return { weight: matrix("ternary", outputs, inputs, std), ...(hasGain && { norm: normParameters(inputs) }) };
}

/**
 * `x` [..., inputs] times the ternary weight: [..., outputs]. A float32 weight is ternarised here, with gradients that
 * pass straight through; a packed one is used as it is. Both give the same numbers.
 */
export function bitLinear(
  { weight, norm: gain }: TensorsOf<BitLinearParameters>,
  x: Tensor<Shape, "f32">,
  epsilon: number = BIT_LINEAR_EPSILON,
): Tensor<Shape, "f32"> {
  return ternaryProduct({ weight }, gain === undefined ? rmsNorm(x, { epsilon }) : norm(gain, x, epsilon));
}

/** The same without the normalisation, for `x` that a norm has just left. */
export function ternaryProduct(
  { weight }: { readonly weight: Tensor<Shape, "f32" | TernaryDtype> },
  x: Tensor<Shape, "f32">,
): Tensor<Shape, "f32"> {
  const packed = isPacked(weight) ? weight : ternarize(weight as Tensor<MatrixShape, "f32">);
  return ternaryLinear(quantizeActivations(x), packed);
}

type MatrixShape = readonly [number, number];

function isPacked(weight: Tensor): weight is Tensor<MatrixShape, TernaryDtype> {
  return isTernary(weight.dtype);
}

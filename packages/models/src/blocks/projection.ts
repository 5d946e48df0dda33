// A linear layer whose weights are dense or ternary, as the configuration of its model says. Ternary ones are those of
// BitNet b1.58 (Ma et al. 2024, arXiv 2402.17764): int8 activations, weights of -1, 0 and 1 with one scale. The norm in
// front of it is the model's.

import type { Tensor } from "@fidelity/core";
import { add } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { ParameterSpec, TensorsOf } from "../parameters.ts";
import { channels, matrix, narrow } from "../parameters.ts";
import { ternaryProduct } from "./bit_linear.ts";
import type { LinearParameters } from "./linear.ts";
import { linear } from "./linear.ts";

/** What the weights of a model's projections are. */
export type WeightKind = "dense" | "ternary";

export type ProjectionParameters = {
  readonly weight: ParameterSpec<WeightKind>;
  readonly bias?: ParameterSpec<"norm">;
};

/** @param std standard deviation of the first weights */
export function projectionParameters(
  kind: WeightKind,
  outputs: number,
  inputs: number,
  std?: number,
  bias = false,
): ProjectionParameters {
  const weight = matrix(kind, outputs, inputs, std);
  return { weight: kind === "dense" ? narrow(weight) : weight, ...(bias && { bias: channels([outputs]) }) };
}

/** `x` [..., inputs] times the weight, plus the bias if there is one: [..., outputs]. */
export function project(
  kind: WeightKind,
  parameters: TensorsOf<ProjectionParameters>,
  x: Tensor<Shape, "f32">,
): Tensor<Shape, "f32"> {
  if (kind === "dense") return linear(parameters as TensorsOf<LinearParameters>, x);
  const product = ternaryProduct(parameters, x);
  return parameters.bias === undefined ? product : add(product, parameters.bias);
}

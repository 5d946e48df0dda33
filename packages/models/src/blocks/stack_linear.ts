// The linear layers of stacks, dense or BitLinear (Zhu et al. 2024, arXiv 2406.02528) as the configuration says: one
// definition trains both. BitLinear normalises what it reads, so that every projection of a mixer may be ternary, those
// inside it as well.

import type { Tensor } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { ParameterSpec, TensorsOf } from "../parameters.ts";
import { matrix, narrow } from "../parameters.ts";
import type { BitLinearParameters } from "./bit_linear.ts";
import { bitLinear } from "./bit_linear.ts";
import type { LinearParameters } from "./linear.ts";
import { linear } from "./linear.ts";
import type { WeightKind } from "./projection.ts";

export type StackLinearParameters = { readonly weight: ParameterSpec<WeightKind> };

export function stackLinearParameters(
  kind: WeightKind,
  outputs: number,
  inputs: number,
  std?: number,
): StackLinearParameters {
  const weight = matrix(kind, outputs, inputs, std);
  return { weight: kind === "dense" ? narrow(weight) : weight };
}

/** `x` [batch, time, inputs] times the weight: [batch, time, outputs]. */
export function stackLinear(
  kind: WeightKind,
  parameters: TensorsOf<StackLinearParameters>,
  x: Tensor<Shape, "f32">,
): Tensor<Shape, "f32"> {
  return kind === "ternary"
    ? bitLinear(parameters as TensorsOf<BitLinearParameters>, x)
    : linear(parameters as TensorsOf<LinearParameters>, x);
}

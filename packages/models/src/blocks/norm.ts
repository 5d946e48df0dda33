// RMSNorm with a gain a channel (Zhang and Sennrich 2019, arXiv 1910.07467).

import type { Tensor } from "@fidelity/core";
import { rmsNorm } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { ParameterSpec, TensorsOf } from "../parameters.ts";
import { gain } from "../parameters.ts";

export type NormParameters = { readonly weight: ParameterSpec<"norm"> };

export function normParameters(dim: number): NormParameters {
  return { weight: gain(dim) };
}

/** `x` [..., dim] over its root mean square, times the gain. */
export function norm(
  { weight }: TensorsOf<NormParameters>,
  x: Tensor<Shape, "f32">,
  epsilon: number,
): Tensor<Shape, "f32"> {
  return rmsNorm(x, { weight: weight as Tensor<readonly [number], "f32">, epsilon });
}

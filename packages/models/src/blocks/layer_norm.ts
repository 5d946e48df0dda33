// LayerNorm with a gain and a bias a channel (Ba et al. 2016, arXiv 1607.06450).

import type { Tensor } from "@fidelity/core";
import { layerNorm as normalise } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { ParameterSpec, TensorsOf } from "../parameters.ts";
import { channels, gain } from "../parameters.ts";

export type LayerNormParameters = { readonly weight: ParameterSpec<"norm">; readonly bias: ParameterSpec<"norm"> };

export function layerNormParameters(dim: number): LayerNormParameters {
  return { weight: gain(dim), bias: channels([dim]) };
}

/** `x` [..., dim] with mean 0 and variance 1, times the gain, plus the bias. */
export function layerNorm(
  { weight, bias }: TensorsOf<LayerNormParameters>,
  x: Tensor<Shape, "f32">,
  epsilon: number,
): Tensor<Shape, "f32"> {
  return normalise(x, { weight, bias, epsilon });
}

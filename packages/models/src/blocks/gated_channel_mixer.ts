// The channel mixer of the MatMul-free language model (Zhu et al. 2024, arXiv 2406.02528, section 3.3.2): a gated
// linear unit (Dauphin et al. 2017; Shazeer 2020, arXiv 2002.05202) of ternary projections, W_d (SiLU(W_g x) W_u x).

import type { Tensor } from "@fidelity/core";
import { mul, silu } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { TensorsOf } from "../parameters.ts";
import type { BitLinearParameters } from "./bit_linear.ts";
import { bitLinear, bitLinearParameters } from "./bit_linear.ts";

export type GatedChannelMixerParameters = {
  readonly gate: BitLinearParameters;
  readonly up: BitLinearParameters;
  readonly down: BitLinearParameters;
};

/** @param downStd standard deviation of the first weights of the projection to the residual stream */
export function gatedChannelMixerParameters(
  dim: number,
  hiddenDim: number,
  downStd: number,
): GatedChannelMixerParameters {
  return {
    gate: bitLinearParameters(hiddenDim, dim),
    up: bitLinearParameters(hiddenDim, dim),
    down: bitLinearParameters(dim, hiddenDim, downStd),
  };
}

/** `x` [batch, time, dim] mixed along its channels. */
export function gatedChannelMixer(
  { gate, up, down }: TensorsOf<GatedChannelMixerParameters>,
  x: Tensor<Shape, "f32">,
): Tensor<Shape, "f32"> {
  return bitLinear(down, mul(silu(bitLinear(gate, x)), bitLinear(up, x)));
}

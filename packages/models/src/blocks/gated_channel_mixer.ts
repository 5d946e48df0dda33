// The channel mixer of the MatMul-free language model (Zhu et al. 2024, arXiv 2406.02528, section 3.3.2): a gated
// linear unit (Dauphin et al. 2017; Shazeer 2020, arXiv 2002.05202) of ternary projections, W_d (SiLU(W_g x) W_u x). In
// the released files W_g and W_u are one matrix, whose entries share one scale.

import type { Tensor } from "@fidelity/core";
import { mul, silu } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { TensorsOf } from "../parameters.ts";
import type { BitLinearParameters } from "./bit_linear.ts";
import { bitLinear, bitLinearParameters } from "./bit_linear.ts";
import { splitLast } from "./token_mixer.ts";

export type GatedChannelMixerParameters = {
  readonly gate: BitLinearParameters;
  /** Absent where `gate` holds both, one above the other. */
  readonly up?: BitLinearParameters;
  readonly down: BitLinearParameters;
};

/**
 * @param downStd standard deviation of the first weights of the projection to the residual stream
 * @param released whether projections have gains, and W_g and W_u are one matrix
 */
export function gatedChannelMixerParameters(
  dim: number,
  hiddenDim: number,
  downStd: number,
  released = false,
): GatedChannelMixerParameters {
  const down = bitLinearParameters(dim, hiddenDim, downStd, released);
  if (released) return { gate: bitLinearParameters(2 * hiddenDim, dim, undefined, true), down };
  return { gate: bitLinearParameters(hiddenDim, dim), up: bitLinearParameters(hiddenDim, dim), down };
}

/** `x` [batch, time, dim] mixed along its channels. */
export function gatedChannelMixer(
  { gate, up, down }: TensorsOf<GatedChannelMixerParameters>,
  x: Tensor<Shape, "f32">,
  epsilon?: number,
): Tensor<Shape, "f32"> {
  const gated = bitLinear(gate, x, epsilon);
  const hiddenDim = gated.shape[2] / 2;
  const [opened, values] =
    up === undefined ? splitLast(gated, [hiddenDim, hiddenDim]) : [gated, bitLinear(up, x, epsilon)];
  return bitLinear(down, mul(silu(opened), values), epsilon);
}

// The channel mixer of the MatMul-free language model (Zhu et al. 2024, arXiv 2406.02528, section 3.3.2): a gated
// linear unit (Dauphin et al. 2017; Shazeer 2020, arXiv 2002.05202) of ternary projections, W_d (SiLU(W_g x) W_u x). In
// the released files W_g and W_u are one matrix, whose entries share one scale.

import type { Tensor } from "@fidelity/core";
import { mul, silu } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { TensorsOf } from "../parameters.ts";
import type { BitProjectionParameters } from "./bit_projection.ts";
import { bitProjection, bitProjectionParameters } from "./bit_projection.ts";
import type { WeightKind } from "./projection.ts";
import { splitLast } from "./token_mixer.ts";

export type GatedChannelMixerParameters = {
  readonly gate: BitProjectionParameters;
  /** Absent where `gate` holds both, one above the other. */
  readonly up?: BitProjectionParameters;
  readonly down: BitProjectionParameters;
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
  weights: WeightKind = "ternary",
): GatedChannelMixerParameters {
  const projection = (outputs: number, inputs: number, std?: number): BitProjectionParameters =>
    bitProjectionParameters(weights, outputs, inputs, std, released);
  const down = projection(dim, hiddenDim, downStd);
  if (released) return { gate: projection(2 * hiddenDim, dim), down };
  return { gate: projection(hiddenDim, dim), up: projection(hiddenDim, dim), down };
}

/** `x` [batch, time, dim] mixed along its channels. */
export function gatedChannelMixer(
  { gate, up, down }: TensorsOf<GatedChannelMixerParameters>,
  x: Tensor<Shape, "f32">,
  epsilon?: number,
  weights: WeightKind = "ternary",
): Tensor<Shape, "f32"> {
  const project = (parameters: TensorsOf<BitProjectionParameters>, from: Tensor<Shape, "f32">): Tensor<Shape, "f32"> =>
    bitProjection(weights, parameters, from, epsilon);
  const gated = project(gate, x);
  const hiddenDim = gated.shape[2] / 2;
  const [opened, values] = up === undefined ? splitLast(gated, [hiddenDim, hiddenDim]) : [gated, project(up, x)];
  return project(down, mul(silu(opened), values));
}

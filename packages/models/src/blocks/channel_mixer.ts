// The channel mixer of stacks, a gated linear unit with SiLU (Shazeer 2020, arXiv 2002.05202) whose projections are
// dense (then it is SwiGLU) or ternary (then it is that of the MatMul-free language model): W_d (SiLU(W_g x) W_u x).

import type { Tensor } from "@fidelity/core";
import { mul, silu } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { TensorsOf } from "../parameters.ts";
import type { WeightKind } from "./projection.ts";
import type { StackLinearParameters } from "./stack_linear.ts";
import { stackLinear, stackLinearParameters } from "./stack_linear.ts";

export type ChannelMixerParameters = {
  readonly gate: StackLinearParameters;
  readonly up: StackLinearParameters;
  readonly down: StackLinearParameters;
};

/** @param downStd standard deviation of the first weights of the projection to the residual stream */
export function channelMixerParameters(
  { dim, hiddenDim, weights }: { readonly dim: number; readonly hiddenDim: number; readonly weights: WeightKind },
  downStd: number,
): ChannelMixerParameters {
  return {
    gate: stackLinearParameters(weights, hiddenDim, dim),
    up: stackLinearParameters(weights, hiddenDim, dim),
    down: stackLinearParameters(weights, dim, hiddenDim, downStd),
  };
}

/** `x` [batch, time, dim] mixed along its channels. */
export function channelMixer(
  { gate, up, down }: TensorsOf<ChannelMixerParameters>,
  x: Tensor<Shape, "f32">,
  weights: WeightKind,
): Tensor<Shape, "f32"> {
  return stackLinear(weights, down, mul(silu(stackLinear(weights, gate, x)), stackLinear(weights, up, x)));
}

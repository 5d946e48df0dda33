// The feed-forward layers of transformers: a gated linear unit (Shazeer 2020, arXiv 2002.05202), W_d (f(W_g x) W_u x),
// which with SiLU is SwiGLU and with GELU GeGLU; BitNet b1.58 normalises what W_d reads.

import type { Tensor } from "@fidelity/core";
import { mul } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { TensorsOf } from "../parameters.ts";
import type { Activation } from "./activation.ts";
import { activate } from "./activation.ts";
import type { NormParameters } from "./norm.ts";
import { norm, normParameters } from "./norm.ts";
import type { ProjectionParameters, WeightKind } from "./projection.ts";
import { project, projectionParameters } from "./projection.ts";

export type GatedFeedForwardParameters = {
  readonly gate: ProjectionParameters;
  readonly up: ProjectionParameters;
  /** Over the hidden channels, before `down`. */
  readonly subNorm?: NormParameters;
  readonly down: ProjectionParameters;
};

/** What a gated feed-forward layer is made of. */
export interface GatedFeedForwardSizes {
  readonly dim: number;
  readonly hiddenDim: number;
  readonly weights: WeightKind;
  readonly activation: Activation;
  readonly normEpsilon: number;
  readonly feedForwardBias: boolean;
  readonly subNorms: boolean;
}

/** @param downStd standard deviation of the first weights of the projection to the residual stream */
export function gatedFeedForwardParameters(
  { dim, hiddenDim, weights, feedForwardBias: bias, subNorms }: GatedFeedForwardSizes,
  downStd: number,
): GatedFeedForwardParameters {
  return {
    gate: projectionParameters(weights, hiddenDim, dim, undefined, bias),
    up: projectionParameters(weights, hiddenDim, dim, undefined, bias),
    ...(subNorms && { subNorm: normParameters(hiddenDim) }),
    down: projectionParameters(weights, dim, hiddenDim, downStd, bias),
  };
}

/** `x` [batch, time, dim] mixed along its channels. */
export function gatedFeedForward(
  { gate, up, subNorm, down }: TensorsOf<GatedFeedForwardParameters>,
  x: Tensor<Shape, "f32">,
  { weights, activation, normEpsilon }: GatedFeedForwardSizes,
): Tensor<Shape, "f32"> {
  const hidden = mul(activate(activation, project(weights, gate, x)), project(weights, up, x));
  return project(weights, down, subNorm === undefined ? hidden : norm(subNorm, hidden, normEpsilon));
}

// The feed-forward layer of Llama: a gated linear unit with SiLU (Shazeer 2020, arXiv 2002.05202),
// W_d (SiLU(W_g x) W_u x).

import type { Tensor } from "@fidelity/core";
import { mul, silu } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { TensorsOf } from "../parameters.ts";
import type { LinearParameters } from "./linear.ts";
import { linear, linearParameters } from "./linear.ts";

export type SwigluParameters = {
  readonly gate: LinearParameters;
  readonly up: LinearParameters;
  readonly down: LinearParameters;
};

/** @param downStd standard deviation of the first weights of the projection to the residual stream */
export function swigluParameters(dim: number, hiddenDim: number, downStd: number): SwigluParameters {
  return {
    gate: linearParameters(hiddenDim, dim),
    up: linearParameters(hiddenDim, dim),
    down: linearParameters(dim, hiddenDim, downStd),
  };
}

/** `x` [batch, time, dim] mixed along its channels. */
export function swiglu({ gate, up, down }: TensorsOf<SwigluParameters>, x: Tensor<Shape, "f32">): Tensor<Shape, "f32"> {
  return linear(down, mul(silu(linear(gate, x)), linear(up, x)));
}

// MLGRU, the MatMul-free token mixer (Zhu et al. 2024, arXiv 2406.02528, section 3.3, as in their released code): a
// gated linear recurrence whose gates read the input alone, so that a whole sequence runs as one scan.
//   f = lower + (1 - lower) sigmoid(W_f x),  c = SiLU(W_c x),  h_t = f_t h_{t-1} + (1 - f_t) c_t
//   o = W_o (RMSNorm(W_g x) SiLU(h))
// The lower bound of the forget gate is learned and rises with depth, so that higher layers remember longer (HGRN, Qin
// et al. 2023, arXiv 2311.04823, equation 5); the first layer has none.
//
// With dense weights it is the same mixer without the quantisation, for comparisons.
//
// Leaves out: the short convolution and the expansion of the state that the released code offers and does not use.

import type { Tensor } from "@fidelity/core";
import {
  add,
  div,
  exp,
  linearRecurrence,
  mul,
  reduceMax,
  reduceSum,
  reshape,
  sigmoid,
  silu,
  slice,
  stopGradient,
  sub,
} from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { ParameterSpec, TensorsOf } from "../parameters.ts";
import type { BitProjectionParameters } from "./bit_projection.ts";
import { bitProjection, bitProjectionParameters } from "./bit_projection.ts";
import type { NormParameters } from "./norm.ts";
import { norm, normParameters } from "./norm.ts";
import type { WeightKind } from "./projection.ts";

export type MlgruParameters = {
  readonly forget: BitProjectionParameters;
  readonly candidate: BitProjectionParameters;
  readonly gate: BitProjectionParameters;
  readonly gateNorm: NormParameters;
  readonly output: BitProjectionParameters;
};

/**
 * @param outputStd standard deviation of the first weights of the projection to the residual stream
 * @param hasGains whether each projection normalises its input with a gain of its own
 */
export function mlgruParameters(
  dim: number,
  outputStd: number,
  hasGains = false,
  weights: WeightKind = "ternary",
): MlgruParameters {
  const projection = (std?: number): BitProjectionParameters =>
    bitProjectionParameters(weights, dim, dim, std, hasGains);
  return {
    forget: projection(),
    candidate: projection(),
    gate: projection(),
    gateNorm: normParameters(dim),
    output: projection(outputStd),
  };
}

/** What an MLGRU gets besides its parameters and its input. */
export interface MlgruContext {
  /** Least value of the forget gate a channel, [1, dim]; 0 where absent. */
  readonly lowerBound: Tensor<Shape, "f32"> | undefined;
  /** h before the first token, [batch, dim]; zeros where absent. */
  readonly hidden: Tensor<Shape, "f32"> | undefined;
  readonly normEpsilon: number;
  /** Epsilon of the normalisations inside ternary projections; 1e-8 where absent. */
  readonly projectionEpsilon?: number;
  /** Ternary where absent. */
  readonly weights?: WeightKind;
}

/** `x` [batch, time, dim] mixed along time, and h after the last token, [batch, dim]. */
export function mlgru(
  parameters: TensorsOf<MlgruParameters>,
  x: Tensor<Shape, "f32">,
  { lowerBound, hidden, normEpsilon, projectionEpsilon, weights = "ternary" }: MlgruContext,
): { readonly output: Tensor<Shape, "f32">; readonly hidden: Tensor<Shape, "f32"> } {
  const project = (to: "forget" | "candidate" | "gate"): Tensor<Shape, "f32"> =>
    bitProjection(weights, parameters[to], x, projectionEpsilon);
  const open = sigmoid(project("forget"));
  const forget = lowerBound === undefined ? open : add(lowerBound, mul(sub(1, lowerBound), open));
  const input = mul(silu(project("candidate")), sub(1, forget));
  const states = linearRecurrence(forget, input, hidden); // [batch, time, dim]
  const gate = norm(parameters.gateNorm, project("gate"), normEpsilon);
  const output = bitProjection(weights, parameters.output, mul(gate, silu(states)), projectionEpsilon);
  const [batch, time, dim] = states.shape;
  return { output, hidden: reshape(slice(states, [0, time - 1, 0], [batch, time, dim]), [batch, dim]) };
}

/** Where the lower bounds of all layers come from, [layers, dim]; zeros give each layer an equal step. */
export function lowerBoundParameters(layerCount: number, dim: number): ParameterSpec<"norm"> {
  return { dtype: "f32", shape: [layerCount, dim], init: { kind: "zeros" }, role: "norm" };
}

/**
 * The lower bound of each layer, [1, dim], from their parameter [layers, dim]: with p the softmax along the layers, the
 * bound of layer l is p_1 + ... + p_l, which is above 0, below 1 and rises with l. Layer 0 has none.
 */
export function lowerBounds(parameter: Tensor<Shape, "f32">): readonly (Tensor<Shape, "f32"> | undefined)[] {
  const [layerCount, dim] = parameter.shape;
  const weights = exp(sub(parameter, stopGradient(reduceMax(parameter, [0], true))));
  const steps = div(weights, reduceSum(weights, [0], true));
  const bounds: (Tensor<Shape, "f32"> | undefined)[] = [undefined];
  for (let layer = 1; layer < layerCount; layer++) {
    const step: Tensor<Shape, "f32"> = slice(steps, [layer, 0], [layer + 1, dim]);
    const below = bounds[layer - 1];
    bounds.push(below === undefined ? step : add(below, step));
  }
  return bounds;
}

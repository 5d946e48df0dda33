// What follows a state space in S4D and S5: GELU, and a gated linear unit (Dauphin et al. 2017, arXiv 1612.08083) back
// to the width of the residual stream: a sigmoid(b), with a and b = W GELU(y).

import { gelu, mul, sigmoid } from "@fidelity/core";
import type { TensorsOf } from "../parameters.ts";
import type { WeightKind } from "./projection.ts";
import type { StackLinearParameters } from "./stack_linear.ts";
import { stackLinear, stackLinearParameters } from "./stack_linear.ts";
import type { Floats } from "./token_mixer.ts";
import { splitLast } from "./token_mixer.ts";

/** @param std standard deviation of the first weights */
export function gatedOutputParameters(weights: WeightKind, dim: number, std: number): StackLinearParameters {
  return stackLinearParameters(weights, 2 * dim, dim, std);
}

/** `y` [batch, time, dim] to what the layer adds to the residual stream. */
export function gatedOutput(parameters: TensorsOf<StackLinearParameters>, y: Floats, weights: WeightKind): Floats {
  const dim = y.shape[y.rank - 1];
  const [value, gate] = splitLast(stackLinear(weights, parameters, gelu(y)), [dim, dim]);
  return mul(value, sigmoid(gate));
}

// A feed-forward layer with squared ReLU (So et al. 2021, arXiv 2109.08668), W_d relu(W_u x)^2, in the place of a
// mixer, as a layer of its own in Nemotron-H (arXiv 2504.03624). It mixes nothing along time and has no state.

import { relu, square } from "@fidelity/core";
import type { WeightKind } from "./projection.ts";
import type { StackLinearParameters } from "./stack_linear.ts";
import { stackLinear, stackLinearParameters } from "./stack_linear.ts";
import type { TokenMixer } from "./token_mixer.ts";
import { defineMixer } from "./token_mixer.ts";

type SquareNetworkParameters = { readonly up: StackLinearParameters; readonly down: StackLinearParameters };

/** @param outputStd standard deviation of the first weights of the projection to the residual stream */
export function squareNetwork(
  { dim, networkDim, weights }: { readonly dim: number; readonly networkDim: number; readonly weights: WeightKind },
  outputStd: number,
): TokenMixer {
  return defineMixer<SquareNetworkParameters, Readonly<Record<never, never>>>({
    parameters: {
      up: stackLinearParameters(weights, networkDim, dim),
      down: stackLinearParameters(weights, dim, networkDim, outputStd),
    },
    stateTypes: () => ({}),
    mix: ({ up, down }, x) => ({
      output: stackLinear(weights, down, square(relu(stackLinear(weights, up, x)))),
      state: {},
    }),
  });
}

// Where a layer of a model ends. Training that computes activations again in the backward pass keeps these values and
// nothing between them.

import type { Tensor } from "@fidelity/core";
import { checkpointName } from "@fidelity/core";
import type { Shape } from "@fidelity/units";

/** The name of the marks in a traced model. */
export const LAYER_END = "layer";

/** `x`, the residual stream between two layers, marked. */
export function layerEnd<S extends Shape>(x: Tensor<S, "f32">): Tensor<S, "f32"> {
  return checkpointName(x, LAYER_END);
}

// One vector of a whole text from those of its tokens (Reimers and Gurevych 2019, arXiv 1908.10084).

import type { Tensor } from "@fidelity/core";
import { mean, reshape, sliceAxis } from "@fidelity/core";
import type { Shape } from "@fidelity/units";

/** `vectors` [batch, time, dim] to [batch, dim]: their mean, or the first one. */
export function pool(vectors: Tensor<Shape, "f32">, pooling: "mean" | "first"): Tensor<Shape, "f32"> {
  const [batch, , dim] = vectors.shape;
  return pooling === "mean"
    ? (mean(vectors, [1]) as Tensor<Shape, "f32">)
    : (reshape(sliceAxis(vectors, 1, 0, 1), [batch, dim]) as Tensor<Shape, "f32">);
}

// The functions between the two halves of a feed-forward layer: SiLU (Elfwing et al. 2017, arXiv 1702.03118), GELU
// (Hendrycks and Gimpel 2016, arXiv 1606.08415) exactly and in its tanh form, and squared ReLU (So et al. 2021, arXiv
// 2109.08668).

import type { Tensor } from "@fidelity/core";
import { gelu, geluExact, relu, silu, square } from "@fidelity/core";
import type { Shape } from "@fidelity/units";

export type Activation = "silu" | "gelu" | "gelu-tanh" | "relu2";

export function activate(activation: Activation, x: Tensor<Shape, "f32">): Tensor<Shape, "f32"> {
  switch (activation) {
    case "silu":
      return silu(x);
    case "gelu":
      return geluExact(x);
    case "gelu-tanh":
      return gelu(x);
    case "relu2":
      return square(relu(x));
  }
}

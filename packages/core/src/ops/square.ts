// square: x x, written as a product so that everything known about mul applies.

import type { Shape } from "@fidelity/units";
import type { FloatDtype } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { mul } from "./mul.ts";

/** x squared, elementwise. */
export function square<S extends Shape, D extends FloatDtype>(x: Tensor<S, D>): Tensor<S, D> {
  return mul(x as Tensor, x as Tensor) as unknown as Tensor<S, D>;
}

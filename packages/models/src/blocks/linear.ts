// A dense linear layer without bias. The weight is [outputs, inputs], as model files keep it.

import type { Tensor } from "@fidelity/core";
import { matmul } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { ParameterSpec, TensorsOf } from "../parameters.ts";
import { matrix } from "../parameters.ts";

export type LinearParameters = { readonly weight: ParameterSpec<"dense"> };

export function linearParameters(outputs: number, inputs: number, std?: number): LinearParameters {
  return { weight: matrix("dense", outputs, inputs, std) };
}

/** `x` [batch, time, inputs] times the weight: [batch, time, outputs]. */
export function linear({ weight }: TensorsOf<LinearParameters>, x: Tensor<Shape, "f32">): Tensor<Shape, "f32"> {
  return matmul(x, weight, { transposeB: true });
}

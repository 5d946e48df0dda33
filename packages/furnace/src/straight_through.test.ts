// The straight-through estimator: quantising is seen as the identity by differentiation, so that gradients of a
// quantised forward pass, taken at the quantised values, reach the float32 weights and activations.

import { test } from "node:test";
import {
  interpret,
  mul,
  quantizeActivations,
  reduceSum,
  tensorType,
  ternarize,
  ternaryLinear,
  trace,
} from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { grad } from "./index.ts";
import { assertClose } from "./support.test.ts";

test("gradients of a ternary layer are those of the product of the quantised factors", () => {
  type Inputs = { readonly x: Tensor<readonly [2, 3], "f32">; readonly w: Tensor<readonly [2, 3], "f32"> };
  const loss = ({ x, w }: Inputs, weights: Tensor<readonly [2, 2], "f32">): Tensor => {
    return reduceSum(mul(ternaryLinear(quantizeActivations(x), ternarize(w)), weights));
  };
  const types = { x: tensorType("f32", [2, 3]), w: tensorType("f32", [2, 3]) };
  const slope = (inputs: { x: Tensor; w: Tensor }, weights: Tensor) => grad(loss)(inputs as Inputs, weights as never);
  const { graph } = trace("ste", slope, [types, tensorType("f32", [2, 2])]);
  // Each row of x is its own codes (largest magnitude 127, scale 1); the mean magnitude of w is 1, and so is its scale.
  const x = [127, -3, 40, 10, 127, -8];
  const w = [1.5, 0.25, -1.25, -0.75, 2, 0.25];
  const codes = [1, 0, -1, -1, 1, 0];
  const weights = [1, 2, 3, -1];
  const inputs = [x, w, weights].map((data, i) => ({ type: graph.parameters[i]!.type, data: Float64Array.from(data) }));
  const [slopeX, slopeW] = interpret(graph, inputs).map(({ data }) => Array.from(data));
  const product = (n: number, entry: (row: number, column: number) => number): number[] => {
    return Array.from({ length: n * 3 }, (_none, i) => entry(Math.floor(i / 3), i % 3));
  };
  assertClose(
    slopeX!,
    product(2, (r, c) => weights[2 * r]! * codes[c]! + weights[2 * r + 1]! * codes[3 + c]!),
    1e-6,
  );
  assertClose(
    slopeW!,
    product(2, (o, c) => weights[o]! * x[c]! + weights[2 + o]! * x[3 + c]!),
    1e-6,
  );
});

// The memory of a deep network's gradient, with and without a checkpoint a layer: the inner values of a layer are
// computed again when the backward pass comes to it. The compiler's plan tells the difference.
// Run it: node examples/derivatives/deep.ts

import { createDevice } from "@fidelity/alex/node";
import { matmul, mul, reduceSum, sigmoid, tanh, tensorType, trace } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { checkpoint, grad } from "@fidelity/furnace";

type Matrix = Tensor<readonly number[], "f32">;
const [LAYERS, ROWS, WIDTH] = [24, 256, 64];

const layer = (x: Matrix, w: Matrix): Matrix => {
  const y = matmul(x, w);
  return matmul(mul(tanh(y), sigmoid(y)), w) as Matrix;
};
const network =
  (apply: typeof layer) =>
  (weights: readonly Matrix[], x: Matrix): Tensor<readonly [], "f32"> =>
    reduceSum(weights.reduce((y, w) => apply(y, w), x));

const device = createDevice({ threads: 1 });
const weights = Array.from({ length: LAYERS }, () => tensorType("f32", [WIDTH, WIDTH]));
for (const [name, apply] of [
  ["every value kept", layer] as const,
  ["a checkpoint a layer", checkpoint(layer)] as const,
]) {
  const slope = (ws: readonly Matrix[], x: Matrix): unknown => grad(network(apply))(ws, x);
  const { graph } = trace("gradient", slope as never, [weights, tensorType("f32", [ROWS, WIDTH])]);
  const { arenaBytes } = await device.compile(graph);
  console.log(`${name}: ${(arenaBytes / 2 ** 20).toFixed(1)} MiB`);
}
await device.close();

// Output:
// every value kept: 9.0 MiB
// a checkpoint a layer: 1.8 MiB

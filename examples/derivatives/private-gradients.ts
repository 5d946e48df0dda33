// A gradient for every example, each clipped by its own norm before they are added, as private learning needs it
// (Abadi et al. 2016, arXiv 1607.00133): `vmap` of `grad`, instead of one backward pass an example.
// Run it: node examples/derivatives/private-gradients.ts

import { createInterpreter, div, jit, max, mean, mul, reduceSum, reshape, sqrt, square, sub } from "@fidelity/core";
import { tanh, tensorType } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { grad, vmap } from "@fidelity/furnace";

type Array32 = Tensor<readonly number[], "f32">;
const [EXAMPLES, COLUMNS] = [5, 3] as const;

const loss = (w: Array32, x: Array32, target: Array32): Array32 =>
  square(sub(tanh(reduceSum(mul(w, x))), target)) as Array32;

function clippedMean(w: Array32, xs: Tensor<readonly [5, 3], "f32">, targets: Tensor<readonly [5], "f32">) {
  const one = (x: Array32, target: Array32): Array32 => grad(loss as never)(w, x, target) as Array32;
  const each = vmap(one)(xs, targets) as Array32; // [examples, columns]
  const norms = sqrt(reduceSum(square(each), [1], true)) as Array32;
  return { norms: reshape(norms, [EXAMPLES]), gradient: mean(div(each, max(norms, 0.1)), [0]) };
}

const types = [
  tensorType("f32", [COLUMNS]),
  tensorType("f32", [EXAMPLES, COLUMNS]),
  tensorType("f32", [EXAMPLES]),
] as const;
const step = await jit(createInterpreter(), clippedMean, types);
const xs = Float32Array.from({ length: EXAMPLES * COLUMNS }, (_, i) => Math.cos(3 * i));
const { norms, gradient } = step([0.1, -0.2, 0.3], xs, [1, -1, 0.5, 0, 1]);
console.log("norms   ", [...norms].map((norm) => norm.toFixed(3)).join("  "));
console.log("gradient", [...gradient].map((value) => value.toFixed(4)).join("  "));

// Output:
// norms    1.164  1.268  0.360  0.042  1.138
// gradient -0.2547  0.2001  -0.1415

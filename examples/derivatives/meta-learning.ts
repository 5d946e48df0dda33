// Learning to learn (Finn, Abbeel, Levine 2017, arXiv 1703.03400): starting weights from which one gradient step on
// five points of a sine wave fits the whole wave. The gradient of the loss after that step goes through the step's
// gradient.
// Run it: node examples/derivatives/meta-learning.ts

import { add, createInterpreter, jit, matmul, mean, mul, square, sub, tanh, tensorType } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { grad, valueAndGrad, vmap } from "@fidelity/furnace";

type Array32 = Tensor<readonly number[], "f32">;
/** [tasks, points, 1]. */
type Batch = Tensor<readonly [8, 5, 1], "f32">;
interface Network {
  readonly w1: Array32;
  readonly b1: Array32;
  readonly w2: Array32;
}
const [HIDDEN, POINTS, TASKS] = [16, 5, 8] as const;
const [INNER_RATE, OUTER_RATE] = [0.1, 0.05];

const predict = ({ w1, b1, w2 }: Network, x: Array32): Array32 => matmul(tanh(add(matmul(x, w1), b1)), w2) as Array32;
const loss = (network: Network, x: Array32, y: Array32): Array32 =>
  mean(square(sub(predict(network, x), y))) as Array32;

const move = (network: Network, slope: Network, rate: number): Network => ({
  w1: sub(network.w1, mul(slope.w1, rate)),
  b1: sub(network.b1, mul(slope.b1, rate)),
  w2: sub(network.w2, mul(slope.w2, rate)),
});

/** The loss on the second half of each task, after one step on its first half; all tasks at once. */
function metaLoss(network: Network, x: Batch, y: Batch, xAfter: Batch, yAfter: Batch): Tensor<readonly [], "f32"> {
  const adapted = (x1: Array32, y1: Array32, x2: Array32, y2: Array32): Array32 => {
    const slope = grad(loss as never)(network, x1, y1) as Network;
    return loss(move(network, slope, INNER_RATE), x2, y2);
  };
  return mean(vmap(adapted)(x, y, xAfter, yAfter) as Array32);
}

function metaStep(network: Network, x: Batch, y: Batch, xAfter: Batch, yAfter: Batch) {
  const { value, grad: slope } = valueAndGrad(metaLoss)(network, x, y, xAfter, yAfter);
  return { value, network: move(network, slope as Network, OUTER_RATE) };
}

const batch = tensorType("f32", [TASKS, POINTS, 1]);
const networkType = {
  w1: tensorType("f32", [1, HIDDEN]),
  b1: tensorType("f32", [HIDDEN]),
  w2: tensorType("f32", [HIDDEN, 1]),
};
const step = await jit(createInterpreter(), metaStep, [networkType, batch, batch, batch, batch]);

let seed = 1;
const random = (low: number, high: number): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return low + ((high - low) * seed) / 2 ** 32;
};
const normal = (length: number): Float32Array => Float32Array.from({ length }, () => random(-1, 1));
let network = { w1: normal(HIDDEN), b1: normal(HIDDEN), w2: normal(HIDDEN) };
let recent = 0;
for (let i = 1; i <= 300; i++) {
  const waves = Array.from({ length: TASKS }, () => ({ height: random(0.5, 2), shift: random(0, Math.PI) }));
  const draw = () => Float32Array.from({ length: TASKS * POINTS }, () => random(-3, 3));
  const [x, xAfter] = [draw(), draw()];
  const sine = (xs: Float32Array): Float32Array =>
    xs.map((at, k) => waves[Math.floor(k / POINTS)]!.height * Math.sin(at + waves[Math.floor(k / POINTS)]!.shift));
  const next = step(network, x, sine(x), xAfter, sine(xAfter));
  network = next.network;
  recent += next.value / 100;
  if (i % 100 === 0) {
    console.log(`${i}  loss after one step ${recent.toFixed(3)}`);
    recent = 0;
  }
}

// Output:
// 100  loss after one step 0.415
// 200  loss after one step 0.254
// 300  loss after one step 0.242

// Training weights that are -1, 0 or 1: the forward pass rounds them, the backward pass lets gradients through to the
// float32 masters (straight-through), and a teacher with ternary weights is found exactly.
// Run it: node examples/derivatives/ternary.ts

import { createInterpreter, dequantize, jit, matmul, mean, square, sub, tensorType, ternarize } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { adamW, valueAndGrad } from "@fidelity/furnace";
import type { OptimizerState } from "@fidelity/furnace";

type Matrix = Tensor<readonly number[], "f32">;
const [OUTPUTS, INPUTS, ROWS] = [4, 6, 32];

const student = (w: Matrix, x: Matrix): Matrix => matmul(x, dequantize(ternarize(w)), { transposeB: true }) as Matrix;
const loss = (w: Matrix, x: Matrix, y: Matrix): Tensor<readonly [], "f32"> => mean(square(sub(student(w, x), y)));

const optimizer = adamW({ weightDecay: 0 });
const weightType = tensorType("f32", [OUTPUTS, INPUTS]);
function update(w: Matrix, state: OptimizerState<Matrix>, x: Matrix, y: Matrix, step: Tensor<readonly [], "f32">) {
  const { value, grad } = valueAndGrad(loss)(w, x, y);
  const rate = { learningRate: sub(step, sub(step, 0.02)), step };
  return { value, ...optimizer.update(w, grad, state, rate), codes: dequantize(ternarize(w)) };
}

const random = (i: number): number => Math.sin(i * 78.233 + 1) * 1.5;
const x = Float32Array.from({ length: ROWS * INPUTS }, (_, i) => random(i));
const teacher = Float32Array.from({ length: OUTPUTS * INPUTS }, (_, i) => Math.round(random(i + 500)) * 0.5);
const y = Float32Array.from({ length: ROWS * OUTPUTS }, (_, i) => {
  const [row, output] = [Math.floor(i / OUTPUTS), i % OUTPUTS];
  return teacher.subarray(output * INPUTS, (output + 1) * INPUTS).reduce((s, w, k) => s + w * x[row * INPUTS + k]!, 0);
});

const types = [weightType, optimizer.init(weightType), tensorType("f32", [ROWS, INPUTS])] as const;
const train = await jit(createInterpreter(), update, [
  ...types,
  tensorType("f32", [ROWS, OUTPUTS]),
  tensorType("f32", []),
]);
let w: ArrayLike<number> = Float32Array.from({ length: OUTPUTS * INPUTS }, (_, i) => 0.1 * random(i + 900));
let state: Readonly<Record<string, ArrayLike<number>>> = {
  first: new Float32Array(OUTPUTS * INPUTS),
  second: new Float32Array(OUTPUTS * INPUTS),
};
for (let i = 1; i <= 150; i++) {
  const next = train(w, state, x, y, i);
  [w, state] = [next.params, next.state];
  if (i % 50 === 0) {
    const agree = next.codes.reduce((n, code, k) => n + Number(Math.sign(code) === Math.sign(teacher[k]!)), 0);
    console.log(`${i}  loss ${next.value.toFixed(4)}, ${agree} of ${teacher.length} codes are the teacher's`);
  }
}

// Output:
// 50  loss 0.0961, 22 of 24 codes are the teacher's
// 100  loss 0.0001, 24 of 24 codes are the teacher's
// 150  loss 0.0000, 24 of 24 codes are the teacher's

// Logistic regression by Newton's method without a Hessian: conjugate gradients (Hestenes and Stiefel 1952) need it
// only times vectors, and `hvp` costs about two gradients. The loop is a `scan`, so the whole step is one program.
// Run it: node examples/derivatives/newton-cg.ts

import { add, createInterpreter, div, jit, matmul, mean, mul, reduceSum, reshape, scan } from "@fidelity/core";
import { softplus, square, sub, tensorType, zerosLike } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { hvp, valueAndGrad } from "@fidelity/furnace";

type Array64 = Tensor<readonly number[], "f64">;
const [ROWS, COLUMNS] = [200, 4];

/** Mean log-loss with a small penalty, for labels of -1 and 1. */
const lossOn =
  (x: Array64, labels: Array64) =>
  (w: Array64): Tensor<readonly [], "f64"> => {
    const scores = reshape(matmul(x, reshape(w, [COLUMNS, 1])), [ROWS]);
    return add(mean(softplus(mul(mul(scores, labels), -1))), mul(reduceSum(square(w)), 1e-3));
  };

/** Solves H step = gradient by as many conjugate gradient steps as there are unknowns. */
function newtonStep(w: Array64, x: Array64, labels: Array64) {
  const loss = lossOn(x, labels);
  const { value, grad } = valueAndGrad(loss)(w);
  const dot = (a: Array64, b: Array64): Array64 => reduceSum(mul(a, b)) as Array64;
  const start = { step: zerosLike(grad) as Array64, rest: grad as Array64, along: grad as Array64 };
  const { carry } = scan(
    ({ step, rest, along }: typeof start) => {
      const curved = hvp(loss)([w], along) as Array64;
      const length = div(dot(rest, rest), dot(along, curved)) as Array64;
      const left = sub(rest, mul(length, curved)) as Array64;
      const turned = add(left, mul(div(dot(left, left), dot(rest, rest)), along)) as Array64;
      return { carry: { step: add(step, mul(length, along)) as Array64, rest: left, along: turned }, y: [] };
    },
    start,
    [],
    { length: COLUMNS },
  );
  return { value, w: sub(w, carry.step) as Array64 };
}

// Points around a plane, some on the wrong side of it.
const random = (i: number): number => Math.sin(i * 12.9898) * 2;
const points = Float64Array.from({ length: ROWS * COLUMNS }, (_, i) => random(i + 1));
const labels = Float64Array.from({ length: ROWS }, (_, row) =>
  Math.sign(points[row * COLUMNS]! - 0.7 * points[row * COLUMNS + 2]! + 0.3 * random(row + 9000)),
);
const types = [tensorType("f64", [COLUMNS]), tensorType("f64", [ROWS, COLUMNS]), tensorType("f64", [ROWS])] as const;
const step = await jit(createInterpreter(), newtonStep, types);
let w: Float64Array = new Float64Array(COLUMNS);
for (let i = 0; i < 6; i++) {
  const next = step(w, points, labels);
  console.log(`${i}  loss ${next.value.toFixed(9)}`);
  w = next.w;
}

// Output:
// 0  loss 0.693147181
// 1  loss 0.278738521
// 2  loss 0.213440153
// 3  loss 0.196817401
// 4  loss 0.194621470
// 5  loss 0.194563532

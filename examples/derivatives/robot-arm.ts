// Inverse kinematics: which angles bring the hand of a planar arm with three joints to a point? Gauss and Newton ask
// for the Jacobian of the hand's place by the angles: three inputs, two results, so either mode will do.
// Run it: node examples/derivatives/robot-arm.ts

import { add, concat, cos, createInterpreter, jit, matmul, mul, reduceSum, reshape } from "@fidelity/core";
import { sin, slice, solve, sub, tensorType, transpose } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { jacrev } from "@fidelity/furnace";

type Vector = Tensor<readonly number[], "f64">;
const LENGTHS = [1, 0.8, 0.5];

/** The place [2] of the hand for joint angles [3], each relative to the link before. */
function hand(angles: Vector): Vector {
  const links = LENGTHS.map((length, i) => {
    const total = reduceSum(slice(angles, [0], [i + 1]), [0], true) as Vector;
    return mul(concat([cos(total), sin(total)], 0), length) as Vector;
  });
  return links.reduce((sum, link) => add(sum, link) as Vector);
}

/** One damped Gauss-Newton step: angles - J^T (J J^T + 0.01 I)^-1 (hand - goal). */
function approach(angles: Vector, goal: Vector, damping: Vector): { angles: Vector; error: Vector } {
  const error = sub(hand(angles), goal) as Vector;
  const jacobian = jacrev(hand)(angles) as Vector; // [2, 3]
  const normal = add(matmul(jacobian, transpose(jacobian)), damping) as Vector;
  const step = matmul(transpose(jacobian), solve(normal, reshape(error, [2, 1]))) as Vector;
  return { angles: sub(angles, reshape(step, [3])) as Vector, error };
}

const types = [tensorType("f64", [3]), tensorType("f64", [2]), tensorType("f64", [2, 2])] as const;
const step = await jit(createInterpreter(), approach, types);
let angles: Float64Array = Float64Array.of(0.3, 0.6, 0.6);
for (let i = 0; i < 16; i++) {
  const next = step(angles, [0.5, 1.4], [0.01, 0, 0, 0.01]);
  if (i % 5 === 0) console.log(`${i}  off by ${Math.hypot(...next.error).toExponential(2)}`);
  angles = next.angles;
}
console.log(`angles ${angles.map((angle) => Math.round(angle * 1e4) / 1e4).join(", ")}`);

// Output:
// 0  off by 9.88e-1
// 5  off by 9.19e-7
// 10  off by 1.34e-15
// 15  off by 5.55e-17
// angles 0.3555, 1.2223, 1.0356

// Newton's method on Rosenbrock's valley: value, gradient and Hessian of one function, compiled as one program.
// Run it: node examples/derivatives/rosenbrock.ts

import { add, createInterpreter, jit, mul, reshape, slice, solve, square, sub, tensorType } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { hessian, valueAndGrad } from "@fidelity/furnace";

type Point = Tensor<readonly number[], "f64">;

/** (1 - x)^2 + 100 (y - x^2)^2, with its least value 0 at (1, 1). */
function rosenbrock(p: Point): Tensor<readonly [], "f64"> {
  const [x, y] = [reshape(slice(p, [0], [1]), []), reshape(slice(p, [1], [2]), [])];
  return add(square(sub(1, x)), mul(100, square(sub(y, square(x)))));
}

function newton(p: Point): { value: Tensor<readonly [], "f64">; next: Point } {
  const { value, grad } = valueAndGrad(rosenbrock)(p);
  const step = solve(hessian(rosenbrock)(p), reshape(grad, [2, 1]));
  return { value, next: sub(p, reshape(step, [2])) };
}

const step = await jit(createInterpreter(), newton, [tensorType("f64", [2])]);
let point = Float64Array.of(-1.2, 1);
for (let i = 0; i < 8; i++) {
  const { value, next } = step(point);
  console.log(`${i}  f(${point.join(", ")}) = ${value}`);
  point = next;
}

// Output:
// 0  f(-1.2, 1) = 24.199999999999996
// 1  f(-1.1752808988764045, 1.3806741573033707) = 4.731884325266608
// 2  f(0.7631148711763363, -3.175033854747881) = 1411.8451793095285
// 3  f(0.7634296788839405, 0.5828247754969436) = 0.05596551683393765
// 4  f(0.9999953110849908, 0.944027323853285) = 0.3131890761164257
// 5  f(0.9999956956536687, 0.999991391325717) = 1.8527397339364607e-11
// 6  f(0.9999999999999999, 0.9999999999814724) = 3.4326461875363225e-20
// 7  f(1, 1) = 0

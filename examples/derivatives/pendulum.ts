// Fitting physics: which length of a pendulum explains the swing that was seen? The motion is integrated by a `scan`,
// and the gradient of the misfit by the length goes back through all of its steps. Units are in the types: the loss is
// in square radians, so its gradient is in square radians a metre.
// Run it: node examples/derivatives/pendulum.ts

import { add, createInterpreter, div, jit, mean, mul, scan, sin, splat, square, sub, tensorType } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { valueAndGrad } from "@fidelity/furnace";

type Scalar = Tensor<readonly [], "f64">;
type Series = Tensor<readonly [200], "f64">;
const [STEP_SECONDS, GRAVITY] = [0.02, 9.81];

/** Angles after every step, from rest at 0.5, by the symplectic Euler method. */
function swing(length: Scalar): Series {
  const stiffness = div(-GRAVITY, length) as Scalar;
  const { ys } = scan(
    ({ angle, rate }: { angle: Scalar; rate: Scalar }) => {
      const faster = add(rate, mul(mul(stiffness, sin(angle)), STEP_SECONDS)) as Scalar;
      const moved = add(angle, mul(faster, STEP_SECONDS)) as Scalar;
      return { carry: { angle: moved, rate: faster }, y: moved };
    },
    { angle: splat(0.5, [], "f64") as Scalar, rate: splat(0, [], "f64") as Scalar },
    [],
    { length: 200 },
  );
  return ys as Series;
}

const misfit = (length: Scalar, seen: Series): Scalar => mean(square(sub(swing(length), seen)));

const device = createInterpreter();
const measure = await jit(device, swing, [tensorType("f64", [])]);
const fit = await jit(device, (length: Scalar, seen: Series) => valueAndGrad(misfit)(length, seen), [
  tensorType("f64", []),
  tensorType("f64", [200]),
]);
const seen = measure(1.25);
let length = 1;
for (let i = 0; i < 60; i++) {
  const { value, grad } = fit(length, seen);
  if (i % 15 === 0) console.log(`${i}  length ${length.toFixed(6)} m, misfit ${value.toExponential(2)}`);
  length -= 0.25 * grad;
}
console.log(`the pendulum is ${length.toFixed(4)} m long`);

// Output:
// 0  length 1.000000 m, misfit 7.41e-2
// 15  length 1.249976 m, misfit 5.08e-10
// 30  length 1.250000 m, misfit 2.58e-17
// 45  length 1.250000 m, misfit 1.31e-24
// the pendulum is 1.2500 m long

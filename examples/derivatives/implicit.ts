// Through a solver without its steps: the root of x = cos(x) / a is a function of a, and the implicit function theorem
// gives its derivative at the root alone. `customVjp` says so, and nothing of the iteration is kept.
// Run it: node examples/derivatives/implicit.ts

import { add, cos, createInterpreter, div, jit, mul, neg, scan, sin, splat, sub, tensorType } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { customVjp, grad } from "@fidelity/furnace";

type Scalar = Tensor<readonly [], "f64">;

/** Newton's iteration for a x - cos(x) = 0. */
function solveRoot(a: Scalar): Scalar {
  const { carry } = scan(
    (x: Scalar) => {
      const slope = add(a, sin(x));
      return { carry: sub(x, div(sub(mul(a, x), cos(x)), slope)) as Scalar, y: [] };
    },
    splat(1, [], "f64") as Scalar,
    [],
    { length: 30 },
  );
  return carry;
}

/** F(a, x) = a x - cos(x) = 0 gives dx/da = -F_a / F_x = -x / (a + sin(x)). */
const root = customVjp(solveRoot, {
  forward(a: Scalar) {
    const x = solveRoot(a);
    return { value: x, residuals: { a, x } };
  },
  backward({ a, x }: { a: Scalar; x: Scalar }, cotangent) {
    return [mul(cotangent, div(neg(x), add(a, sin(x))))];
  },
});

const both = await jit(createInterpreter(), (a: Scalar) => [root(a), grad(root)(a), grad(solveRoot)(a)], [
  tensorType("f64", []),
]);
const [x, implicit, unrolled] = both(1) as readonly number[];
console.log(`root ${x}`);
console.log(`derivative ${implicit} from the theorem, ${unrolled} through all steps`);

// Output:
// root 0.7390851332151607
// derivative -0.4416107917053284 from the theorem, -0.4416107917053284 through all steps

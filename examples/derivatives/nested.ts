// Derivatives inside of derivatives keep their perturbations apart: d/dx (x d/dy (x + y)) is 1, since the inner
// derivative is 1 whatever x is. Systems that mark perturbations by nothing but their presence say 2.
// Run it: node examples/derivatives/nested.ts

import { add, createInterpreter, jit, mul, sin, splat, tensorType } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { grad, jvp } from "@fidelity/furnace";

type Scalar = Tensor<readonly [], "f64">;

const confusing = (x: Scalar): Scalar => mul(x, grad((y: Scalar) => add(x, y))(x));

/** The derivative by forward mode: along 1. */
const forward = (fn: (x: Scalar) => Scalar, x: Scalar): Scalar => jvp(fn)([x], [splat(1, [], "f64")]).tangent;
/** The third derivative of x sin(x): forward mode over reverse mode over forward mode. */
const third = (x: Scalar): Scalar => forward((a) => grad((b: Scalar) => forward((c) => mul(c, sin(c)), b))(a), x);

const both = await jit(createInterpreter(), (x: Scalar) => [grad(confusing)(x), third(x)], [tensorType("f64", [])]);
console.log(both(0.5));

// Output:
// [ 1, -1.8770678967577954 ]

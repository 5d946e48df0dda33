// Derivatives of derivatives, in every order of the modes. The confusing cases are those of Siskind and Pearlmutter,
// "Nesting forward-mode AD in a functional framework" (2008) and "Perturbation confusion and referential transparency"
// (2005): a derivative inside a function that is itself differentiated must not see the outer perturbation as its own.

import assert from "node:assert/strict";
import { test } from "node:test";
import { add, cos, exp, mul, reduceSum, reshape, sin, slice, splat, square, sub } from "@fidelity/core";
import { grad, jacfwd, jacrev, jvp, linearize, valueAndGrad, vjp, vmap } from "./index.ts";
import { assertClose, centralDifferences, run, runScalar, scalar, values, vector } from "./support.test.ts";
import type { F64, TensorFunction } from "./support.test.ts";

type Scalar = (x: F64) => F64;

/** d/dx by each mode: what follows must not depend on which is used where. */
const modes: Record<string, (fn: Scalar) => Scalar> = {
  reverse: (fn) => (x) => grad(fn)(x) as F64,
  forward: (fn) => (x) => jvp(fn)([x], [splat(1, [], "f64")]).tangent as F64,
  vjp: (fn) => (x) => vjp(fn)(x).pullback(splat(1, [], "f64") as never)[0] as F64,
  jacfwd: (fn) => (x) => jacfwd(fn)(x) as F64,
  jacrev: (fn) => (x) => jacrev(fn)(x) as F64,
  linearize: (fn) => (x) => linearize(fn)(x).linear(splat(1, [], "f64") as never) as F64,
  batched: (fn) => (x) => reshape(vmap(grad(fn))(reshape(x, [1]) as never) as F64, []) as unknown as F64,
};

const pairs = Object.entries(modes).flatMap(([outer, d]) =>
  Object.entries(modes).map(([inner, e]) => ({ name: `${outer} of ${inner}`, d, e })),
);

for (const { name, d, e } of pairs) {
  test(`perturbation confusion, ${name}`, () => {
    // d/dx (x d/dy (x + y) at y = 1) = 1; a confused derivative gives 2.
    assert.equal(
      runScalar((x) => d((u) => mul(u, e((y) => add(u, y) as F64)(splat(1, [], "f64") as F64)) as F64)(x!), scalar(3)),
      1,
    );
    // The same at y = x: d/dx (x (d/dy x y at y = x)) = 2 x.
    assert.equal(
      runScalar((x) => d((u) => mul(u, e((y) => mul(u, y) as F64)(u)) as F64)(x!), scalar(3)),
      6,
    );
    // d/dx (x d/dy (x y^2) at y = 2) = d/dx (4 x^2) = 8 x.
    const two = splat.bind(undefined, 2, [], "f64");
    assert.equal(
      runScalar((x) => d((u) => mul(u, e((y) => mul(u, mul(y, y)) as F64)(two() as F64)) as F64)(x!), scalar(3)),
      24,
    );
  });

  test(`second derivatives, ${name}`, () => {
    const fn: Scalar = (x) => mul(exp(sin(x)), x) as F64;
    const x = 0.7;
    const [s, c] = [Math.sin(x), Math.cos(x)];
    const expected = Math.exp(s) * (2 * c + x * (c * c - s));
    assertClose([runScalar((u) => d(e(fn))(u!), scalar(x))], [expected], 1e-13);
  });
}

test("the fifth derivative of exp(x) x^3, alternating the modes", () => {
  const { reverse, forward } = modes as { reverse: (fn: Scalar) => Scalar; forward: (fn: Scalar) => Scalar };
  const fn: Scalar = (x) => mul(exp(x), mul(x, mul(x, x))) as F64;
  const fifth = reverse(forward(reverse(forward(reverse(fn)))));
  const x = 0.5;
  // Leibniz: sum over k of C(5, k) exp(x) (x^3)^(k).
  const expected = Math.exp(x) * (x ** 3 + 5 * 3 * x ** 2 + 10 * 6 * x + 10 * 6);
  assertClose([runScalar((u) => fifth(u!), scalar(x))], [expected], 1e-13);
});

test("a tensor captured by an inner function keeps its own derivative", () => {
  // f(x) = grad over y of sum(x^2 y^3) at y = x, so f = 3 x^4 and df/dx = 12 x^3.
  const fn: Scalar = (x) =>
    reduceSum(grad((y: F64) => reduceSum(mul(square(x), mul(y, square(y)))) as F64)(x) as F64) as F64;
  const [slope] = run((x) => grad(fn)(x!), vector(2, -1));
  assertClose(slope!, [96, -12], 1e-13);
});

/** 100 (y - x^2)^2 + (1 - x)^2 over neighbours: the sum of Rosenbrock's functions. */
const rosenbrock = (x: F64): F64 => {
  const [head, tail] = [slice(x, [0], [x.shape[0]! - 1]), slice(x, [1], [x.shape[0]!])] as [F64, F64];
  return reduceSum(add(mul(square(sub(tail, square(head)) as F64), 100), square(sub(1, head) as F64))) as F64;
};

test("Rosenbrock's function: value, gradient and Hessian", () => {
  const at = vector(-1.2, 1, 0.5);
  const [value, slope] = run((x) => valueAndGrad(rosenbrock)(x!), at);
  assertClose(value!, [100 * (1 - 1.44) ** 2 + 2.2 ** 2 + 100 * 0.25], 1e-13);
  assertClose(slope!, centralDifferences(rosenbrock as TensorFunction, [at], 0), 1e-7);
  const minimum = run((x) => grad(rosenbrock)(x!), vector(1, 1, 1));
  assertClose(minimum[0]!, [0, 0, 0], 0);
  // Hessian by columns, forward over reverse, against the formula.
  const hessian = [0, 1, 2].flatMap((column) => {
    const direction = vector(...[0, 1, 2].map((i) => (i === column ? 1 : 0)));
    return run((x, v) => jvp((u: F64) => grad(rosenbrock)(u) as F64)([x!], [v!]).tangent, at, direction)[0]!;
  });
  const [x, y, z] = at.data as [number, number, number];
  const expected = [
    1200 * x * x - 400 * y + 2,
    -400 * x,
    0,
    -400 * x,
    202 + 1200 * y * y - 400 * z,
    -400 * y,
    0,
    -400 * y,
    200,
  ];
  assertClose(hessian, expected, 1e-12);
});

test("Hessian-vector products agree in all four orders of the modes", () => {
  const fn = (x: F64): F64 => reduceSum(mul(sin(x), mul(exp(mul(x, 0.5)), reduceSum(cos(x))))) as F64;
  const inputs = [values([4], 2), values([4], 5)];
  const dot = (a: F64, b: F64): F64 => reduceSum(mul(a, b)) as F64;
  const gradient = (u: F64): F64 => grad(fn)(u) as F64;
  const products: TensorFunction[] = [
    (x, v) => jvp(gradient)([x!], [v!]).tangent,
    (x, v) => grad((u: F64) => dot(gradient(u), v!))(x!),
    (x, v) => grad((u: F64) => jvp(fn)([u], [v!]).tangent as F64)(x!),
    (x, v) => vjp(gradient)(x!).pullback(v! as never)[0],
  ];
  const expected = centralDifferences((x, v) => dot(gradient(x!), v!), inputs, 0);
  for (const product of products) assertClose(run(product, ...inputs)[0]!, expected, 1e-7);
});

test("gradient descent inside a differentiated function", () => {
  // One step on (y - x)^2 from y = 0 with rate 0.25 gives y = x / 2; the loss after it is x^2 / 4, with slope x / 2.
  const after = (x: F64): F64 => {
    const loss = (y: F64): F64 => square(sub(y, x) as F64);
    const start = splat(0, [], "f64") as unknown as F64;
    const y = sub(start, mul(grad(loss)(start) as F64, 0.25)) as F64;
    return loss(y);
  };
  assert.equal(
    runScalar((x) => grad(after)(x!), scalar(3)),
    1.5,
  );
});

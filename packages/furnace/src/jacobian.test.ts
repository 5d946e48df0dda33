// Jacobians and Hessians against each other, central differences and closed forms.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  cos,
  exp,
  inTrace,
  matmul,
  mul,
  parameter,
  reduceSum,
  reshape,
  scan,
  sin,
  slice,
  splat,
  square,
  sub,
  tanh,
  tensorType,
  topologicalOrder,
  trace,
} from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { customVjp, grad, hessian, hvp, jacfwd, jacrev, jvp, linearize } from "./index.ts";
import { assertClose, centralDifferences, run, scalar, values, vector } from "./support.test.ts";
import type { F64 } from "./support.test.ts";

const at = (x: F64, i: number): F64 => reshape(slice(x, [i], [i + 1]), []) as unknown as F64;

const rosenbrock = (x: F64): F64 =>
  add(square(sub(1, at(x, 0))), mul(100, square(sub(at(x, 1), square(at(x, 0)))))) as F64;

test("the Hessian of Rosenbrock's function, and its product with a vector", () => {
  const [x, y] = [0.5, -0.3];
  const [d] = run((p) => hessian(rosenbrock)(p!), vector(x, y));
  const expected = [2 - 400 * (y - 3 * x * x), -400 * x, -400 * x, 200];
  assertClose(d!, expected, 1e-13);
  const [product] = run((p, v) => hvp(rosenbrock)([p!], v!), vector(x, y), vector(2, -1));
  assertClose(product!, [2 * expected[0]! - expected[1]!, 2 * expected[2]! - expected[3]!], 1e-13);
});

interface Layer {
  readonly w: F64;
  readonly b: F64;
}

const network = (p: Layer, x: F64): { y: F64; z: F64 } => {
  const y = tanh(add(reshape(matmul(reshape(x, [1, 3]), p.w), [2]), p.b)) as F64;
  return { y, z: reduceSum(exp(y)) as F64 };
};

test("forward and reverse Jacobians of trees are the same, and those of central differences", () => {
  const [w, b, x] = [values([3, 2], 1), values([2], 2), values([3], 3)];
  const forward = run((...a) => jacfwd(network)({ w: a[0]!, b: a[1]! }, a[2]!), w, b, x);
  const backward = run((...a) => jacrev(network)({ w: a[0]!, b: a[1]! }, a[2]!), w, b, x);
  assert.deepEqual(
    forward.map((block) => block.length),
    [12, 4, 6, 2],
  );
  forward.forEach((block, i) => assertClose(backward[i]!, block, 1e-13));
  const sum = (...a: F64[]): F64 => network({ w: a[0]!, b: a[1]! }, a[2]!).z;
  assertClose(forward[2]!, centralDifferences(sum, [w, b, x], 0), 1e-8);
  const types = inTrace(() => {
    const [p, q, r] = [w, b, x].map(({ shape }) => parameter("p", tensorType("f64", shape)) as F64);
    return jacrev(network, { argument: 1 })({ w: p!, b: q! }, r!);
  });
  assert.deepEqual([types.y.shape, types.z.shape], [[2, 3], [3]]);
});

test("Jacobians of Jacobians, and the Hessian in all four orders of the modes", () => {
  const fn = (x: F64): F64 => reduceSum(mul(sin(x), exp(mul(x, x)))) as F64;
  const x = values([3], 4);
  const expected = run((p) => hessian(fn)(p!), x)[0]!;
  for (const outer of [jacfwd, jacrev]) {
    for (const inner of [jacfwd, jacrev]) assertClose(run((p) => outer(inner(fn))(p!), x)[0]!, expected, 1e-12);
  }
  const third = run((p) => jacfwd(hessian(fn))(p!), x)[0]!;
  const slope = (p: F64): F64 => reduceSum(hessian(fn)(p) as F64) as F64;
  const sums = run((p) => grad(slope)(p!), x)[0]!;
  assertClose(
    [0, 1, 2].map((k) => third.reduce((sum, value, i) => (i % 3 === k ? sum + value : sum), 0)),
    sums,
    1e-12,
  );
});

test("a Jacobian in a function that is differentiated does not meet its perturbations", () => {
  // d/dx of x (d/dy of x y^2 at y = 3) is d/dx of 6 x^2.
  for (const jacobian of [jacfwd, jacrev]) {
    const fn = (x: F64): F64 =>
      mul(x, jacobian((y: F64) => mul(x, square(y)) as F64)(splat(3, [], "f64") as never)) as F64;
    assertClose(run((x) => grad(fn)(x!), scalar(2))[0]!, [24], 1e-14);
    assertClose(run((x) => jacobian(fn)(x!), scalar(2))[0]!, [24], 1e-14);
  }
});

test("a loop's Jacobian is one loop over all directions", () => {
  const last = (x: F64): F64 =>
    scan((h: F64, u: F64) => ({ carry: sin(add(h, mul(u, h))) as F64, y: [] }), x, stack(x)).carry;
  const x = values([3], 2);
  const forward = run((p) => jacfwd(last)(p!), x)[0]!;
  assertClose(run((p) => jacrev(last)(p!), x)[0]!, forward, 1e-13);
  for (const row of [0, 1, 2]) {
    const one = (p: F64): F64 => at(last(p), row);
    assertClose(forward.slice(3 * row, 3 * row + 3), centralDifferences(one as never, [x], 0), 1e-8);
  }
  const { graph } = trace("jacobian", (p: Tensor) => jacfwd(last)(p as F64), [tensorType("f64", [3])]);
  assert.equal(topologicalOrder(graph.results).filter((node) => node.op.name === "scan").length, 2);
});

const stack = (x: F64): F64 => mul(reshape(x, [1, 3]), reshape(cos(x), [3, 1])) as F64;

test("linearize evaluates once for many directions", () => {
  const fn = (x: F64, y: F64): F64 => mul(sin(x), exp(y)) as F64;
  const inputs = [values([3], 1), values([3], 2), values([3], 3), values([3], 4)];
  const [value, first, second] = run(
    (x, y, u, v) => {
      const point = linearize(fn)(x!, y!);
      return [point.value, point.linear(u!, v!), point.linear(v!, u!)];
    },
    ...inputs,
  );
  assertClose(value!, run((x, y) => fn(x!, y!), ...inputs.slice(0, 2))[0]!, 1e-15);
  const along = (a: number, b: number): number[] =>
    run((...p) => jvp(fn)([p[0]!, p[1]!], [p[a]!, p[b]!]).tangent, ...inputs)[0]!;
  assertClose(first!, along(2, 3), 1e-15);
  assertClose(second!, along(3, 2), 1e-15);
});

test("reverse Jacobians go through custom rules, forward ones refuse them by name", () => {
  const twice = customVjp(
    function twice(x: F64): F64 {
      return mul(x, 2) as F64;
    },
    {
      forward: (x: F64) => ({ value: mul(x, 2) as F64, residuals: [] }),
      backward: (_none, ct) => [mul(ct as F64, 5) as never],
    },
  );
  assertClose(run((x) => jacrev(twice)(x!), values([2], 1))[0]!, [5, 0, 0, 5], 1e-15);
  assert.throws(
    () => run((x) => jacfwd(twice)(x!), values([2], 1)),
    /twice is differentiated by a custom backward rule/,
  );
  const wrong = (): unknown =>
    run((x, y) => linearize((u: F64) => sin(u) as F64)(x!).linear(y!), values([2], 1), values([3], 1));
  assert.throws(wrong, /tree of tangents[^]*where: +0[^]*f64\[2\][^]*f64\[3\]/);
});

// cond and whileLoop: values, derivatives of both modes and orders, examples, and what is refused by name.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  cond,
  div,
  inTrace,
  logicalNot,
  lt,
  mul,
  parameter,
  reduceSum,
  reshape,
  sin,
  splat,
  sqrt,
  square,
  sub,
  tensorType,
  TreeMismatchError,
  whileLoop,
} from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { grad, hessian, jacrev, jvp, NotDifferentiableError, valueAndGrad, vmap } from "./index.ts";
import { assertClose, centralDifferences, run, scalar, vector } from "./support.test.ts";
import type { F64 } from "./support.test.ts";

type Truth = Tensor<readonly [], "bool">;

const below = (x: F64, limit: number): Truth => lt(x, limit) as unknown as Truth;

/** sin(w x) for small sums of x, else x^2. */
const piecewise = (x: F64, w: F64): F64 =>
  reduceSum(
    cond(
      below(reduceSum(x) as F64, 1),
      (u: F64) => sin(mul(w, u)) as F64,
      (u: F64) => square(u) as F64,
      x,
    ),
  ) as F64;

for (const x of [vector(0.2, 0.3), vector(0.9, 0.7)]) {
  test(`cond at ${x.data.join(", ")}: derivatives are those of the branch that is taken`, () => {
    const w = vector(2, 3);
    for (const argument of [0, 1]) {
      const slope = run((a, b) => valueAndGrad(piecewise, { argument })(a!, b!).grad, x, w)[0]!;
      assertClose(slope, centralDifferences(piecewise as never, [x, w], argument), 1e-8, `argument ${argument}`);
    }
    const taken =
      x.data[0]! < 0.5
        ? (u: F64, v: F64): F64 => reduceSum(sin(mul(u, v))) as F64
        : (u: F64) => reduceSum(square(u)) as F64;
    const second = (fn: (u: F64, v: F64) => F64) => run((a, b) => hessian((u: F64) => fn(u, b!))(a!), x, w)[0]!;
    assertClose(second(piecewise), second(taken), 1e-14);
  });
}

test("an infinite slope in the branch that is not taken does no harm", () => {
  const root = (x: F64): F64 =>
    cond(
      below(x, 1e-9),
      (u: F64) => mul(u, 3) as F64,
      (u: F64) => sqrt(u) as F64,
      x,
    );
  assertClose(run((x) => grad(root)(x!), scalar(0))[0]!, [3], 0);
  assertClose(run((x) => grad(root)(x!), scalar(4))[0]!, [0.25], 1e-15);
});

test("a predicate for all examples, and one for each", () => {
  const xs = { shape: [3, 2], data: [0.1, 0.2, 0.9, 0.8, 0.3, 0.1] };
  const w = vector(2, 3);
  const slopes = run((a, b) => vmap((x: F64) => grad((u: F64) => piecewise(u, b!))(x))(a as never), xs, w)[0]!;
  const one = (x: number[]): number[] => run((a, b) => grad((u: F64) => piecewise(u, b!))(a!), vector(...x), w)[0]!;
  assertClose(slopes, [one([0.1, 0.2]), one([0.9, 0.8]), one([0.3, 0.1])].flat(), 1e-14);
  const shared = (x: F64, p: F64): F64 =>
    cond(
      below(p, 0),
      (u: F64) => mul(u, 2) as F64,
      (u: F64) => mul(u, u) as F64,
      x,
    );
  assertClose(
    run((a, p) => vmap(shared, { in: [0, null] })(a as never, p as never), vector(1, 2, 3), scalar(1))[0]!,
    [1, 4, 9],
    0,
  );
});

/** The square root of a by Newton's iteration. */
const newton =
  (maxSteps: number) =>
  (a: F64): F64 =>
    whileLoop(
      (x: F64) => logicalNot(below(square(sub(square(x), a)) as F64, 1e-24)) as unknown as Truth,
      (x: F64) => mul(add(x, div(a, x)), 0.5) as F64,
      splat(1, [], "f64") as unknown as F64,
      { maxSteps },
    );

test("a loop with a limit has both modes, of any order", () => {
  const root = newton(12);
  assertClose(run((a) => root(a!), scalar(7))[0]!, [Math.sqrt(7)], 1e-12);
  assertClose(run((a) => grad(root)(a!), scalar(7))[0]!, [0.5 / Math.sqrt(7)], 1e-12);
  assertClose(run((a) => hessian(root)(a!), scalar(7))[0]!, [-0.25 * 7 ** -1.5], 1e-9);
  assertClose(run((a) => jacrev(root)(a!), scalar(7))[0]!, [0.5 / Math.sqrt(7)], 1e-12);
});

test("a loop without a limit has forward mode, and refuses the others by name", () => {
  const root = newton(0);
  const one = splat.bind(undefined, 1, [], "f64");
  assertClose(run((a) => jvp(root)([a!], [one() as never]).tangent, scalar(7))[0]!, [0.5 / Math.sqrt(7)], 1e-12);
  const slope = (a: F64): F64 => jvp(root)([a], [one() as never]).tangent as F64;
  assertClose(run((a) => jvp(slope)([a!], [one() as never]).tangent, scalar(7))[0]!, [-0.25 * 7 ** -1.5], 1e-9);
  assert.throws(
    () => run((a) => grad((u: F64) => mul(root(u), u) as F64)(a!), scalar(7)),
    (error) =>
      error instanceof NotDifferentiableError &&
      /while_loop has no reverse-mode derivative[^]*<- while_loop[^]*maxSteps/u.test(error.message),
  );
});

test("examples leave the loop one by one", () => {
  for (const maxSteps of [0, 20]) {
    const xs = vector(2, 900, 0.5, 7);
    const roots = run((a) => vmap(newton(maxSteps))(a as never), xs)[0]!;
    assertClose(roots, xs.data.map(Math.sqrt), 1e-12);
  }
  const xs = vector(2, 30);
  const total = (a: F64): F64 => reduceSum(vmap(newton(16))(a as never) as F64) as F64;
  assertClose(
    run((a) => grad(total)(a!), xs)[0]!,
    xs.data.map((x) => 0.5 / Math.sqrt(x)),
    1e-9,
  );
  // The derivative has steps of its own by then: each example takes as many as its root did.
  const slopes = run((a) => vmap(grad(newton(16)) as never)(a as never) as never, xs)[0]!;
  assertClose(
    slopes,
    xs.data.map((x) => 0.5 / Math.sqrt(x)),
    1e-9,
  );
});

test("trees and integers ride along, and a limit ends the loop", () => {
  const powers = (x: F64): F64 => {
    const start = { t: splat(0, [], "i32") as Tensor<readonly [], "i32">, p: splat(1, [], "f64") as unknown as F64 };
    const last = whileLoop(
      ({ t }) => lt(t, 5) as unknown as Truth,
      ({ t, p }) => ({ t: add(t, 1) as typeof t, p: mul(p, x) as F64 }),
      start,
      { maxSteps: 3 },
    );
    return last.p;
  };
  assertClose(run((x) => grad(powers)(x!), scalar(2))[0]!, [12], 1e-15);
});

test("what does not fit is named", () => {
  inTrace(() => {
    const x = parameter("x", tensorType("f64", [2])) as F64;
    const yes = below(reshape(reduceSum(x), []) as unknown as F64, 0);
    assert.throws(
      () => cond(yes, (u: F64) => ({ a: u, b: u }), ((u: F64) => ({ a: u, b: reduceSum(u) })) as never, x),
      (error) => error instanceof TreeMismatchError && /where: +b[^]*f64\[2\][^]*f64\[\]/u.test(error.message),
    );
    assert.throws(
      () =>
        cond(
          x as never,
          (u: F64) => u,
          (u: F64) => u,
          x,
        ),
      /predicate is not a bool scalar/,
    );
    assert.throws(
      () =>
        whileLoop(
          () => yes,
          (u: F64) => reduceSum(u) as F64,
          x,
        ),
      /another carry than it takes/,
    );
    assert.throws(
      () =>
        whileLoop(
          (u: F64) => lt(u, 1) as never,
          (u: F64) => u,
          x,
        ),
      /condition is not a bool scalar/,
    );
  });
});

// A forward rule of the author's serves both modes, nests, is batched, and is checked; and a reverse rule may come with one.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  abs,
  add,
  exp,
  inTrace,
  mul,
  NotDifferentiableError,
  parameter,
  reduceSum,
  scan,
  sin,
  square,
  stopGradient,
  tensorType,
  TreeMismatchError,
} from "@fidelity/core";
import { customJvp, customVjp, grad, hessian, jacfwd, jacrev, jvp, vmap } from "./index.ts";
import { assertClose, run, values, vector } from "./support.test.ts";
import type { F64 } from "./support.test.ts";

/** x^2 y with slopes 6 x y and x^2: too large in x by 3, so that the rule's use shows. */
const odd = customJvp(
  (x: F64, y: F64) => mul(square(x), y) as F64,
  ([x, y], [dx, dy]) => add(mul(mul(mul(x, 6), y), dx), mul(square(x), dy)) as never,
);

test("one rule serves forward and reverse mode, and nests", () => {
  const [x, y] = [vector(2, 3), vector(5, 7)];
  assertClose(run((a, b) => jvp(odd)([a!, b!], [a!, b!]).tangent, x, y)[0]!, [140, 441], 1e-15);
  assertClose(run((a, b) => grad((u: F64) => reduceSum(odd(u, b!)) as F64)(a!), x, y)[0]!, [60, 126], 1e-15);
  assertClose(run((a, b) => hessian((u: F64) => reduceSum(odd(u, b!)) as F64)(a!), x, y)[0]!, [30, 0, 0, 42], 1e-15);
  const slope = (u: F64, b: F64): F64 => reduceSum(jvp(odd)([u, b], [u, b]).tangent) as F64;
  // d/dx of 7 x^2 y.
  assertClose(run((a, b) => grad((u: F64) => slope(u, b!))(a!), x, y)[0]!, [140, 294], 1e-13);
});

test("Jacobians, loops and examples go through it", () => {
  const [x, y] = [values([3], 1), values([3], 2)];
  const expected = run((a, b) => jacfwd(odd)(a!, b!), x, y)[0]!;
  assertClose(run((a, b) => jacrev(odd)(a!, b!), x, y)[0]!, expected, 1e-15);
  const slopes = run((a, b) => vmap(grad((u: F64) => odd(u, u) as F64))(mul(a!, b!) as never), x, y)[0]!;
  assertClose(
    slopes,
    x.data.map((a, i) => 7 * (a * y.data[i]!) ** 2),
    1e-14,
  );
  const loop = (u: F64): F64 =>
    reduceSum(scan((h: F64) => ({ carry: odd(sin(h) as F64, h), y: [] }), u, [], { length: 3 }).carry) as F64;
  const direct = (u: F64): F64 => {
    let h = u;
    for (let i = 0; i < 3; i++) h = odd(sin(h) as F64, h);
    return reduceSum(h) as F64;
  };
  assertClose(run((a) => grad(loop)(a!), x)[0]!, run((a) => grad(direct)(a!), x)[0]!, 1e-14);
});

test("what the rule must be is said", () => {
  inTrace(() => {
    const x = parameter("x", tensorType("f64", [2])) as F64;
    const outside = parameter("w", tensorType("f64", [2])) as F64;
    const wrong = customJvp(
      (u: F64) => ({ a: sin(u) as F64 }),
      ([u], [du]) => ({ b: mul(u, du) }) as never,
    );
    assert.throws(() => jvp(wrong)([x], [x]), TreeMismatchError);
    const quadratic = customJvp(
      function quadratic(u: F64): F64 {
        return sin(u) as F64;
      },
      (_u, [du]) => abs(du) as never,
    );
    assert.throws(() => grad((u: F64) => reduceSum(quadratic(u)) as F64)(x), NotDifferentiableError);
    const free = customJvp(
      (u: F64) => mul(u, outside) as F64,
      (_u, [du]) => du,
    );
    assert.throws(() => free(x), /uses a tensor from outside/);
  });
});

test("a reverse rule that comes with a forward one is differentiated in both modes", () => {
  const both = customVjp((x: F64) => square(x) as F64, {
    forward: (x) => ({ value: square(x) as F64, residuals: x }),
    backward: (x, ct) => [mul(mul(x, 6), ct) as never],
    jvp: ([x], [dx]) => mul(mul(x, 10), dx) as never,
  });
  const x = vector(2, 3);
  assertClose(run((a) => grad((u: F64) => reduceSum(both(u)) as F64)(a!), x)[0]!, [12, 18], 1e-15);
  assertClose(run((a) => jvp(both)([a!], [a!]).tangent, x)[0]!, [40, 90], 1e-15);
  assertClose(run((a) => jacfwd(both)(a!), x)[0]!, [20, 0, 0, 30], 1e-15);
  // Forward mode over the forward rule: d/dx of 10 x v along v.
  const along = (u: F64, v: F64): F64 => jvp(both)([u], [v]).tangent as F64;
  assertClose(
    run((a) => jvp((u: F64) => along(u, stopGradient(a!)))([a!], [exp(a!) as never]).tangent, x)[0]!,
    [20 * Math.exp(2), 30 * Math.exp(3)],
    1e-14,
  );
  assertClose(run((a) => vmap((u: F64) => jvp(both)([u], [u]).tangent)(a! as never), x)[0]!, [40, 90], 1e-15);
});

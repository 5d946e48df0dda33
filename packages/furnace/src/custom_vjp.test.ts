// Functions with a derivative of their author's: the rule is used, checked, nested, and refused where it cannot serve.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  inTrace,
  mul,
  NotDifferentiableError,
  parameter,
  reduceSum,
  scan,
  sin,
  splat,
  square,
  tensorType,
  TreeMismatchError,
} from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { customVjp, grad, jvp } from "./index.ts";
import { assertClose, run, runScalar, scalar, values, vector } from "./support.test.ts";
import type { F64 } from "./support.test.ts";

/** x^2 with a gradient three times too large, so that the rule's use shows. */
const threefold = customVjp((x: F64) => square(x) as F64, {
  forward: (x) => ({ value: square(x) as F64, residuals: { x } }),
  backward: ({ x }, ct) => [mul(mul(x, 6), ct) as never],
});

test("the author's rule replaces the derivative, and the value is the function's", () => {
  const fn = (x: F64): F64 => reduceSum(mul(threefold(x), x)) as F64;
  assertClose(run((x) => fn(x!), vector(2, 3))[0]!, [35]);
  // x^2 + x (6 x) = 7 x^2
  assertClose(run((x) => grad(fn)(x!), vector(2, 3))[0]!, [28, 63], 0);
});

test("the backward rule is differentiated in turn", () => {
  // The first derivative is 6 x by the rule, so the second is 6.
  const first = (x: F64): F64 => grad((u: F64) => threefold(u))(x) as F64;
  assert.equal(
    runScalar((x) => grad(first)(x!), scalar(5)),
    6,
  );
  assert.equal(
    runScalar((x) => jvp(first)([x!], [splat(1, [], "f64")] as never).tangent, scalar(5)),
    6,
  );
});

test("a rule may call the function it belongs to", () => {
  const sine: (x: F64) => F64 = customVjp((x: F64) => sin(x) as F64, {
    forward: (x) => ({ value: sin(x) as F64, residuals: x }),
    backward: (x, ct) => [mul(sine(add(x, Math.PI / 2) as F64), ct) as never],
  });
  const third = (x: F64): F64 => grad((u: F64) => grad((v: F64) => grad(sine)(v) as F64)(u) as F64)(x) as F64;
  assertClose([runScalar((x) => third(x!), scalar(0.3))], [-Math.cos(0.3)], 1e-12);
});

test("trees as arguments, results and residuals; undefined for an argument without gradient", () => {
  const fn = customVjp(
    (p: { a: F64; b: F64 }, q: F64) => ({ sum: add(p.a, p.b) as F64, product: mul(p.a, q) as F64 }),
    {
      forward: (p, q) => ({ value: { sum: add(p.a, p.b) as F64, product: mul(p.a, q) as F64 }, residuals: [q] }),
      backward: ([q], ct) => [{ a: add(ct.sum, mul(ct.product, q!)), b: ct.sum } as never, undefined],
    },
  );
  const loss = (a: F64, b: F64, q: F64): F64 => {
    const { sum, product } = fn({ a, b }, q);
    return reduceSum(add(mul(sum, 2), product)) as F64;
  };
  const slopes = run(
    (a, b, q) => {
      return grad((p: readonly F64[]) => loss(p[0]!, p[1]!, p[2]!))([a!, b!, q!]);
    },
    vector(1),
    vector(2),
    vector(5),
  );
  assert.deepEqual(slopes, [[7], [2], [0]]);
});

test("inside a loop", () => {
  const fn = (x: F64): F64 => {
    const { carry } = scan(
      (h: F64, u: F64) => ({ carry: add(h, threefold(u)) as F64, y: [] }),
      splat(0, [], "f64") as unknown as F64,
      x,
    );
    return carry;
  };
  const input = values([4], 3);
  assertClose(
    run((x) => grad(fn)(x!), input)[0]!,
    input.data.map((x) => 6 * x),
    1e-13,
  );
});

test("forward mode is refused by name, also through a loop", () => {
  function mystery(x: F64): F64 {
    return square(x) as F64;
  }
  const named = customVjp(mystery, {
    forward: (x) => ({ value: square(x) as F64, residuals: x }),
    backward: (_x, ct) => [ct as never],
  });
  inTrace(() => {
    const x = parameter("x", tensorType("f64", [3])) as F64;
    const refused = (error: unknown): boolean => {
      return error instanceof NotDifferentiableError && error.op === "mystery" && /got: +jvp/.test(error.message);
    };
    assert.throws(() => jvp(named)([x], [x] as never), refused);
    const looped = (u: F64): F64 =>
      scan((h: F64, s: F64) => ({ carry: add(h, named(s)) as F64, y: [] }), splat(0, [], "f64") as unknown as F64, u)
        .carry;
    assert.throws(() => jvp(looped)([x], [x] as never), refused);
  });
});

test("rules that do not fit are errors that name the place", () => {
  inTrace(() => {
    const x = parameter("x", tensorType("f64", [3])) as F64;
    const gradient = (fn: (u: F64) => F64) => () => grad((u: F64) => reduceSum(fn(u)) as F64)(x);
    const forward = (u: F64) => ({ value: square(u) as F64, residuals: u });
    const scalarRule = customVjp((u: F64) => square(u) as F64, {
      forward,
      backward: (_u, ct) => [reduceSum(ct as F64) as never],
    });
    assert.throws(
      gradient(scalarRule),
      (error) => error instanceof TreeMismatchError && /argument 0[^]*expected: f64\[3\]/.test(error.message),
    );
    const empty = customVjp((u: F64) => square(u) as F64, { forward, backward: () => [] as never });
    assert.throws(gradient(empty), /1 arguments[^]*0 entries/);
    const outside = customVjp((u: F64) => mul(u, x) as F64, { forward, backward: (_u, ct) => [ct as never] });
    assert.throws(
      () => outside(x),
      (error) => error instanceof NotDifferentiableError && /tensor from outside/.test(error.message),
    );
    const leaking = customVjp((u: F64) => square(u) as F64, {
      forward,
      backward: (_u, ct) => [mul(x, ct as F64) as never],
    });
    assert.throws(gradient(leaking), /backward uses a tensor from outside/);
    const integer = customVjp((u: Tensor) => u, {
      forward: (u) => ({ value: u, residuals: u }),
      backward: (_u, ct) => [ct as never],
    });
    assert.throws(() => integer(parameter("i", tensorType("i32", [2]))), /result that has no derivative/);
  });
});

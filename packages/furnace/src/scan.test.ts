// Derivatives of loops: against the same loop unrolled in the graph, of any order and mode, nested, and in both
// directions.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
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
  tanh,
  tensorType,
  topologicalOrder,
  trace,
} from "@fidelity/core";
import type { Node, Tensor } from "@fidelity/core";
import { grad, jvp, valueAndGrad } from "./index.ts";
import { assertClose, centralDifferences, run, values } from "./support.test.ts";
import type { F64, TensorFunction, Values } from "./support.test.ts";

const zero = (shape: readonly number[]): F64 => splat(0, shape, "f64") as F64;

/** Row t of x. */
const row = (x: F64, t: number): F64 => {
  const starts = x.shape.map((_dim, axis) => (axis === 0 ? t : 0));
  const stops = x.shape.map((dim, axis) => (axis === 0 ? t + 1 : dim));
  return reshape(slice(x, starts, stops), x.shape.slice(1)) as F64;
};

type Step = (carry: F64, x: F64) => { carry: F64; y: F64 };

/** What `scan` should do, step by step in the graph; the ys weighted and summed, so that order matters. */
function unrolled(step: Step, init: F64, xs: F64, reverse: boolean): { carry: F64; weighted: F64 } {
  const steps = Array.from({ length: xs.shape[0]! }, (_none, t) => t);
  let carry = init;
  let weighted: F64 | undefined;
  for (const t of reverse ? steps.toReversed() : steps) {
    const next = step(carry, row(xs, t));
    carry = next.carry;
    const term = mul(reduceSum(next.y), 1 + t) as F64;
    weighted = weighted === undefined ? term : (add(weighted, term) as F64);
  }
  return { carry, weighted: weighted! };
}

function looped(step: Step, init: F64, xs: F64, reverse: boolean): { carry: F64; weighted: F64 } {
  const { carry, ys } = scan(step, init, xs, { reverse });
  const terms = Array.from({ length: xs.shape[0]! }, (_none, t) => mul(reduceSum(row(ys, t)), 1 + t) as F64);
  return { carry, weighted: terms.reduce((sum, term) => add(sum, term) as F64) };
}

/** A recurrent network: a matrix, a gate and a bias from outside, a nonlinearity, an output with a loop invariant. */
function network(run: typeof looped, reverse: boolean): (...inputs: F64[]) => F64 {
  return (matrix, bias, init, xs) => {
    const step: Step = (h, x) => {
      const product = reshape(matmul(reshape(h, [1, 3]), matrix!), [3]);
      const next = tanh(add(add(product, x), bias!)) as F64;
      return { carry: next, y: mul(mul(next, h), exp(bias!)) as F64 };
    };
    const { carry, weighted } = run(step, init!, xs!, reverse);
    return add(reduceSum(mul(carry, sin(carry))), weighted) as F64;
  };
}

const inputs: Values[] = [values([3, 3], 1), values([3], 2), values([3], 3), values([4, 3], 4)];

for (const reverse of [false, true]) {
  const [loop, steps] = [network(looped, reverse), network(unrolled, reverse)];
  const direction = reverse ? "backward" : "forward";

  test(`${direction}: the gradient in every input is that of the unrolled loop and of central differences`, () => {
    assertClose(run(loop, ...inputs)[0]!, run(steps, ...inputs)[0]!, 1e-13);
    for (const argument of [0, 1, 2, 3]) {
      const slope = (fn: (...args: F64[]) => F64) =>
        run((...args) => valueAndGrad(fn, { argument })(...args).grad, ...inputs)[0]!;
      assertClose(slope(loop), slope(steps), 1e-12, `argument ${argument}`);
      assertClose(slope(loop), centralDifferences(loop, inputs, argument), 1e-7, `argument ${argument}`);
    }
  });

  test(`${direction}: second derivatives through the loop, all orders of the modes`, () => {
    const dot = (a: readonly F64[], b: readonly F64[]): F64 => {
      return a.map((x, i) => reduceSum(mul(x, b[i]!)) as F64).reduce((x, y) => add(x, y) as F64);
    };
    const along = [values([3, 3], 5), values([3], 6), values([3], 7), values([4, 3], 8)];
    const product =
      (fn: (...args: F64[]) => F64, order: "rr" | "fr" | "rf"): TensorFunction =>
      (...all) => {
        const [x, v] = [all.slice(0, 4), all.slice(4)];
        const slope = (args: readonly F64[]): readonly F64[] =>
          grad((p: readonly F64[]) => fn(...p))(args) as readonly F64[];
        if (order === "rr") return grad((p: readonly F64[]) => dot(slope(p), v))(x);
        if (order === "fr") return jvp(slope)([x], [v] as never).tangent;
        return grad((p: readonly F64[]) => jvp((q: readonly F64[]) => fn(...q))([p], [v] as never).tangent as F64)(x);
      };
    const expected = run(product(steps, "rr"), ...inputs, ...along).flat();
    for (const order of ["rr", "fr", "rf"] as const) {
      assertClose(run(product(loop, order), ...inputs, ...along).flat(), expected, 1e-11, order);
    }
  });
}

test("a linear recurrence with a run-time gate, against the closed form", () => {
  // h_t = a h_{t-1} + x_t from 0 gives h_T = sum of a^(T-t) x_t.
  const last = (a: F64, xs: F64): F64 => {
    const loop = scan((h: F64, x: F64) => ({ carry: add(mul(a, h), x) as F64, y: [] }), zero([]), xs);
    return loop.carry;
  };
  const [a, xs] = [{ shape: [], data: [0.9] }, values([5], 2)];
  const [slopeA, slopeX] = run((u, v) => grad((p: readonly F64[]) => last(p[0]!, p[1]!))([u!, v!]), a, xs);
  assertClose(slopeA!, [xs.data.reduce((sum, x, t) => sum + (4 - t) * 0.9 ** Math.max(0, 3 - t) * x, 0)], 1e-13);
  assertClose(
    slopeX!,
    xs.data.map((_x, t) => 0.9 ** (4 - t)),
    1e-13,
  );
});

test("loops in loops, with the inner one using the outer carry", () => {
  const nest =
    (inner: typeof looped, outer: typeof looped): ((...args: F64[]) => F64) =>
    (init, xs) => {
      const outerStep: Step = (h, x) => {
        const innerStep: Step = (g, u) => {
          const next = sin(add(mul(g, h), u)) as F64;
          return { carry: next, y: mul(next, next) as F64 };
        };
        const { carry, weighted } = inner(innerStep, h, x, false);
        return { carry: add(carry, mul(h, 0.5)) as F64, y: weighted };
      };
      const { carry, weighted } = outer(outerStep, init!, xs!, true);
      return add(reduceSum(carry), weighted) as F64;
    };
  const at = [values([2], 1), values([3, 4, 2], 2)];
  const slopes = (fn: (...args: F64[]) => F64, order: number): number[] => {
    const first = (p: readonly F64[]): readonly F64[] => grad((q: readonly F64[]) => fn(...q))(p) as readonly F64[];
    if (order === 1) return run((...args) => first(args), ...at).flat();
    const size = (p: readonly F64[]): F64 =>
      first(p)
        .map((g) => reduceSum(sin(g)) as F64)
        .reduce((a, b) => add(a, b) as F64);
    return run((...args) => grad(size)(args), ...at).flat();
  };
  for (const order of [1, 2]) {
    assertClose(slopes(nest(looped, looped), order), slopes(nest(unrolled, unrolled), order), 1e-11, `order ${order}`);
    assertClose(
      slopes(nest(looped, unrolled), order),
      slopes(nest(unrolled, unrolled), order),
      1e-11,
      `order ${order}`,
    );
  }
});

test("integer carries ride along, trees keep their structure, and a loop may have no xs", () => {
  const loss = (x: F64): F64 => {
    const start = {
      count: splat(0, [], "i32") as Tensor<readonly number[], "i32">,
      power: splat(1, [], "f64") as unknown as F64,
    };
    const { carry } = scan(
      ({ count, power }) => ({ carry: { count: add(count, 1), power: mul(power, x) }, y: [] }) as never,
      start,
      [],
      { length: 4 },
    );
    return carry.power;
  };
  assertClose(run((x) => grad(loss)(x!), { shape: [], data: [1.5] })[0]!, [4 * 1.5 ** 3], 1e-14);
});

function loopNodes(roots: readonly Tensor[]): Node[] {
  return topologicalOrder(roots).filter((node) => node.op.name === "scan");
}

test("the primal loop runs once, keeps only its carries, and invariants stay outside", () => {
  const { graph } = trace(
    "loss",
    (...args: Tensor[]) => valueAndGrad((p: readonly F64[]) => network(looped, false)(...p))(args as F64[]),
    inputs.map(({ shape }) => tensorType("f64", shape)),
  );
  const loops = loopNodes(graph.results);
  assert.equal(loops.length, 2, "one loop forward, one backward");
  for (const loop of loops) {
    const body = loop.attrs["body"] as { results: readonly Tensor[] };
    assert.ok(
      !topologicalOrder(body.results).some((node) => node.op.name === "exp"),
      "exp(bias) does not change in the loop",
    );
  }
  // carry, y, and the carry of every step
  assert.deepEqual(
    loops[0]!.results.map(({ shape }) => shape),
    [[3], [4, 3], [4, 3]],
  );
  const { graph: plain } = trace(
    "value",
    (...args: Tensor[]) => network(looped, false)(...(args as F64[])),
    inputs.map(({ shape }) => tensorType("f64", shape)),
  );
  assert.equal(loopNodes(plain.results)[0]!.results.length, 2, "nothing is kept without a derivative");
});

test("what does not fit is named", () => {
  inTrace(() => {
    const x = parameter("x", tensorType("f64", [4, 2])) as F64;
    const step = (h: F64, u: F64) => ({ carry: h, y: u });
    assert.throws(() => scan(step, zero([2]), x, { length: 3 }), /leading axis of xs is not 3[^]*f64\[4, 2\]/);
    assert.throws(() => scan(step, zero([2]), [] as never), /number of steps is unknown/);
    assert.throws(() => scan(step, zero([2]), [] as never, { length: 0 }), /cannot run 0 steps/);
    const grows = (h: { a: F64 }, u: F64) => ({ carry: { a: add(h.a, u) as F64 }, y: [] });
    assert.throws(() => scan(grows, { a: zero([1]) }, x), /another carry[^]*where: +a[^]*f64\[1\][^]*f64\[2\]/);
  });
});

// vmap against one call an example: alone, nested, over and under derivatives, through loops and custom rules.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  BatchError,
  concat,
  dynamicSlice,
  gather,
  inTrace,
  matmul,
  mul,
  parameter,
  reduceSum,
  reshape,
  scan,
  sin,
  slice,
  softmax,
  splat,
  tanh,
  tensorType,
  topologicalOrder,
  trace,
  transpose,
  TreeMismatchError,
} from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { customVjp, grad, jvp, valueAndGrad, vmap } from "./index.ts";
import { assertClose, centralDifferences, run, values } from "./support.test.ts";
import type { F64 } from "./support.test.ts";

/** Example i of x, whose examples lie along the first axis. */
const example = (x: F64, i: number): F64 => {
  const starts = x.shape.map((_dim, axis) => (axis === 0 ? i : 0));
  const stops = x.shape.map((dim, axis) => (axis === 0 ? i + 1 : dim));
  return reshape(slice(x, starts, stops), x.shape.slice(1)) as F64;
};

/** What vmap should do: the function for one example after another; all numbers in order. */
const eachExample = (fn: (...args: F64[]) => F64, ...args: F64[]): F64[] =>
  Array.from({ length: args[0]!.shape[0]! }, (_none, i) => fn(...args.map((x) => example(x, i))));

const energy = (x: F64, w: F64): F64 =>
  reduceSum(mul(sin(matmul(reshape(x, [1, 3]), w)), softmax(matmul(reshape(x, [1, 3]), w)))) as F64;

test("vmap is one call an example", () => {
  const [xs, w] = [values([4, 3], 1), values([3, 2], 2)];
  const all = run((a, b) => vmap((x: F64) => energy(x, b!))(a as never), xs, w)[0]!;
  const each = run((a, b) => eachExample((x) => energy(x, b!), a!), xs, w).flat();
  assertClose(all, each, 1e-13);
});

test("vmap of grad gives a gradient an example, grad of vmap the gradient of their sum", () => {
  const [xs, w] = [values([4, 3], 1), values([3, 2], 2)];
  const slopes = run((a, b) => vmap((x: F64) => grad((v: F64) => energy(x, v))(b!))(a as never), xs, w)[0]!;
  const each = run((a, b) => eachExample((x) => grad((v: F64) => energy(x, v))(b!) as F64, a!), xs, w).flat();
  assertClose(slopes, each, 1e-13);
  const total = (a: F64, b: F64): F64 => reduceSum(vmap((x: F64) => energy(x, b))(a as never) as F64) as F64;
  const summed = run((a, b) => grad((v: F64) => total(a!, v))(b!), xs, w)[0]!;
  assertClose(
    summed,
    summed.map((_zero, i) => [0, 1, 2, 3].reduce((sum, at) => sum + each[at * 6 + i]!, 0)),
    1e-13,
  );
  assertClose(
    summed,
    centralDifferences((a, b) => total(a!, b!), [xs, w], 1),
    1e-8,
  );
});

test("vmap in vmap, with axes of in and out", () => {
  // An outer product of all pairs: x over rows, y over columns.
  const pair = (x: F64, y: F64): F64 => mul(sin(x), y) as F64;
  const all = vmap((x: F64, y: F64) => vmap(pair, { in: [null, 0] })(x, y), { in: [0, null], out: -1 });
  const [x, y] = [values([3], 1), values([2], 2)];
  const got = run((a, b) => all(a as never, b as never), x, y)[0]!;
  assertClose(
    got,
    y.data.flatMap((b) => x.data.map((a) => Math.sin(a) * b)),
    1e-14,
  );
  const columns = run((a) => vmap((v: F64) => reduceSum(v) as F64, { in: 1 })(a as never), values([2, 3], 3))[0]!;
  const { data } = values([2, 3], 3);
  assertClose(
    columns,
    [0, 1, 2].map((j) => data[j]! + data[3 + j]!),
    1e-14,
  );
});

test("axes follow trees: shared leaves stay as they are, and their gradient is the sum", () => {
  const layer = (p: { w: F64; b: F64 }, x: F64): F64 =>
    tanh(add(reshape(matmul(reshape(x, [1, 3]), p.w), [2]), p.b)) as F64;
  const loss = (p: { w: F64; b: F64 }, x: F64): F64 =>
    reduceSum(vmap(layer, { in: [{ w: null, b: 0 }, 0] })(p, x) as F64) as F64;
  const [w, b, x] = [values([3, 2], 1), values([4, 2], 2), values([4, 3], 3)];
  const flat = (w1: F64, b1: F64, x1: F64): F64 => loss({ w: w1, b: b1 }, x1);
  const slopes = run(
    (...args) => grad((p: { w: F64; b: F64 }) => loss(p, args[2]!))({ w: args[0]!, b: args[1]! }),
    w,
    b,
    x,
  );
  assertClose(slopes[0]!, centralDifferences(flat as never, [w, b, x], 0), 1e-8);
  assertClose(slopes[1]!, centralDifferences(flat as never, [w, b, x], 1), 1e-8);
});

test("loops hold examples in the carries that need them, and are differentiated as one loop", () => {
  const last = (gain: F64, xs: F64): F64 => {
    const start = { h: splat(0, [], "f64") as unknown as F64, t: splat(0, [], "i32") as Tensor<readonly [], "i32"> };
    const { carry } = scan(
      ({ h, t }, _x) => {
        const x = reshape(dynamicSlice(xs, t, 0, 1), []) as unknown as F64;
        return { carry: { h: tanh(add(mul(gain, h), x)) as unknown as F64, t: add(t, 1) as typeof t }, y: [] };
      },
      start,
      [] as never[],
      { length: 5 },
    );
    return carry.h;
  };
  const [gain, xs] = [values([3], 1), values([3, 5], 2)];
  const all = run((g, x) => vmap(last)(g as never, x as never), gain, xs)[0]!;
  assertClose(all, run((g, x) => eachExample(last, g!, x!), gain, xs).flat(), 1e-13);
  const total = (g: F64, x: F64): F64 => reduceSum(vmap(last)(g as never, x as never) as F64) as F64;
  const slopes = run((g, x) => [0, 1].map((argument) => valueAndGrad(total, { argument })(g!, x!).grad), gain, xs);
  assertClose(slopes[0]!, centralDifferences(total as never, [gain, xs], 0), 1e-8);
  assertClose(slopes[1]!, centralDifferences(total as never, [gain, xs], 1), 1e-8);
  // The counter is the same for all examples: no loop carries one for each.
  const { graph } = trace("loop", (g: Tensor, x: Tensor) => vmap(last)(g as never, x as never), [
    tensorType("f64", [3]),
    tensorType("f64", [3, 5]),
  ]);
  const loop = topologicalOrder(graph.results).find((node) => node.op.name === "scan")!;
  const carried = loop.results.map(({ dtype, shape }) => [dtype, ...shape].join());
  assert.deepEqual(carried.toSorted(), ["f64,3", "i32"]);
});

test("custom rules are batched with the function, in both orders of vmap and grad", () => {
  // The derivative is wrong on purpose, so that nothing but the rule can give it.
  const cube = customVjp((x: F64, w: F64): F64 => mul(mul(x, x), mul(x, w)) as F64, {
    forward: (x: F64, w: F64) => ({ value: mul(mul(x, x), mul(x, w)) as F64, residuals: { x, w } }),
    backward: ({ x, w }, ct) => [mul(ct as F64, add(x, w)) as never, mul(ct as F64, mul(x, 2)) as never],
  });
  const [xs, w] = [values([4], 1), values([], 2)];
  const ones = xs.data.map((x) => x + w.data[0]!);
  const inside = run((a, b) => vmap((x: F64) => grad((u: F64) => cube(u, b!))(x))(a as never), xs, w)[0]!;
  assertClose(inside, ones, 1e-14);
  const total = (x: F64, b: F64): F64 => reduceSum(vmap((u: F64) => cube(u, b))(x as never) as F64) as F64;
  const outside = run((a, b) => [grad(total)(a!, b!), valueAndGrad(total, { argument: 1 })(a!, b!).grad], xs, w);
  assertClose(outside[0]!, ones, 1e-14);
  assertClose(outside[1]!, [xs.data.reduce((sum, x) => sum + 2 * x, 0)], 1e-14);
});

test("an index an example, with the derivative of what it picks", () => {
  const picked = (table: F64, at: Tensor<readonly [], "i32">): F64 =>
    reduceSum(sin(gather(table as Tensor<readonly [number, number], "f64">, at))) as F64;
  const ids = [2, 0, 2];
  const table = values([3, 3, 2], 1);
  const all = run((t) => {
    const at = gatherIds(ids);
    return grad((u: F64) => reduceSum(vmap(picked)(u as never, at as never) as F64) as F64)(t!);
  }, table)[0]!;
  assertClose(
    all,
    table.data.map((x, i) => (Math.floor(i / 2) % 3 === ids[Math.floor(i / 6)] ? Math.cos(x) : 0)),
    1e-14,
  );
});

function gatherIds(ids: readonly number[]): Tensor<readonly [number], "i32"> {
  return ids.map((id) => splat(id, [1], "i32")).reduce((a, b) => concat([a, b], 0) as never) as Tensor<
    readonly [number],
    "i32"
  >;
}

test("jvp of vmap and vmap of jvp agree", () => {
  const fn = (x: F64): F64 => mul(sin(x), transpose(x as never) as F64) as F64;
  const [x, v] = [values([3, 2, 2], 1), values([3, 2, 2], 2)];
  const outside = run((a, b) => jvp(vmap(fn))([a as never], [b as never]).tangent, x, v)[0]!;
  const inside = run((a, b) => vmap((p: F64, t: F64) => jvp(fn)([p], [t]).tangent)(a as never, b as never), x, v)[0]!;
  assertClose(inside, outside, 1e-14);
});

test("what does not fit is named", () => {
  inTrace(() => {
    const x = parameter("x", tensorType("f64", [4, 2])) as F64;
    const y = parameter("y", tensorType("f64", [3, 2])) as F64;
    const w = parameter("w", tensorType("ternary", [4, 2])) as Tensor<readonly number[], "ternary">;
    const sum = (a: { p: F64 }, b: F64) => add(a.p, b);
    assert.throws(
      () => vmap(sum)({ p: x } as never, y as never),
      /different numbers of examples[^]*argument 1[^]*4, as argument 0, p has/,
    );
    assert.throws(() => vmap(sum, { in: [{ q: 0 }, 0] })({ p: x }, y), TreeMismatchError);
    assert.throws(() => vmap(sum, { in: [0] })({ p: x }, y), /argument 1[^]*an axis for every argument/);
    assert.throws(() => vmap((a: F64) => a, { in: 2 })(x), /an axis of f64\[4, 2\]/);
    assert.throws(() => vmap((a: F64) => a, { in: null })(x), /number of examples is unknown/);
    assert.throws(() => vmap((a: F64) => a, { out: 2 })(x), /the result[^]*an axis of/);
    assert.throws(() => vmap((a: typeof w) => a)(w as never), BatchError);
  });
});

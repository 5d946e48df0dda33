// NaN and Inf are put into graphs at a known place, and have to be traced back to it.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Tensor } from "./graph.ts";
import type { HostTensor } from "./host.ts";
import * as T from "./index.ts";
import { findNonFinite, formatNonFinite } from "./non_finite.ts";

type Vector = Tensor<readonly number[], "f32">;
const f32 = (...values: number[]): HostTensor => ({
  type: { dtype: "f32", shape: [values.length] },
  data: Float64Array.from(values),
});
const traced = (fn: (x: Vector) => unknown, length: number): T.Graph =>
  T.trace("test", fn as (x: Tensor) => unknown, [T.tensorType("f32", [length])]).graph;

test("the first op that made it is named, with place, inputs and trail", () => {
  const graph = traced((x) => T.reduceSum(T.mul(T.log(T.sub(x, 1)), x)), 3);
  const origin = findNonFinite(graph, [f32(3, 1, 2)]);
  assert.equal(origin?.op, "log");
  assert.equal(origin.value, -Infinity);
  assert.deepEqual(origin.index, [1]);
  assert.deepEqual(origin.inputs, [{ type: { dtype: "f32", shape: [3] }, least: 0, greatest: 2 }]);
  assert.equal(origin.trail, "reshape <- reduce_sum <- mul <- log");
  assert.match(
    formatNonFinite(origin),
    /log made the first -Infinity: f32\[3\] at \[1\]\nout of {3}f32\[3\] from 0 to 2/,
  );
});

test("finite results have no origin", () => {
  assert.equal(
    findNonFinite(
      traced((x) => T.exp(x), 2),
      [f32(1, 2)],
    ),
    undefined,
  );
});

test("float32 overflows where float64 would not", () => {
  assert.equal(
    findNonFinite(
      traced((x) => T.log(T.exp(x)), 1),
      [f32(100)],
    )?.op,
    "exp",
  );
});

test("an Inf that is selected away is not blamed for a NaN made elsewhere", () => {
  const graph = traced((x) => {
    const masked = T.select(T.lt(x, 0.5), 0, T.log(x));
    return T.reduceSum(T.add(masked, T.sqrt(T.sub(x, 0.5))));
  }, 2);
  assert.equal(findNonFinite(graph, [f32(0, 1)])?.op, "sqrt");
});

test("NaN out of Inf is made where they meet", () => {
  const graph = traced((x) => T.mul(T.sub(T.splat(Infinity, [1], "f32"), T.splat(Infinity, [1], "f32")), x), 1);
  assert.equal(findNonFinite(graph, [f32(1)])?.op, "sub");
});

test("inside of a loop the op of its body is named", () => {
  const graph = traced((x) => {
    const step = (carry: Vector) => {
      const next = T.div(1, T.sub(carry, 1)) as Vector;
      return { carry: next, y: next };
    };
    return T.scan(step, x, [], { length: 3 });
  }, 1);
  const origin = findNonFinite(graph, [f32(2)]);
  assert.deepEqual([origin?.op, origin?.inner], ["scan", "div"]);
});

test("an input that already has it is named", () => {
  const origin = findNonFinite(
    traced((x) => T.mul(x, 2), 2),
    [f32(1, Number.NaN)],
  );
  assert.equal(origin?.parameter, "0");
  assert.match(formatNonFinite(origin), /input 0 .* already has NaN at \[1\]/);
});

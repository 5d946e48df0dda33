// The graph IR and tracing: interning, substitution, trees of tensors, and errors that say what was wrong.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Tensor } from "./graph.ts";
import { inline, inTrace, substitute, topologicalOrder, TraceError } from "./graph.ts";
import { interpret } from "./interpreter.ts";
import { ShapeMismatchError } from "./op.ts";
import { add } from "./ops/add.ts";
import { broadcastTo } from "./ops/broadcast.ts";
import { constant } from "./ops/constant.ts";
import { exp } from "./ops/exp.ts";
import { matmul } from "./ops/matmul.ts";
import { mul } from "./ops/mul.ts";
import { neg } from "./ops/neg.ts";
import { pad } from "./ops/pad.ts";
import { reduceSum } from "./ops/reduce_sum.ts";
import { reshape } from "./ops/reshape.ts";
import { splat } from "./ops/splat.ts";
import { sub } from "./ops/sub.ts";
import { transpose } from "./ops/transpose.ts";
import { parameter, tensorType, trace } from "./trace.ts";
import { TreeMismatchError } from "./tree.ts";

const vector = tensorType("f32", [3]);

test("the same op on the same inputs is one node", () => {
  inTrace(() => {
    const x = parameter("x", vector);
    assert.equal(add(x, x), add(x, x));
    assert.notEqual(add(x, x), mul(x, x));
    assert.equal(splat(0, [2]), splat(0, [2]));
    assert.notEqual(splat(0, [2]), splat(-0, [2]));
    assert.notEqual(splat(0, [2]), splat(0, [2], "i32"));
    assert.equal(constant([1, -0], [2]), constant([1, -0], [2]));
    assert.notEqual(constant([1, -0], [2]), constant([1, 0], [2]));
    assert.notEqual(parameter("x", vector), parameter("x", vector));
  });
});

test("nodes of one hash are told apart", () => {
  inTrace(() => {
    const x = parameter("x", vector);
    // The hash sums attributes, so that it is the same for both.
    const [a, b] = [pad(x, [1], [2]), pad(x, [2], [1])];
    assert.notEqual(a, b);
    assert.deepEqual([pad(x, [1], [2]), pad(x, [2], [1])], [a, b]);
    const all = Array.from({ length: 2000 }, (_none, i) => mul(x, i / 7));
    assert.equal(new Set(all).size, all.length);
    assert.ok(all.every((node, i) => node === mul(x, i / 7)));
  });
});

test("what changes nothing makes no node", () => {
  inTrace(() => {
    const x = parameter("x", tensorType("f32", [2, 3]));
    for (const same of [add(x, 0), mul(x, 1), sub(x, 0), neg(neg(x)), reshape(x, [2, 3]), broadcastTo(x, [2, 3])]) {
      assert.equal(same, x);
    }
    assert.equal(transpose(transpose(x)), x);
    assert.equal(reshape(reshape(x, [6]), [2, 3]), x);
  });
});

test("tensors of another trace and tensors outside any are refused", () => {
  assert.throws(() => splat(1, [2]), TraceError);
  const leaked = trace("leak", (x: Tensor) => x, [vector]).results;
  const { graph } = trace("use", (x: Tensor) => add(x, leaked), [vector]);
  const one = { type: vector, data: Float64Array.of(1, 2, 3) };
  assert.throws(() => interpret(graph, [one]), /no parameter/);
});

test("a shape error names the op, the shapes and the mistake", () => {
  const wrong = (): unknown =>
    trace("f", (a: Tensor<readonly number[], "f32">, b: Tensor<readonly number[], "f32">) => matmul(a, b), [
      tensorType("f32", [2, 3]),
      tensorType("f32", [5, 4]),
    ]);
  assert.throws(wrong, (error) => {
    assert.ok(error instanceof ShapeMismatchError);
    assert.equal(error.op, "matmul");
    assert.match(error.message, /matmul: inner dimensions differ: 3 and 5\n {2}got: {6}f32\[2, 3\], f32\[5, 4\]/);
    return true;
  });
});

test("a deep graph needs no deep stack", () => {
  const { graph } = trace(
    "deep",
    (x: Tensor) => {
      let y = x;
      for (let i = 0; i < 20_000; i++) y = add(y, x);
      return y;
    },
    [tensorType("f32", [1])],
  );
  assert.equal(topologicalOrder(graph.results).length, 20_001);
  assert.equal(interpret(graph, [{ type: graph.parameters[0]!.type, data: Float64Array.of(1) }])[0]!.data[0], 20_001);
});

test("inlining computes the function of other arguments, and substitution keeps what it does not touch", () => {
  const { graph: inner } = trace("inner", (x: Tensor) => mul(add(x, 1), x), [vector]);
  const { graph } = trace("outer", (x: Tensor) => inline(inner, [mul(x, 2)])[0]!, [vector]);
  const [result] = interpret(graph, [{ type: vector, data: Float64Array.of(1, 2, 3) }]);
  assert.deepEqual(Array.from(result!.data), [6, 20, 42]);
  inTrace(() => {
    const [x, y, z] = [parameter("x", vector), parameter("y", vector), parameter("z", vector)];
    const kept = mul(y, y);
    const rebuilt = substitute([add(x, kept), kept], new Map([[x, z]]));
    assert.deepEqual(rebuilt, [add(z, kept), kept]);
  });
});

test("trace names inputs and results by their place in the trees", () => {
  const traced = trace(
    "f",
    (w: { weight: Tensor; blocks: Tensor[] }, x: Tensor) => ({ y: [add(w.weight, x)], z: add(w.blocks[1]!, x) }),
    [{ weight: vector, blocks: [vector, vector] }, vector],
  );
  assert.deepEqual(traced.inputPaths, ["0.weight", "0.blocks.0", "0.blocks.1", "1"]);
  assert.deepEqual(traced.resultPaths, ["y.0", "z"]);
  assert.equal(traced.graph.parameters.length, 4);
  assert.throws(
    () => trace("g", () => ({ a: { b: 3 } }), []),
    (error) => {
      assert.ok(error instanceof TreeMismatchError);
      assert.match(error.message, /a tree holds 3\n {2}where: {4}a\.b/);
      return true;
    },
  );
});

test("reductions drop or keep axes, count negative ones from the end, and refuse others", () => {
  inTrace(() => {
    const x = parameter("x", tensorType("f32", [2, 3, 4])) as Tensor<readonly [2, 3, 4], "f32">;
    assert.deepEqual(reduceSum(x, -1).shape, [2, 3]);
    assert.deepEqual(reduceSum(x, 1, true).shape, [2, 1, 4]);
    assert.deepEqual(reduceSum(x, [0, -1]).shape, [3]);
    assert.deepEqual(reduceSum(x).shape, []);
    assert.throws(() => reduceSum(x, [3]), ShapeMismatchError);
    assert.throws(() => reduceSum(x, [1, 1]), ShapeMismatchError);
    assert.deepEqual(exp(x).shape, [2, 3, 4]);
  });
});

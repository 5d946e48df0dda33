// Derivatives of composite ops: one body for all uses that are alike, and to any order those of what the op expands to.

import assert from "node:assert/strict";
import { test } from "node:test";
import { linearize } from "../derive/linearize.ts";
import { transpose } from "../derive/transpose.ts";
import type { Shape } from "@fidelity/units";
import type { FloatDtype } from "../dtype.ts";
import type { Graph, Tensor } from "../graph.ts";
import { substitute, topologicalOrder } from "../graph.ts";
import { interpret } from "../interpreter.ts";
import { parameter, tensorType, trace } from "../trace.ts";
import { add } from "./add.ts";
import { mul } from "./mul.ts";
import { reduceSum } from "./reduce_sum.ts";
import { rmsNorm } from "./rms_norm.ts";
import { rsqrt } from "./rsqrt.ts";
import { sigmoid } from "./sigmoid.ts";
import { silu } from "./silu.ts";
import { splat } from "./splat.ts";

const matrix = tensorType("f32", [2, 3]);
type Float = Tensor<Shape, FloatDtype>;
type Fn = (x: Float) => Float;

/** The gradient of the sum of `fn` over its elements, weighted by 2. */
function gradientAt(fn: Fn, at: Float): Float {
  const moved = parameter("moved", at.type);
  const value = fn(at);
  const [gradient] = transpose(linearize([value], [at], [moved]), [moved], [splat(2, value.shape, "f32")]);
  return gradient as Float;
}

/** The gradient and how it changes along a direction: forward over reverse mode. */
function derivatives(fn: Fn): Graph {
  const both = (x: Float, direction: Float): Tensor[] => {
    const at = parameter("at", x.type) as Float;
    const gradient = gradientAt(fn, at);
    const [change] = linearize([gradient], [at], [direction]);
    return substitute([gradient, change!], new Map([[at, x]]));
  };
  return trace("derivatives", both, [matrix, matrix]).graph;
}

const calls = ({ results }: Graph): unknown[] =>
  topologicalOrder(results).flatMap(({ op, attrs }) => (op.name === "call" ? [attrs["body"]] : []));

test("gradients of an op in many places are calls of one body, other types of another", () => {
  const chain = (count: number): Graph => {
    const deep: Fn = (x) => Array.from({ length: count }).reduce((y: Float) => mul(rmsNorm(y), y) as Float, x);
    return trace("chain", (x: Float) => [gradientAt(deep, x)], [matrix]).graph;
  };
  assert.equal(calls(chain(4)).length, 4);
  assert.equal(new Set([...calls(chain(4)), ...calls(chain(2))]).size, 1);
  const other = trace("other", (x: Float) => [gradientAt((y) => rmsNorm(y), x)], [tensorType("f32", [2, 4])]).graph;
  assert.notEqual(calls(other)[0], calls(chain(1))[0]);
  const close = trace("close", (x: Float) => [gradientAt((y) => rmsNorm(y, { epsilon: 1 }), x)], [matrix]).graph;
  assert.notEqual(calls(close)[0], calls(chain(1))[0], "and other attributes, too");
});

test("first and second derivatives are those of the expansion", () => {
  const meanSquare: Fn = (x) => add(mul(reduceSum(mul(x, x), -1, true), 1 / 3), 1e-6);
  const cases: readonly (readonly [Fn, Fn])[] = [
    [(x) => rmsNorm(x), (x) => mul(x, rsqrt(meanSquare(x)))],
    [(x) => silu(x), (x) => mul(x, sigmoid(x))],
  ];
  const inputs = [
    { type: matrix, data: Float64Array.of(0.5, -1, 2, 1, 0.25, -3) },
    { type: matrix, data: Float64Array.of(1, 0.5, -0.25, 2, -1, 1) },
  ];
  for (const [composite, plain] of cases) {
    const expected = interpret(derivatives(plain), inputs);
    for (const [i, { data }] of interpret(derivatives(composite), inputs).entries()) {
      assert.ok(expected[i]!.data.some((value) => Math.abs(value) > 1e-3));
      data.forEach((value, at) => assert.ok(Math.abs(value - expected[i]!.data[at]!) < 1e-12));
    }
  }
});

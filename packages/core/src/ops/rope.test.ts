// rope against rotations written as complex numbers, and the property that it is made for.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TensorType } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import { interpret } from "../interpreter.ts";
import type { OpDef } from "../op.ts";
import { ShapeMismatchError } from "../op.ts";
import { graphOf, randomHost, relativeError, seededRandom } from "../testing.ts";
import { runKernels } from "./kernels/testing.ts";
import type { RopeAttrs } from "./rope.ts";
import { ropeOp } from "./rope.ts";

const op = ropeOp as unknown as OpDef;
const ATTRS: RopeAttrs = { theta: 10000, pairing: "adjacent", inverse: false };
const at = (position: number): HostTensor => ({ type: { dtype: "i32", shape: [] }, data: Float64Array.of(position) });
const run = (x: HostTensor, position: number, attrs: RopeAttrs = ATTRS): Float64Array =>
  interpret(graphOf(op, [x.type, at(0).type], attrs), [x, at(position)])[0]!.data;
const type = (...shape: number[]): TensorType => ({ dtype: "f32", shape });

void test("pairs are rotated as complex numbers by e^(i p theta^(-2j/D))", () => {
  const [batch, time, heads, size] = [2, 3, 2, 14];
  const x = randomHost(type(batch, time, heads, size), seededRandom(1));
  for (const pairing of ["adjacent", "halves"] as const) {
    const expected = new Float64Array(x.data.length);
    for (let row = 0; row < batch * time * heads; row++) {
      const position = 9 + (Math.floor(row / heads) % time);
      for (let j = 0; j < size / 2; j++) {
        const [re, im] = pairing === "adjacent" ? [2 * j, 2 * j + 1] : [j, j + size / 2];
        const angle = position / 10000 ** ((2 * j) / size);
        const [a, b] = [x.data[row * size + re]!, x.data[row * size + im]!];
        expected[row * size + re] = a * Math.cos(angle) - b * Math.sin(angle);
        expected[row * size + im] = b * Math.cos(angle) + a * Math.sin(angle);
      }
    }
    assert.ok(relativeError(run(x, 9, { ...ATTRS, pairing }), expected) < 1e-12);
    for (const lanes of [4, 8]) {
      const [y] = runKernels(op, [x, at(9)], { ...ATTRS, pairing }, lanes);
      assert.ok(relativeError(y!.data, expected) < 1e-6, `${pairing}, ${lanes} lanes`);
    }
  }
});

void test("the inverse undoes it, in the kernels too", () => {
  const x = randomHost(type(1, 4, 1, 10), seededRandom(2));
  for (const pairing of ["adjacent", "halves"] as const) {
    const [turned] = runKernels(op, [x, at(3)], { ...ATTRS, pairing });
    const [back] = runKernels(op, [turned!, at(3)], { ...ATTRS, pairing, inverse: true });
    assert.ok(relativeError(back!.data, x.data) < 1e-6);
  }
});

void test("products of two rotated vectors depend on the distance of their positions only", () => {
  const random = seededRandom(4);
  const [q, k] = [randomHost(type(1, 1, 1, 16), random), randomHost(type(1, 1, 1, 16), random)];
  const product = (p: number, s: number): number => {
    const [a, b] = [run(q, p), run(k, s)];
    return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
  };
  assert.ok(Math.abs(product(7, 2) - product(105, 100)) < 1e-9);
});

void test("late positions keep their phase in float32", () => {
  const x = randomHost(type(1, 1, 1, 8), seededRandom(6));
  const [y] = runKernels(op, [x, at(100_003)], ATTRS);
  assert.ok(relativeError(y!.data, run(x, 100_003)) < 1e-6);
});

void test("odd heads and other ranks are refused", () => {
  assert.throws(() => graphOf(op, [type(1, 1, 1, 7), at(0).type], ATTRS), ShapeMismatchError);
  assert.throws(() => graphOf(op, [type(1, 1, 8), at(0).type], ATTRS), ShapeMismatchError);
  assert.throws(() => graphOf(op, [type(1, 1, 1, 8), type()], ATTRS), /position is not an i32 scalar/);
});

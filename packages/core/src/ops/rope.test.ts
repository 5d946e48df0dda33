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
import { ropeScaling } from "./rope_scaling.ts";

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

void test("of heads turned in part the rest stays, frequencies have divisors, and what is turned a factor", () => {
  const [time, heads, size, dims] = [3, 2, 21, 12];
  const x = randomHost(type(1, time, heads, size), seededRandom(7));
  const divisors = [1, 2, 1.5, 8, 0.5, 3];
  const magnitude = 1.3;
  for (const pairing of ["adjacent", "halves"] as const) {
    const expected = x.data.slice();
    for (let row = 0; row < time * heads; row++) {
      for (let j = 0; j < dims / 2; j++) {
        const [re, im] = pairing === "adjacent" ? [2 * j, 2 * j + 1] : [j, j + dims / 2];
        const angle = (5 + Math.floor(row / heads)) / 500 ** ((2 * j) / dims) / divisors[j]!;
        const [a, b] = [x.data[row * size + re]!, x.data[row * size + im]!];
        expected[row * size + re] = magnitude * (a * Math.cos(angle) - b * Math.sin(angle));
        expected[row * size + im] = magnitude * (b * Math.cos(angle) + a * Math.sin(angle));
      }
    }
    const attrs: RopeAttrs = { theta: 500, pairing, inverse: false, dims, divisors, magnitude };
    assert.ok(relativeError(run(x, 5, attrs), expected) < 1e-12);
    for (const lanes of [4, 8]) {
      const [y] = runKernels(op, [x, at(5)], attrs, lanes);
      assert.ok(relativeError(y!.data, expected) < 1e-6, `${pairing}, ${lanes} lanes`);
    }
  }
});

void test("positions are divided, pairs by themselves, and by YaRN as its paper says", () => {
  assert.deepEqual(ropeScaling({}, 8, 10000), {});
  assert.deepEqual(ropeScaling({ linearScale: 4 }, 4, 10000), { divisors: [4, 4] });
  assert.deepEqual(ropeScaling({ frequencyFactors: [1, 8], linearScale: 2 }, 4, 10000), { divisors: [2, 16] });
  // Pairs of 64 elements that turn more than 32 times in 4096 tokens, less than once, and something between.
  const yarn = { factor: 40, originalContext: 4096 };
  const { divisors, magnitude } = ropeScaling({ yarn }, 64, 10000);
  const turns = (pair: number): number => (4096 * 10000 ** ((-2 * pair) / 64)) / (2 * Math.PI);
  assert.ok(Math.abs(magnitude! - (1 + 0.1 * Math.log(40))) < 1e-12);
  assert.equal(divisors!.length, 32);
  divisors!.forEach((divisor, pair) => {
    if (turns(pair) > 32 * 1.5) assert.equal(divisor, 1);
    else if (turns(pair) < 1 / 1.5) assert.ok(Math.abs(divisor - 40) < 1e-9);
    assert.ok(pair === 0 || divisor >= divisors![pair - 1]!);
  });
  // The pair that turns 32 times is the 10.47th, the one that turns once the 22.52th: from 10 to 23 they go over.
  const kept = 1 - (16 - 10) / 13;
  assert.ok(Math.abs(1 / divisors![16]! - ((1 - kept) / 40 + kept)) < 1e-12);
  const plain = ropeScaling({ yarn: { ...yarn, extFactor: 0, attnFactor: 2 } }, 64, 10000);
  assert.ok(plain.divisors!.every((divisor) => Math.abs(divisor - 40) < 1e-9) && plain.magnitude === 2);
});

void test("odd heads and other ranks are refused", () => {
  assert.throws(() => graphOf(op, [type(1, 1, 1, 7), at(0).type], ATTRS), ShapeMismatchError);
  assert.throws(() => graphOf(op, [type(1, 1, 8), at(0).type], ATTRS), ShapeMismatchError);
  assert.throws(() => graphOf(op, [type(1, 1, 1, 8), type()], ATTRS), /position is not an i32 scalar/);
  const refuse = (attrs: Partial<RopeAttrs>, problem: RegExp): void => {
    assert.throws(() => graphOf(op, [type(1, 1, 1, 8), at(0).type], { ...ATTRS, ...attrs }), problem);
  };
  for (const dims of [0, 3, 10, 2.5, -2]) refuse({ dims }, /elements of a head cannot be turned/);
  for (const divisors of [
    [1, 1],
    [1, 1, 0, 1],
    [1, 1, NaN, 1],
  ])
    refuse({ divisors }, /not 4 positive numbers/);
  refuse({ magnitude: Infinity }, /factor of what is turned/);
});

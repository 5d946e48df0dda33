// The elementary functions of the loop IR, run as WebAssembly, against Math.* in float64: random arguments over the
// whole useful range, measured in units in the last place, and the edges.

import assert from "node:assert/strict";
import { test } from "node:test";
import { cosOf, erfOf, exp2Of, expOf, logOf, loopType, OPS, sigmoidOf, sinOf, tanhOf } from "@fidelity/core";
import type { KernelBuilder, LoopKind, LoopType, LoopValue, TensorType } from "@fidelity/core";
import { mapByKernel } from "./testing.node.ts";

interface Case {
  readonly name: string;
  /** Float kinds that it is for; both unless said. */
  readonly kinds?: readonly LoopKind[];
  readonly apply: (k: KernelBuilder, x: LoopValue) => LoopValue;
  readonly exact: (x: number) => number;
  /** Maps [0, 1) to arguments. */
  readonly argument: (uniform: number, i: number) => number;
  /** Largest error in units in the last place, float32 and float64. */
  readonly ulps: readonly [number, number];
  readonly edges: readonly number[];
}

const SCALAR: TensorType = { dtype: "f64", shape: [] };
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const angle = (u: number, i: number): number => (2 * u - 1) * [1, 10, 1e3, 1e6][i % 4];

const CASES: readonly Case[] = [
  {
    name: "exp",
    apply: expOf,
    exact: Math.exp,
    argument: (u) => -87 + u * 175.7,
    ulps: [2.5, 2],
    edges: [0, -0, 1e-30, Infinity, -Infinity, NaN, 1000, -1000, 88.72283172607422, 88.75, -104],
  },
  {
    name: "exp2",
    kinds: ["f32"],
    apply: exp2Of,
    exact: (x) => 2 ** x,
    argument: (u) => -125 + u * 252.9,
    ulps: [2, 0],
    edges: [0, -0, 1e-30, Infinity, -Infinity, NaN, 1000, -1000, 127.99, 128.1, -150],
  },
  {
    name: "log",
    apply: logOf,
    exact: Math.log,
    argument: (u) => Math.exp((u - 0.5) * 174),
    ulps: [1.5, 2],
    edges: [0, -0, 1, -1, Infinity, -Infinity, NaN, 2 ** -149, 2 ** -130, 3e38],
  },
  {
    name: "tanh",
    apply: tanhOf,
    exact: Math.tanh,
    argument: (u, i) => (2 * u - 1) * [0.01, 0.7, 10][i % 3],
    ulps: [2, 3],
    edges: [0, Infinity, -Infinity, NaN, 100, -100, 1e-30],
  },
  {
    name: "erf",
    apply: erfOf,
    exact: (x) => OPS.erf.evaluate([{ type: SCALAR, data: Float64Array.of(x) }], {}, [SCALAR])[0]!.data[0]!,
    argument: (u, i) => (2 * u - 1) * [0.01, 1.5, 7][i % 3],
    // Of float64, some are those of the reference.
    ulps: [2.5, 8],
    edges: [0, Infinity, -Infinity, NaN, 100, -100, 1e-30, 1, -1],
  },
  {
    name: "sigmoid",
    apply: sigmoidOf,
    exact: sigmoid,
    argument: (u) => -80 + u * 120,
    ulps: [3.5, 4],
    edges: [0, Infinity, -Infinity, NaN, 100, -200],
  },
  { name: "sin", apply: sinOf, exact: Math.sin, argument: angle, ulps: [2, 4], edges: [0, Infinity, NaN, 1e-30] },
  { name: "cos", apply: cosOf, exact: Math.cos, argument: angle, ulps: [2, 4], edges: [0, -Infinity, NaN, 1e-30] },
];

/** Distance from the exact value in units of the last place of `bits` significand bits. */
function errorInUlps(got: number, exact: number, bits: number): number {
  if (Object.is(got, exact) || got === exact) return 0;
  return Math.abs(got - exact) / 2 ** (Math.floor(Math.log2(Math.abs(exact))) - bits + 1);
}

function check(item: Case, type: LoopType): void {
  const single = type.kind === "f32";
  const create = single ? Float32Array : Float64Array;
  // A fixed multiplicative sequence: dense, and the same in every run.
  const points = Array.from({ length: 4096 }, (_, i) => item.argument((i * 0.6180339887498949) % 1, i));
  const input = new create([...points, ...item.edges, ...new Array<number>(4 - (item.edges.length % 4)).fill(1)]);
  const output = single
    ? mapByKernel(input as Float32Array, type, item.apply)
    : mapByKernel(input as Float64Array, type, item.apply);
  for (let i = 0; i < input.length; i++) {
    const exact = item.exact(input[i]);
    const rounded = single ? Math.fround(exact) : exact;
    if (i < points.length && Math.abs(exact) >= 2 ** -125) {
      const ulps = errorInUlps(output[i], exact, single ? 24 : 53);
      assert.ok(ulps <= item.ulps[single ? 0 : 1], `${item.name}(${input[i]}) = ${output[i]}, ${ulps} ulps off`);
    } else if (Number.isFinite(rounded)) {
      const bound = 2 ** -125 + Math.abs(rounded) * (single ? 2 ** -22 : 2 ** -50);
      assert.ok(Math.abs(output[i] - rounded) <= bound, `${item.name}(${input[i]}) = ${output[i]}, not ${rounded}`);
    } else {
      assert.equal(output[i], rounded, `${item.name}(${input[i]})`);
    }
  }
}

for (const item of CASES) {
  for (const type of [loopType("f32", 4), loopType("f32"), loopType("f64", 2), loopType("f64")]) {
    if (item.kinds?.includes(type.kind) === false) continue;
    test(`${item.name} of ${type.kind} in ${type.lanes} lanes`, () => check(item, type));
  }
}

test("exp(0) is exactly 1 and sin of angles too large to reduce is NaN", () => {
  const f32x4 = loopType("f32", 4);
  assert.deepEqual([...mapByKernel(new Float32Array(4), f32x4, expOf)], [1, 1, 1, 1]);
  assert.deepEqual([...mapByKernel(new Float32Array(4).fill(1e30), f32x4, sinOf)], [NaN, NaN, NaN, NaN]);
});

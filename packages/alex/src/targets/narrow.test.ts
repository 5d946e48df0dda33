// Narrow dtypes on every target: what f16, bf16 and i8 stand for, and what becomes of float32 numbers in them, bit by
// bit beside the engine's Float16Array and a reference that weighs both neighbours; and products of them.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostTensor, Tensor } from "@fidelity/core";
import { bf16Value, cast, decodeTensor, interpret, matmul, tensorType, trace } from "@fidelity/core";
import { randomHost, relativeError, seededRandom } from "@fidelity/core/testing";
import { runCompiled } from "../testing.ts";
import { runGraphs, runnableMachines, whyNoNative } from "./native/testing.node.ts";
import type { GraphRun } from "./native/testing.node.ts";

/** float32 numbers: all kinds of exponents, ties of both formats and their neighbours. */
function floatsToRound(): Float64Array {
  const words = new DataView(new ArrayBuffer(4));
  const random = seededRandom(5);
  const list = [
    0,
    -0,
    NaN,
    Infinity,
    -Infinity,
    65519.996,
    65520,
    65536,
    3.4e38,
    -3.4e38,
    1e-45,
    2 ** -25,
    127.9,
    -129,
  ];
  const drawn = Array.from({ length: 2048 }, (_, i) => {
    const bits = Math.floor(random() * 2 ** 32);
    // A third each: any number, halfway between two bf16, halfway between two f16 or beyond them.
    const middles = [bits, (bits & 0xffff0000) | 0x8000, (bits & 0x87ffe000) | 0x38001000];
    words.setInt32(0, middles[i % 3]! + (i % 5 === 0 ? 1 : 0));
    return words.getFloat32(0);
  });
  return Float64Array.from([...list, ...drawn]);
}

/** The nearer of the two bf16 around a float32, the even one of equally near ones; beyond the last one is 2^128. */
function nearestBf16(value: number): number {
  if (!Number.isFinite(value)) return value;
  const words = new DataView(new ArrayBuffer(4));
  words.setFloat32(0, value);
  const low = words.getUint32(0) >>> 16;
  const [below, above] = [low, low + 1].map((bits) => {
    const number = bf16Value(bits);
    return Number.isFinite(number) ? number : Math.sign(value) * 2 ** 128;
  }) as [number, number];
  const [down, up] = [Math.abs(value - below), Math.abs(above - value)];
  return bf16Value(down < up || (down === up && low % 2 === 0) ? low : low + 1);
}

const numbers = floatsToRound();
const every16 = Uint8Array.from({ length: 2 * 65536 }, (_, i) => (i % 2 === 0 ? i / 2 : i >> 9) & 0xff);
const halves = decodeTensor(tensorType("f16", [65536]), every16);
const brains = decodeTensor(tensorType("bf16", [65536]), every16);
const bytes: HostTensor = {
  type: tensorType("i8", [255]),
  data: Float64Array.from({ length: 255 }, (_, i) => i - 128),
};
const floats: HostTensor = { type: tensorType("f32", [numbers.length]), data: numbers };
const inputs = [halves, brains, bytes, floats];

const { graph } = trace(
  "narrow",
  (h: Tensor, b: Tensor, i: Tensor, x: Tensor) => [
    cast(h, "f32"),
    cast(b, "f32"),
    cast(i, "f32"),
    cast(x, "f16"),
    cast(x, "bf16"),
    cast(x, "i8"),
    cast(cast(x, "f16"), "f32"),
    cast(h, "bf16"),
    cast(b, "f16"),
  ],
  inputs.map(({ type }) => type),
);

const toByte = (x: number): number => (Number.isNaN(x) ? 0 : Math.max(-128, Math.min(127, Math.trunc(x))));
const wanted: readonly Float64Array[] = [
  Float64Array.from(new Float16Array(every16.buffer)),
  brains.data,
  bytes.data,
  numbers.map((x) => Math.f16round(x)),
  numbers.map(nearestBf16),
  numbers.map(toByte),
  numbers.map((x) => Math.f16round(x)),
  halves.data.map(nearestBf16),
  brains.data.map((x) => Math.f16round(x)),
];

function check(results: readonly HostTensor[], where: string): void {
  results.forEach(({ data, type }, i) => {
    // A zero has no sign among integers.
    const same = type.dtype === "i8" ? (x: number): number => x + 0 : (x: number): number => x;
    const at = data.findIndex((x, j) => !Object.is(same(x), same(wanted[i]![j]!)));
    assert.equal(at, -1, `${where}, result ${i}: ${data[at]} for ${wanted[i]![at]} at ${at}`);
  });
}

/** Products whose blocks, panels and words end early, of weights [n, k] and of [k, n]. */
function products(): GraphRun[] {
  const cases = [
    ["f32", "bf16", 1, 19, 131],
    ["f32", "f16", 3, 70, 66],
    ["bf16", "bf16", 67, 37, 40],
    ["f16", "f32", 70, 33, 21],
    ["i8", "i8", 1, 23, 131],
    ["i8", "i8", 37, 50, 71],
  ] as const;
  return cases.flatMap(([a, b, m, n, k], i) =>
    [false, true].map((transposeB) => {
      const types = [tensorType(a, [m, k]), tensorType(b, transposeB ? [n, k] : [k, n])];
      const multiply = (x: Tensor, y: Tensor): Tensor => matmul(x as never, y as never, { transposeB } as never);
      const random = seededRandom(i);
      const operands = types.map((type) => randomHost(type, random, a === "i8" ? [-128, 127] : [-2, 2]));
      return { graph: trace("product", multiply, types).graph, inputs: operands };
    }),
  );
}

function checkProducts(results: readonly (readonly HostTensor[])[], runs: readonly GraphRun[]): void {
  runs.forEach((run, i) => {
    const [actual, expected] = [results[i]![0]!, interpret(run.graph, run.inputs)[0]!];
    assert.deepEqual(actual.type, expected.type);
    if (actual.type.dtype === "i32") assert.deepEqual(actual.data, expected.data);
    else assert.ok(relativeError(actual.data, expected.data) < 1e-5, `product ${i}`);
  });
}

test("narrow dtypes on the interpreter", () => check(interpret(graph, inputs), "interpreter"));

test("narrow dtypes on wasm", () => {
  check(runCompiled(graph, inputs), "wasm");
  const runs = products();
  checkProducts(
    runs.map((run) => runCompiled(run.graph, run.inputs)),
    runs,
  );
});

const skip = whyNoNative();
const machines = skip === false ? runnableMachines() : [];
// The best machine, and the ones that have no instructions for f16 or for bytes.
for (const machine of machines.filter(({ name }, i) => i === 0 || name === "x86-64" || name === "x86-64-v3")) {
  test(`narrow dtypes on native, ${machine.name}`, { skip }, async () => {
    const runs = products();
    const [conversions, ...results] = await runGraphs([{ graph, inputs }, ...runs], machine);
    check(conversions!, machine.name);
    checkProducts(results, runs);
  });
}

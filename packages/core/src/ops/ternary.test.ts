// The ternary path: quantize_activations, ternarize, dequantize and ternary_linear, against loops written here.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Attrs, TensorType } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import { encodeTensor, hostValues } from "../host.ts";
import { interpret } from "../interpreter.ts";
import type { OpDef, VectorTarget } from "../op.ts";
import { ShapeMismatchError } from "../op.ts";
import { q8Layout, storageBytes, tritsByte, tritsValue } from "../storage.ts";
import { graphOf, randomHost, relativeError, seededRandom } from "../testing.ts";
import { tensorType, trace } from "../trace.ts";
import { dequantize, dequantizeOp } from "./dequantize.ts";
import { runKernels } from "./kernels/testing.ts";
import { quantizeActivations, quantizeActivationsOp, roundHalfEven } from "./quantize_activations.ts";
import { ternarize, ternarizeOp } from "./ternarize.ts";
import { ternaryLinear, ternaryLinearOp } from "./ternary_linear.ts";

const f32 = (...shape: number[]): TensorType => ({ dtype: "f32", shape });
const host = (shape: readonly number[], data: readonly number[]): HostTensor => ({
  type: f32(...shape),
  data: Float64Array.from(data, Math.fround),
});

/** The interpreter and the kernels for some targets. */
function everyWay(op: OpDef<never>, inputs: readonly HostTensor[], attrs: Attrs = {}): HostTensor[] {
  const general = op as unknown as OpDef;
  const [interpreted] = interpret(
    graphOf(
      general,
      inputs.map(({ type }) => type),
      attrs,
    ),
    inputs,
  );
  return [interpreted!, ...TARGETS.map((target) => runKernels(general, inputs, attrs, target.lanes, target)[0]!)];
}

/** As WebAssembly is, as AVX2 is, and as AVX-512 is with all that may come with it. */
const TARGETS: readonly VectorTarget[] = [
  { lanes: 4, joinsVectors: false },
  { lanes: 4, joinsVectors: true, dot4Unsigned: true },
  { lanes: 4, joinsVectors: true, dot4: false },
  { lanes: 8, joinsVectors: false, dot4: false },
  { lanes: 16, joinsVectors: false, registers: 32, lookupEntries: 128, dot4Unsigned: true },
  { lanes: 16, joinsVectors: false, registers: 32, lookupEntries: 16, dot4Unsigned: true, tiles: true },
];

const DTYPES = ["ternary", "ternary5"] as const;

void test("rounding is to the nearest integer, and to the even one from halfway", () => {
  assert.deepEqual([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4, -2.6].map(roundHalfEven), [-2, -2, 0, 0, 2, 2, 2, -3]);
});

void test("quantize_activations: the largest of a row becomes 127 and ties round to even", () => {
  for (const q of everyWay(quantizeActivationsOp, [host([3, 4], [127, 0.5, 1.5, -2.5, -4, 2, 1, 0, 0, 0, 0, 0])])) {
    assert.deepEqual(
      [...q.data],
      [127, 0, 2, -2, -127, 64, 32, 0, 0, 0, 0, 0].map((code) => code + 0),
    );
    assert.ok(relativeError(q.scales!, [1, 4 / 127, 1e-5 / 127]) < 1e-9);
  }
});

void test("quantize_activations: values are within half a step of the input", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 90 }), fc.nat(), (rows, columns, seed) => {
      const x = randomHost(f32(rows, columns), seededRandom(seed), [-8, 8]);
      for (const q of everyWay(quantizeActivationsOp, [x])) {
        const values = hostValues(q);
        for (const [i, value] of values.entries()) {
          const step = q.scales![Math.floor(i / columns)]!;
          assert.ok(Math.abs(value - x.data[i]!) <= step * 0.50001, `${value} for ${x.data[i]}`);
        }
      }
    }),
    { numRuns: 15 },
  );
});

/** What encoding puts into storage. */
function encoded(tensor: HostTensor): Uint8Array {
  const bytes = new Uint8Array(storageBytes(tensor.type));
  encodeTensor(tensor, bytes);
  return bytes;
}

void test("quantize_activations: the kernels store row sums and zero padding, as encoding does", () => {
  const [rows, columns] = [3, 37];
  const layout = q8Layout([rows, columns]);
  for (const lanes of [4, 8]) {
    const op = quantizeActivationsOp as unknown as OpDef;
    const [q] = runKernels(op, [randomHost(f32(rows, columns), seededRandom(5))], {}, lanes);
    const expected = encoded(q!);
    for (const [from, length] of [
      [0, rows * layout.rowBytes],
      [layout.sumsOffset, rows * 4],
    ] as const) {
      assert.deepEqual(q!.bytes.slice(from, from + length), expected.slice(from, from + length));
    }
  }
});

void test("ternarize: the kernels store padding as encoding does", () => {
  for (const dtype of DTYPES) {
    for (const [rows, columns] of [
      [16, 32],
      [19, 37],
      [17, 40],
      [1, 1],
    ] as const) {
      const w = randomHost(f32(rows, columns), seededRandom(6));
      const [t] = runKernels(ternarizeOp as unknown as OpDef, [w], { dtype });
      assert.deepEqual(t!.bytes, encoded(t!));
    }
  }
});

void test("ternary5: each byte has the codes that it was made of, and few are never made", () => {
  const bytes = Array.from({ length: 243 }, (_, value) => tritsByte(value));
  assert.equal(new Set(bytes).size, 243);
  assert.deepEqual(bytes.map(tritsValue), Array.from(bytes.keys()));
  assert.ok(bytes.every((byte) => byte >= 0 && byte < 256));
});

void test("ternarize: codes are w / mean |w| rounded to -1, 0, 1, and half goes to 0", () => {
  const w = host([2, 4], [1, -1, 0.5, -0.5, 0.25, 3, -1.75, 0]);
  for (const t of DTYPES.flatMap((dtype) => everyWay(ternarizeOp, [w], { dtype }))) {
    assert.ok(Math.abs(t.scales![0]! - 1) < 1e-7);
    assert.deepEqual(
      [...t.data].map((code) => code + 0),
      [1, -1, 0, 0, 0, 1, -1, 0],
    );
  }
});

void test("ternarize: a matrix of zeros has a scale above zero", () => {
  const zeros = host([3, 5], new Array<number>(15).fill(0));
  for (const t of DTYPES.flatMap((dtype) => everyWay(ternarizeOp, [zeros], { dtype }))) {
    assert.ok(t.data.every((code) => code === 0) && Math.abs(t.scales![0]! - 1e-5) < 1e-10);
  }
});

void test("ternarize: more than one piece of partial sums and every remainder of rows and columns", () => {
  const shapes = [
    [130, 131],
    [16, 16],
    [17, 15],
    [1, 1],
    [33, 18],
  ] as const;
  for (const [rows, columns] of shapes) {
    const w = randomHost(f32(rows, columns), seededRandom(rows));
    const scale = w.data.reduce((sum, value) => sum + Math.abs(value), 0) / w.data.length;
    const expected = w.data.map((value) => (value > scale / 2 ? 1 : value < -scale / 2 ? -1 : 0));
    for (const dtype of DTYPES) {
      const [, kernels] = everyWay(ternarizeOp, [w], { dtype });
      assert.deepEqual(kernels!.data, expected);
      assert.ok(Math.abs(kernels!.scales![0]! / scale - 1) < 1e-5);
    }
  }
});

void test("dequantize: codes times scales", () => {
  for (const type of [
    { dtype: "q8", shape: [2, 3, 19] },
    { dtype: "ternary", shape: [19, 37] },
    { dtype: "ternary5", shape: [19, 37] },
    { dtype: "ternary5", shape: [17, 42] },
  ] as const) {
    const packed = randomHost(type, seededRandom(3));
    const columns = type.shape[type.shape.length - 1]!;
    const expected = packed.data.map(
      (code, i) => code * packed.scales![type.dtype === "q8" ? Math.floor(i / columns) : 0]!,
    );
    for (const y of everyWay(dequantizeOp, [packed])) assert.ok(relativeError(y.data, expected) < 1e-6);
  }
});

/**
 * Rows for the packed paths and for the other, with more rows than a chunk; outputs and inputs around the block sizes,
 * and blocks for two places with one left over and without.
 */
const LINEAR_SHAPES = [
  [1, 16, 16],
  [1, 37, 100],
  [1, 64, 33],
  [4, 33, 50],
  [5, 32, 16],
  [7, 15, 33],
  [131, 18, 20],
  [2, 1, 1],
  [3, 49, 243],
  [2, 33, 96],
  [40, 47, 130],
  [9, 16, 64],
] as const;

void test("ternary_linear: integer sums times both scales", () => {
  for (const [[m, n, k], dtype] of LINEAR_SHAPES.flatMap((shape) => DTYPES.map((dtype) => [shape, dtype] as const))) {
    const random = seededRandom(m * n * k);
    const x = randomHost({ dtype: "q8", shape: [m, k] }, random);
    const w = randomHost({ dtype, shape: [n, k] }, random);
    const expected = new Float64Array(m * n);
    for (let row = 0; row < m; row++) {
      for (let output = 0; output < n; output++) {
        let sum = 0;
        for (let i = 0; i < k; i++) sum += x.data[row * k + i]! * w.data[output * k + i]!;
        expected[row * n + output] = sum * x.scales![row]! * w.scales![0]!;
      }
    }
    for (const y of everyWay(ternaryLinearOp, [x, w]))
      assert.ok(relativeError(y.data, expected) < 1e-6, `${m} ${n} ${k}`);
  }
});

/** Where look-ups of three weights take the place of products: with rows, vectors, lines and strips left over. */
void test("ternary_linear: sums that are looked up", () => {
  const wide: VectorTarget = { lanes: 16, joinsVectors: false, registers: 32, lookupEntries: 128, permutes: true };
  const op = ternaryLinearOp as unknown as OpDef;
  for (const [[m, n, k], dtype, saturatesBesidePermutes] of [
    [[66, 1056, 269], "ternary5", true],
    [[65, 1024, 252], "ternary", false],
  ] as const) {
    const target = { ...wide, saturatesBesidePermutes };
    const random = seededRandom(n + k);
    const x = randomHost({ dtype: "q8", shape: [m, k] }, random);
    const w = randomHost({ dtype, shape: [n, k] }, random);
    // One row and one column have the longest sums that there are.
    x.data.fill(-128, 0, k);
    w.data.fill(1, 0, k);
    const [y] = runKernels(op, [x, w], {}, target.lanes, target);
    for (let row = 0; row < m; row++) {
      for (let output = 0; output < n; output += row < 2 ? 1 : 29) {
        let sum = 0;
        for (let i = 0; i < k; i++) sum += x.data[row * k + i]! * w.data[output * k + i]!;
        const scale = Math.fround(Math.fround(x.scales![row]!) * Math.fround(w.scales![0]!));
        assert.equal(y!.data[row * n + output], Math.fround(sum * scale), `${row} ${output} of ${m} ${n} ${k}`);
      }
    }
  }
});

void test("ternary_linear: the most negative code and the longest sums are exact", () => {
  const k = 512;
  for (const [m, dtype] of [1, 6].flatMap((rows) => DTYPES.map((of) => [rows, of] as const))) {
    const x: HostTensor = {
      type: { dtype: "q8", shape: [m, k] },
      data: new Float64Array(m * k).fill(-128),
      scales: new Float64Array(m).fill(1),
    };
    const w: HostTensor = {
      type: { dtype, shape: [16, k] },
      data: new Float64Array(16 * k).fill(1),
      scales: Float64Array.of(1),
    };
    for (const y of everyWay(ternaryLinearOp, [x, w])) assert.ok(y.data.every((value) => value === -128 * k));
  }
});

void test("the front end keeps shapes in the types and refuses what does not fit", () => {
  const { graph } = trace("linear", (x, w) => ternaryLinear(quantizeActivations(x), ternarize(w)), [
    tensorType("f32", [2, 3, 8]),
    tensorType("f32", [5, 8]),
  ]);
  assert.deepEqual(graph.results[0]!.type, f32(2, 3, 5));
  const refuse = (types: readonly TensorType[], op: unknown, problem: RegExp): void => {
    assert.throws(
      () => graphOf(op as OpDef, types, {}),
      (error) => error instanceof ShapeMismatchError && problem.test(error.message),
    );
  };
  refuse(
    [
      { dtype: "q8", shape: [2, 8] },
      { dtype: "ternary", shape: [5, 9] },
    ],
    ternaryLinearOp,
    /inner dimensions differ: 8 and 9/,
  );
  refuse([f32(2, 8), { dtype: "ternary", shape: [5, 8] }], ternaryLinearOp, /q8 activations/);
  refuse([f32(2, 0)], quantizeActivationsOp, /empty/);
  refuse([{ dtype: "f64", shape: [2] }], quantizeActivationsOp, /f64/);
  refuse([f32(2, 3, 4)], ternarizeOp, /matrix/);
  refuse([f32(2, 3)], dequantizeOp, /not packed/);
});

void test("dequantising what was quantised is the identity on multiples of the scale", () => {
  const { graph } = trace("round trip", (x) => dequantize(quantizeActivations(x)), [tensorType("f32", [1, 4])]);
  const x = host([1, 4], [127, -3, 64, 0]);
  assert.deepEqual(interpret(graph, [x])[0]!.data, x.data);
});

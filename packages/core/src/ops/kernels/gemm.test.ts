// The matrix product's kernels where blocks of every kind end: rows, columns and inner dimensions that fill no register
// block, no vector and no chunk, in each storage order; and the packing of panels on its own.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Dtype } from "../../dtype.ts";
import type { HostTensor } from "../../host.ts";
import { hostValues } from "../../host.ts";
import { buildKernel } from "../../loop/builder.ts";
import { evaluateKernel } from "../../loop/evaluate.ts";
import { loopType } from "../../loop/ir.ts";
import { randomHost, relativeError, seededRandom } from "../../testing.ts";
import { matmulOp } from "../matmul.ts";
import type { OpDef, VectorTarget } from "../../op.ts";
import { gemmSchedules } from "./gemm_schedule.ts";
import { packPanel } from "./gemm_pack.ts";
import { runKernels } from "./testing.ts";

/** The product of [m, k] and [k, n] in float64, whatever the storage order. */
function reference(a: HostTensor, b: HostTensor, attrs: { transposeA: boolean; transposeB: boolean }): Float64Array {
  const type = matmulOp.infer([a.type, b.type], attrs)[0]!;
  return matmulOp.evaluate([a, b], attrs, [type])[0]!.data as Float64Array;
}

interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly dtype?: "f32" | "f64";
  /** Of both operands, where they differ from `dtype`. */
  readonly stored?: readonly [Dtype, Dtype];
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
}

function check(product: Product, lanes: number, target: Partial<VectorTarget> = {}): void {
  const { m, n, k, dtype = "f32", stored = [dtype, dtype], transposeA = false, transposeB = false } = product;
  const random = seededRandom(m * 7 + n * 3 + k);
  const a = randomHost({ dtype: stored[0], shape: transposeA ? [k, m] : [m, k] }, random);
  const b = randomHost({ dtype: stored[1], shape: transposeB ? [n, k] : [k, n] }, random);
  const attrs = { transposeA, transposeB };
  const [actual] = runKernels(matmulOp as unknown as OpDef, [a, b], attrs, lanes, target);
  const error = relativeError(hostValues(actual!), reference(a, b, attrs));
  assert.ok(error < 1e-5, `${JSON.stringify({ m, n, k, ...attrs })}, ${lanes} lanes: ${error}`);
}

for (const lanes of [4, 8, 16]) {
  test(`products whose blocks end early are right with ${lanes} lanes`, () => {
    check({ m: 67, n: 37, k: 20, transposeB: true }, lanes);
    check({ m: 9, n: 45, k: 21 }, lanes);
    check({ m: 71, n: 33, k: 22, transposeA: true }, lanes);
    check({ m: 2, n: 5, k: 263, transposeA: true, transposeB: true }, lanes);
    check({ m: 13, n: 19, k: 517, transposeB: true }, lanes);
    check({ m: 6, n: 133, k: 261 }, lanes);
    check({ m: 35, n: 27, k: 14, dtype: "f64", transposeB: true }, lanes);
  });
}

for (const lanes of [4, 16]) {
  test(`operands of narrow dtypes are widened with ${lanes} lanes`, () => {
    check({ m: 67, n: 37, k: 20, stored: ["f32", "bf16"], transposeB: true }, lanes);
    check({ m: 9, n: 45, k: 21, stored: ["bf16", "f16"] }, lanes);
    check({ m: 71, n: 33, k: 22, stored: ["f16", "f32"], transposeA: true }, lanes);
    check({ m: 5, n: 19, k: 261, stored: ["bf16", "bf16"], transposeA: true, transposeB: true }, lanes);
    check({ m: 1, n: 19, k: 131, stored: ["f32", "bf16"], transposeB: true }, lanes);
    check({ m: 3, n: 70, k: 19, stored: ["f16", "bf16"] }, lanes);
  });
}

test("rows are packed where there are columns enough", () => {
  check({ m: 69, n: 515, k: 9, transposeA: true }, 16);
  check({ m: 3, n: 512, k: 1026 }, 16);
});

test("gradients of small weights, whose chunks are a panel each", () => {
  for (const lanes of [4, 16]) {
    check({ m: 13, n: 70, k: 1025, transposeA: true }, lanes, { registers: 32 });
    check({ m: 7, n: 21, k: 1061, transposeA: true, transposeB: true }, lanes, { registers: 32 });
    check({ m: 8, n: 17, k: 1027, stored: ["bf16", "f32"], transposeA: true }, lanes, { registers: 32 });
  }
});

for (const [lanes, target] of [
  [4, { joinsVectors: true }],
  [4, {}],
  [8, {}],
  [16, { registers: 32 }],
] as const) {
  test(`all schedules for ${lanes} lanes give the same bits${"joinsVectors" in target ? ", joined" : ""}`, () => {
    for (const { m, n, k, ...attrs } of [
      { m: 75, n: 53, k: 7, transposeA: false, transposeB: true },
      { m: 70, n: 49, k: 9, transposeA: true, transposeB: false },
    ]) {
      const random = seededRandom(lanes);
      const a = randomHost({ dtype: "f32", shape: attrs.transposeA ? [k, m] : [m, k] }, random);
      const b = randomHost({ dtype: "f32", shape: attrs.transposeB ? [n, k] : [k, n] }, random);
      const product = (schedule: number): Uint8Array => {
        return runKernels(matmulOp as unknown as OpDef, [a, b], attrs, lanes, target, schedule)[0]!.bytes;
      };
      const dims = { m, n, k, batch: 1 };
      const schedules = gemmSchedules(dims, lanes, { lanes, joinsVectors: false, ...target }, attrs.transposeA);
      assert.ok(schedules.length > 5);
      const first = product(0);
      for (let i = 1; i < schedules.length; i++) {
        assert.deepEqual(product(i), first, JSON.stringify([attrs, schedules[i]]));
      }
    }
  });
}

test("a panel holds its elements in the order of the inner dimension", () => {
  const property = fc.property(
    fc.constantFrom(4, 8, 16),
    fc.integer({ min: 1, max: 34 }),
    fc.integer({ min: 0, max: 9 }),
    fc.integer({ min: 1, max: 37 }),
    fc.boolean(),
    (lanes, count, room, depth, contiguous) => {
      const width = contiguous ? count : count + room;
      const strides = contiguous ? { element: 4, depth: count * 4 } : { element: depth * 4, depth: 4 };
      const kernel = buildKernel("pack", 2, (k, [from, to]) =>
        packPanel(k, { from: from!, to: to!, strides, count, width, depth }, loopType("f32", lanes)),
      );
      const memory = new ArrayBuffer(65536);
      const source = new Float32Array(memory, 0, count * depth).map((_, i) => i);
      new Float32Array(memory, 0, count * depth).set(source);
      evaluateKernel(kernel, memory, 0, 0, [0, 16384]);
      const packed = new Float32Array(memory, 16384, width * depth);
      for (let l = 0; l < depth; l++) {
        for (let i = 0; i < count; i++) {
          const expected = source[(i * strides.element + l * strides.depth) / 4];
          assert.equal(packed[l * width + i], expected, `step ${l}, element ${i}`);
        }
      }
    },
  );
  fc.assert(property, { numRuns: 200, seed: 1 });
});

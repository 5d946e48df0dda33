// Products of signed bytes: every sum exact, with rows, columns and inner dimensions that fill no block, panel or word,
// in each storage order, for targets that multiply bytes and for those that widen them.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostTensor } from "../../host.ts";
import type { OpDef } from "../../op.ts";
import { randomHost, seededRandom } from "../../testing.ts";
import { matmulOp } from "../matmul.ts";
import { runKernels } from "./testing.ts";

const BYTES = [-128, 127] as const;

interface Shape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly batch?: number;
}

const SHAPES: readonly Shape[] = [
  { m: 9, n: 35, k: 13 },
  { m: 70, n: 33, k: 8 },
  { m: 5, n: 300, k: 6, batch: 2 },
  { m: 1, n: 11, k: 71 },
  { m: 3, n: 6, k: 134, batch: 2 },
];

function check(a: HostTensor, b: HostTensor, attrs: { transposeA: boolean; transposeB: boolean }): void {
  const type = matmulOp.infer([a.type, b.type], attrs)[0]!;
  const wanted = matmulOp.evaluate([a, b], attrs, [type])[0]!.data;
  for (const lanes of [4, 8, 16]) {
    for (const dot4Unsigned of [false, true]) {
      const [actual] = runKernels(matmulOp as unknown as OpDef, [a, b], attrs, lanes, { dot4Unsigned });
      assert.deepEqual(actual!.type.dtype, "i32");
      assert.deepEqual(actual!.data, wanted, JSON.stringify([a.type, b.type, attrs, lanes, dot4Unsigned]));
    }
  }
}

for (const transposeA of [false, true]) {
  for (const transposeB of [false, true]) {
    test(`exact sums of bytes, A ${transposeA ? "" : "not "}transposed, B ${transposeB ? "" : "not "}`, () => {
      for (const { m, n, k, batch } of SHAPES) {
        const random = seededRandom(m + n + k);
        const lead = batch === undefined ? [] : [batch];
        const a = randomHost({ dtype: "i8", shape: [...lead, ...(transposeA ? [k, m] : [m, k])] }, random, BYTES);
        const b = randomHost({ dtype: "i8", shape: [...lead, ...(transposeB ? [n, k] : [k, n])] }, random, BYTES);
        check(a, b, { transposeA, transposeB });
      }
    });
  }
}

test("the largest products there are", () => {
  for (const [x, y] of [
    [-128, -128],
    [-128, 127],
    [127, 127],
  ] as const) {
    const a: HostTensor = { type: { dtype: "i8", shape: [5, 68] }, data: new Float64Array(5 * 68).fill(x) };
    const b: HostTensor = { type: { dtype: "i8", shape: [17, 68] }, data: new Float64Array(17 * 68).fill(y) };
    check(a, b, { transposeA: false, transposeB: true });
  }
});

// Products of chosen outputs: the numbers of the whole product, for the groups of the list and for no others.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BLOCK_DTYPES, isBlocked } from "../dtype.ts";
import type { TensorType } from "../graph.ts";
import type { OpDef, VectorTarget } from "../op.ts";
import { ShapeMismatchError } from "../op.ts";
import { BLOCK_FORMATS } from "../storage.ts";
import { randomHost, seededRandom } from "../testing.ts";
import { blockLinearOp } from "./block_linear.ts";
import { chooseOutputs, chosenEntries, chosenLinearOp } from "./chosen_linear.ts";
import { runKernels } from "./kernels/testing.ts";
import { matmulOp } from "./matmul.ts";

const chosenOp = chosenLinearOp as unknown as OpDef;
const TRANSPOSED = { transposeA: false, transposeB: true };

/** Groups of 100 outputs: none, all, and some with gaps before, between and behind them. */
const CHOICES = [[], [0, 1, 2, 3, 4, 5, 6], [1, 3, 4], [0], [6], [0, 6]];

for (const dtype of ["f32", "f16", "bf16", ...BLOCK_DTYPES] as const) {
  test(`${dtype}: chosen outputs are those of the whole product, to the last bit`, () => {
    const inner = isBlocked(dtype) ? 2 * BLOCK_FORMATS[dtype].blockColumns : 75;
    const random = seededRandom(7);
    const [x, w] = [rowType(dtype, inner), { dtype, shape: [100, inner] }].map((type) => randomHost(type, random));
    for (const [lanes, target] of [
      [4, { joinsVectors: true }],
      [4, {}],
      [8, {}],
      [16, { dot4Unsigned: true }],
    ] as const satisfies readonly (readonly [number, Partial<VectorTarget>])[]) {
      const [whole] = isBlocked(dtype)
        ? runKernels(blockLinearOp as unknown as OpDef, [x, w], {}, lanes, target)
        : runKernels(matmulOp as unknown as OpDef, [x, w], TRANSPOSED, lanes, target);
      for (const groups of CHOICES) {
        const data = new Float64Array(8);
        data.set([groups.length, ...groups]);
        const chosen = { type: { dtype: "i32", shape: [8] } as const, data };
        const [actual] = runKernels(chosenOp, [x, w, chosen], {}, lanes, target);
        const expected = whole.data.map((sum, o) => (groups.includes(o >>> 4) ? sum : -Infinity));
        assert.deepEqual(actual.data, expected, `${lanes} lanes, groups ${groups.join(", ")}`);
        const [reference] = chosenOp.evaluate([x, w, chosen], {}, [actual.type]);
        reference.data.forEach((sum, o) => assert.ok(sum === actual.data[o] || Math.abs(sum - actual.data[o]) < 1e-3));
      }
    }
  });
}

test("what does not fit is refused by name", () => {
  const w: TensorType = { dtype: "f32", shape: [40, 6] };
  const chosen: TensorType = { dtype: "i32", shape: [4] };
  for (const [inputs, problem] of [
    [[{ dtype: "f32", shape: [2, 6] }, w, chosen], /takes one row/u],
    [[{ dtype: "f32", shape: [1, 5] }, w, chosen], /inner dimensions/u],
    [[{ dtype: "f16", shape: [1, 6] }, w, chosen], /not f32/u],
    [[{ dtype: "f32", shape: [1, 6] }, w, { dtype: "i32", shape: [3] }], /takes i32 \[4\] for 40 outputs/u],
    [[{ dtype: "f32", shape: [1, 6] }, w, { dtype: "f32", shape: [2] }], /takes i32/u],
  ] as const) {
    assert.throws(
      () => chosenLinearOp.infer(inputs, {}),
      (error) => error instanceof ShapeMismatchError && problem.test(error.message),
    );
  }
});

test("a list has the groups of the bits that are set, or all where those are many", () => {
  const list = new Int32Array(chosenEntries(190)).fill(-9);
  const words = new Uint32Array(6);
  chooseOutputs(list, words);
  assert.equal(list[0], 0);
  for (const [output, groups] of [
    [31, [1]],
    [30, [1]],
    [189, [1, 11]],
    [64, [1, 4, 11]],
    [80, [1, 4, 5, 11]],
    [96, [1, 4, 5, 6, 11]],
    [112, [1, 4, 5, 6, 7, 11]],
    [128, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]],
  ] as const) {
    words[output >>> 5] |= 1 << (output & 31);
    chooseOutputs(list, words);
    assert.deepEqual([...list.subarray(0, 1 + groups.length)], [groups.length, ...groups]);
  }
  chooseOutputs(list.fill(-9));
  assert.deepEqual([...list], [12, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
});

function rowType(dtype: TensorType["dtype"], inner: number): TensorType {
  if (!isBlocked(dtype)) return { dtype: "f32", shape: [1, inner] };
  const { scaleColumns } = BLOCK_FORMATS[dtype];
  return { dtype: "q8", shape: [1, inner / scaleColumns, scaleColumns] };
}

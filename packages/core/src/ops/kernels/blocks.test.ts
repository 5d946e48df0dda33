// Matrices of blocks: their storage, the blocks of files, kernels where groups, records and bands end, and what refuses
// them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BLOCK_DTYPES } from "../../dtype.ts";
import type { HostTensor } from "../../host.ts";
import { decodeTensor, encodeTensor, hostValues } from "../../host.ts";
import type { OpDef, VectorTarget } from "../../op.ts";
import { ShapeMismatchError } from "../../op.ts";
import { BLOCK_FORMATS, storageBytes } from "../../storage.ts";
import { randomHost, relativeError, seededRandom } from "../../testing.ts";
import { blockLinearOp } from "../block_linear.ts";
import { dequantizeOp } from "../dequantize.ts";
import { gatherOp } from "../gather.ts";
import { matmulOp } from "../matmul.ts";
import { runKernels } from "./testing.ts";

for (const dtype of BLOCK_DTYPES) {
  const { blockColumns, scaleColumns, planes, centre } = BLOCK_FORMATS[dtype];

  test(`${dtype}: storage gives back codes and scales`, () => {
    for (const shape of [[3, 96], [2, 37], [19, 257], [5, 1], [64]]) {
      const tensor = randomHost({ dtype, shape }, seededRandom(1));
      const bytes = new Uint8Array(storageBytes(tensor.type)).fill(0xa5);
      encodeTensor(tensor, bytes);
      assert.deepEqual(decodeTensor(tensor.type, bytes), tensor);
    }
  });

  test(`${dtype}: a weight takes the bits of its file's blocks and few more`, () => {
    const bits = planes.reduce((sum, each) => sum + each, 0);
    const weightBits = (8 * storageBytes({ dtype, shape: [64, 1024] })) / (64 * 1024);
    assert.ok(weightBits <= bits + 0.625, `${weightBits} bits`);
  });

  for (const lanes of [4, 8, 16]) {
    test(`${dtype}: products, rows and values are those of the reference with ${lanes} lanes`, () => {
      for (const [m, n, blocks] of [
        [1, 35, 1],
        [3, 16, 3],
        [10, 5, 1],
      ] as const) {
        const random = seededRandom(m + n + blocks);
        const inner = blocks * blockColumns;
        const x = randomHost({ dtype: "q8", shape: [m, inner / scaleColumns, scaleColumns] }, random);
        const w = randomHost({ dtype, shape: [n, inner] }, random);
        const target = { dot4Unsigned: lanes === 16, joinsVectors: lanes === 4 };
        compare(blockLinearOp as unknown as OpDef, [x, w], lanes, target);
        compare(dequantizeOp as unknown as OpDef, [w], lanes);
        const ids = randomHost({ dtype: "i32", shape: [m] }, random, [0, n - 1]);
        compare(gatherOp as unknown as OpDef, [w, ids], lanes);
      }
    });
  }

  test(`${dtype}: the largest codes and activations do not overflow, on any target`, () => {
    const x = randomHost({ dtype: "q8", shape: [1, 512 / scaleColumns, scaleColumns] }, seededRandom(1));
    const w = randomHost({ dtype, shape: [16, 512] }, seededRandom(2));
    const most = 2 ** planes.reduce((sum, each) => sum + each, 0) - 1 - centre;
    for (const sign of [-1, 1]) {
      x.data.fill(sign * 127);
      w.data.fill(most);
      for (const dot4Unsigned of [false, true]) {
        compare(blockLinearOp as unknown as OpDef, [x, w], 4, { dot4Unsigned });
      }
    }
  });

  test(`${dtype}: forms without kernels are refused by name`, () => {
    const x = { dtype: "q8", shape: [4, blockColumns / scaleColumns, scaleColumns] } as const;
    const w = { dtype, shape: [4, blockColumns] };
    const refuse = (infer: () => unknown, problem: RegExp): void => {
      assert.throws(infer, (error) => error instanceof ShapeMismatchError && problem.test(error.message));
    };
    const uneven = { dtype, shape: [4, blockColumns + 1] };
    refuse(() => matmulOp.infer([{ ...x, dtype: "f32" }, w], { transposeA: false, transposeB: true }), /takes f32/u);
    refuse(() => blockLinearOp.infer([x, uneven], {}), /blocks of/u);
    refuse(() => blockLinearOp.infer([x, { dtype, shape: [4, 2 * blockColumns] }], {}), /inner dimensions/u);
    refuse(() => blockLinearOp.infer([{ dtype: "q8", shape: [4, blockColumns / 8, 8] }, w], {}), /has scales of/u);
    refuse(() => gatherOp.infer([uneven, { dtype: "i32", shape: [1] }], {}), /blocks of/u);
  });
}

function compare(op: OpDef, inputs: readonly HostTensor[], lanes: number, target: Partial<VectorTarget> = {}): void {
  const types = op.infer(
    inputs.map(({ type }) => type),
    {},
  );
  const [expected] = op.evaluate(inputs, {}, types);
  const [actual] = runKernels(op, inputs, {}, lanes, target);
  const error = relativeError(hostValues(actual), hostValues(expected));
  assert.ok(error < 1e-5, `${op.name}, ${lanes} lanes: ${error}`);
}

// Kernels over matrices of q8_0 and q4_0 where blocks, chunks and panels end, their storage, and what refuses them.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { BlockDtype } from "../../dtype.ts";
import { ShapeMismatchError } from "../../op.ts";
import type { OpDef } from "../../op.ts";
import { decodeTensor, encodeTensor, hostValues } from "../../host.ts";
import { repackBlocks } from "../../host_blocks.ts";
import { storageBytes } from "../../storage.ts";
import { randomHost, relativeError, seededRandom } from "../../testing.ts";
import { dequantizeOp } from "../dequantize.ts";
import { gatherOp } from "../gather.ts";
import { matmulOp } from "../matmul.ts";
import { runKernels } from "./testing.ts";

const DTYPES: readonly BlockDtype[] = ["q8_0", "q4_0"];
const ATTRS = { transposeA: false, transposeB: true };

for (const dtype of DTYPES) {
  test(`${dtype}: storage gives back codes and scales`, () => {
    for (const shape of [[3, 96], [2, 37], [5, 1], [64]]) {
      const tensor = randomHost({ dtype, shape }, seededRandom(1));
      const bytes = new Uint8Array(storageBytes(tensor.type)).fill(0xa5);
      encodeTensor(tensor, bytes);
      assert.deepEqual(decodeTensor(tensor.type, bytes), tensor);
    }
  });

  test(`${dtype}: blocks of a file keep their numbers`, () => {
    const blockBytes = dtype === "q8_0" ? 34 : 18;
    const file = Uint8Array.from({ length: 6 * blockBytes }, seededByte(3));
    const view = new DataView(file.buffer);
    for (let block = 0; block < 6; block++) view.setFloat16(block * blockBytes, 1.5 - block, true);
    const type = { dtype, shape: [2, 96] };
    const bytes = new Uint8Array(storageBytes(type));
    repackBlocks(type, dtype, file, bytes);
    const expected = Array.from({ length: 192 }, (_, i) => {
      const at = Math.floor(i / 32) * blockBytes;
      const j = i % 32;
      const code =
        dtype === "q8_0" ? view.getInt8(at + 2 + j) : ((file[at + 2 + (j % 16)] >> (j < 16 ? 0 : 4)) & 15) - 8;
      return view.getFloat16(at, true) * code;
    });
    assert.deepEqual([...hostValues(decodeTensor(type, bytes))], expected);
    assert.throws(() => repackBlocks(type, dtype, file.subarray(1), bytes), /not the blocks/u);
  });

  test(`${dtype}: panels that all chunks share are made of blocks`, () => {
    const random = seededRandom(7);
    const x = randomHost({ dtype: "f32", shape: [65, 64] }, random);
    const w = randomHost({ dtype, shape: [7, 64] }, random);
    compare(matmulOp as unknown as OpDef, [x, w], ATTRS, 16);
  });

  for (const lanes of [4, 8, 16]) {
    test(`${dtype}: products, rows and values are those of the reference with ${lanes} lanes`, () => {
      for (const [m, n, k] of [
        [1, 5, 32],
        [1, 3, 544],
        [3, 5, 160],
        [6, 9, 288],
      ] as const) {
        const random = seededRandom(m + n + k);
        const x = randomHost({ dtype: "f32", shape: [m, k] }, random);
        const w = randomHost({ dtype, shape: [n, k] }, random);
        compare(matmulOp as unknown as OpDef, [x, w], ATTRS, lanes);
        compare(dequantizeOp as unknown as OpDef, [w], {}, lanes);
        const ids = randomHost({ dtype: "i32", shape: [m] }, random, [0, n - 1]);
        compare(gatherOp as unknown as OpDef, [w, ids], {}, lanes);
      }
    });
  }

  test(`${dtype}: forms without kernels are refused by name`, () => {
    const x = { dtype: "f32", shape: [4, 64] } as const;
    const w = { dtype, shape: [4, 64] };
    const refuse = (infer: () => unknown, problem: RegExp): void => {
      assert.throws(infer, (error) => error instanceof ShapeMismatchError && problem.test(error.message));
    };
    refuse(() => matmulOp.infer([x, w], { transposeA: true, transposeB: false }), /matrix of blocks/u);
    refuse(() => matmulOp.infer([w, x], ATTRS), /takes f32/u);
    refuse(() => matmulOp.infer([x, { dtype, shape: [4, 33] }], ATTRS), /blocks of 32/u);
    refuse(
      () =>
        gatherOp.infer(
          [
            { dtype, shape: [4, 33] },
            { dtype: "i32", shape: [1] },
          ],
          {},
        ),
      /blocks of 32/u,
    );
  });
}

function seededByte(seed: number): () => number {
  const random = seededRandom(seed);
  return () => Math.floor(random() * 256);
}

function compare(
  op: OpDef,
  inputs: Parameters<typeof runKernels>[1],
  attrs: Parameters<typeof runKernels>[2],
  lanes: number,
) {
  const types = op.infer(
    inputs.map(({ type }) => type),
    attrs,
  );
  const [expected] = op.evaluate(inputs, attrs, types);
  const [actual] = runKernels(op, inputs, attrs, lanes);
  const error = relativeError(hostValues(actual), hostValues(expected));
  assert.ok(error < 1e-5, `${op.name}, ${lanes} lanes: ${error}`);
}

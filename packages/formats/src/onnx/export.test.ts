// Every op of core, written as ONNX and read again, computes what its reference computes, or is refused by name. What
// onnxruntime computes for the same files is compared by goldens/onnx/goldens.node.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { add, constant, iota, mul, reshape, select, splat, tensorType, trace } from "@fidelity/core";
import { SAMPLED_OPS } from "@fidelity/core/testing";
import { InvalidTensorError, UnsupportedFormatError } from "../errors.ts";
import { exportOnnx, readOnnx } from "./index.ts";
import { differenceOf, exportCase, runOnnx } from "./testing-export.ts";

const CASES = 6;

/** Of these at least there is a form in ONNX. */
const WRITTEN: readonly string[] = ["add", "attention", "gather", "layer_norm", "matmul", "rms_norm", "rope", "sort"];

for (const op of SAMPLED_OPS) {
  test(`${op.name} is written and read again, or refused`, () => {
    let written = 0;
    for (let seed = 0; seed < CASES; seed++) {
      const each = exportCase(op, seed);
      if (each === undefined) continue;
      let bytes: Uint8Array;
      try {
        bytes = exportOnnx({ traced: each.traced, weights: new Map() });
      } catch (error) {
        assert.ok(error instanceof UnsupportedFormatError, String(error));
        continue;
      }
      written++;
      const difference = differenceOf(runOnnx(bytes, each.feeds), each.expected);
      assert.ok(difference <= 1e-4, `case ${seed} differs by ${difference}`);
    }
    assert.ok(written > 0 || !WRITTEN.includes(op.name));
  });
}

test("values that are only repeated are no tensors of their own, and keep their shapes", () => {
  const traced = trace(
    "repeated",
    (x, flag) => [
      add(mul(x, 2), constant([1, 2, 3], [3])),
      select(flag, x, -1),
      add(splat(1, [2, 3]), iota([2, 3], "f32")),
      reshape(splat(3, [2, 2]), [4]),
    ],
    [tensorType("f32", [2, 3]), tensorType("bool", [1, 3])],
  );
  const bytes = exportOnnx({ traced, weights: new Map(), inputNames: { 0: "x", 1: "flag" } });
  const nodes = readOnnx(bytes).nodes.map(({ op }) => op);
  assert.equal(nodes.filter((op) => op === "Expand").length, 2);
  const x = { type: tensorType("f32", [2, 3]), data: Float64Array.of(1, 2, 3, 4, 5, 6) };
  const flag = { type: tensorType("bool", [1, 3]), data: Float64Array.of(1, 0, 1) };
  const results = Object.values(runOnnx(bytes, { x, flag })).map(({ data }) => [...data]);
  assert.deepEqual(results, [
    [3, 6, 9, 9, 12, 15],
    [1, -1, 3, 4, -1, 6],
    [1, 2, 3, 1, 2, 3],
    [3, 3, 3, 3],
  ]);
});

test("weights keep their names and types, and what has no form is refused by name", () => {
  const half = {
    name: "layer.weight",
    dtype: "f16",
    shape: [2],
    bytes: () => Uint8Array.of(0, 0x3c, 0, 0xc0),
  } as const;
  const traced = trace("scaled", (w, x) => mul(x, w), [tensorType("f32", [2]), tensorType("f32", [3, 2])]);
  const bytes = exportOnnx({ traced, weights: new Map([["0", half]]), metadata: { author: "somebody" } });
  const read = readOnnx(bytes);
  assert.deepEqual([read.tensors[0].name, read.tensors[0].dtype], ["layer.weight", "f16"]);
  assert.equal(read.metadata.get("author"), "somebody");
  const x = { type: tensorType("f32", [3, 2]), data: Float64Array.of(1, 2, 3, 4, 5, 6) };
  assert.deepEqual([...runOnnx(bytes, { input_1: x })["output"].data], [1, -4, 3, -8, 5, -12]);
  const short = { ...half, bytes: () => Uint8Array.of(0) };
  assert.throws(() => exportOnnx({ traced, weights: new Map([["0", short]]) }), InvalidTensorError);
  const bits = trace("bits", (tensor) => tensor, [tensorType("q8", [1, 4])]);
  assert.throws(() => exportOnnx({ traced: bits, weights: new Map() }), UnsupportedFormatError);
});

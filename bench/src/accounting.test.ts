// Operations against a count by hand, and bytes of a program whose buffers are known.

import assert from "node:assert/strict";
import { test } from "node:test";
import { compileGraph } from "@fidelity/alex";
import { silu, tensorType, trace } from "@fidelity/core";
import { createModel } from "@fidelity/models";
import { programBytes, stepOperations, totalOperations } from "./accounting.ts";

test("a MatMul-free model: seven ternary matrices a layer, and a dense head", () => {
  const config = { dim: 32, hiddenDim: 64, layerCount: 2, vocabSize: 50 };
  const model = createModel({ architecture: "matmul-free", ...config });
  const ternary = 2 * (4 * 32 * 32 + 3 * 32 * 64);
  const tokens = 3 * 8;
  const operations = stepOperations(model, 3, 8);
  assert.deepEqual(operations, {
    ternary: 2 * tokens * ternary,
    dense: tokens * (6 * 50 * 32 + 4 * ternary),
    attention: 0,
  });
  assert.equal(totalOperations(operations), 6 * tokens * (ternary + 50 * 32));
});

test("a transformer: causal attention is half of its square, tied or not the head is a product", () => {
  const sizes = { dim: 32, hiddenDim: 64, layerCount: 2, vocabSize: 50, headCount: 2, contextLength: 8 };
  const dense = 2 * (4 * 32 * 32 + 3 * 32 * 64) + 50 * 32;
  for (const tiedEmbeddings of [true, false]) {
    const model = createModel({ architecture: "llama", ...sizes, tiedEmbeddings });
    const { ternary, dense: counted, attention } = stepOperations(model, 3, 8);
    // Two products of 2 x 8 x 8 x 32 a sequence and layer, thrice for the two passes, and half of it all.
    const square = 2 * (2 * 8 * 8 * 32) * 3 * 2;
    assert.deepEqual([ternary, counted, attention], [0, 6 * 24 * dense, (3 * square) / 2]);
  }
});

test("each buffer of a call counts once", () => {
  const { graph } = trace("p", (x) => silu(x), [tensorType("f32", [4, 64])]);
  const program = compileGraph(graph, { target: { lanes: 4, joinsVectors: false } });
  assert.equal(programBytes(program), 2 * 4 * 64 * 4);
});

// join on the cotangents of a gate and of what it gates, which read the same values.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Graph } from "@fidelity/core";
import { add, matmul, mul, sub, tensorType, trace } from "@fidelity/core";
import { randomHost, seededRandom } from "@fidelity/core/testing";
import { emitAfter } from "../compile.ts";
import { runCompiled } from "../testing.ts";

const LARGE = { lanes: 4, joinsVectors: false, chunkElements: 256 };
const SQUARE = tensorType("f32", [64, 64]);

/** Two products that read h and dp; with `chained`, the second one reads what became of the first, too. */
function siblings(chained: boolean): Graph {
  return trace(
    "siblings",
    (h, dp, w) => {
      const dg = matmul(mul(dp, h), w);
      const slope = mul(mul(dp, sub(1, h)), h);
      return [dg, matmul(chained ? add(slope, dg) : slope, w)] as const;
    },
    [SQUARE, SQUARE, SQUARE] as const,
  ).graph;
}

const loops = (graph: Graph, pass: string): number =>
  emitAfter(graph, pass, { target: LARGE })
    .split("\n")
    .filter((line) => /^unit \d+: fused/.test(line)).length;

test("siblings that read the same two values become one loop", () => {
  assert.equal(loops(siblings(false), "fuse"), 2);
  assert.equal(loops(siblings(false), "join"), 1);
});

test("what needs the other's result, through a product, stays behind it", () => {
  assert.equal(loops(siblings(true), "join"), 2);
});

test("bits are the same, joined or not", () => {
  for (const graph of [siblings(false), siblings(true)]) {
    const random = seededRandom(3);
    const inputs = graph.parameters.map(({ type }) => randomHost(type, random, [-1, 1]));
    assert.deepEqual(runCompiled(graph, inputs, { chunkElements: 256 }), runCompiled(graph, inputs));
  }
});

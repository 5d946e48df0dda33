// recompute on the gate of a channel mixer, forward and backward, between the products that no unit can join.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostTensor } from "@fidelity/core";
import { add, matmul, mul, sigmoid, sub, tensorType, trace } from "@fidelity/core";
import { randomHost, seededRandom } from "@fidelity/core/testing";
import { emitAfter } from "../compile.ts";
import { runCompiled } from "../testing.ts";

/** y = (silu(h) * g) u, and the cotangents of h and g for dy = y. */
function gate() {
  const square = tensorType("f32", [64, 64]);
  const types = [square, square, square] as const;
  return trace(
    "gate",
    (x, w, u) => {
      const [h, g] = [matmul(x, w), matmul(w, x)];
      const s = sigmoid(h);
      const silu = mul(h, s);
      const y = matmul(mul(silu, g), u);
      const slope = add(s, mul(silu, sub(1, s)));
      return [y, mul(mul(y, g), slope), mul(y, silu)] as const;
    },
    types,
  ).graph;
}

const LARGE = { joinsVectors: false, chunkElements: 256 };

function written(pass: string, lanes: number): string[] {
  const text = emitAfter(gate(), pass, { target: { ...LARGE, lanes } });
  return text.split("\n").flatMap((line) => / = (\w+)\(.*\(written\)/.exec(line)?.[1] ?? []);
}

test("wide vectors leave nothing of the gate for the backward half but what it starts from", () => {
  assert.equal(written("fuse", 16).length, 5);
  assert.deepEqual(written("recompute", 16), ["mul", "mul", "mul"]);
});

test("narrow vectors leave transcendental functions where they are", () => {
  assert.deepEqual(written("recompute", 4), written("fuse", 4));
});

test("small values are left in their cache", () => {
  const target = { joinsVectors: false, lanes: 16 };
  assert.equal(emitAfter(gate(), "recompute", { target }), emitAfter(gate(), "fuse", { target }));
});

test("bits are the same with and without", () => {
  const graph = gate();
  const random = seededRandom(3);
  const inputs: HostTensor[] = graph.parameters.map(({ type }) => randomHost(type, random, [-1, 1]));
  assert.deepEqual(runCompiled(graph, inputs, LARGE), runCompiled(graph, inputs));
});

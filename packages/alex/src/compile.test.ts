// What the passes leave, as text: goldens of a small function that shows each of them at work.

import assert from "node:assert/strict";
import { test } from "node:test";
import { add, matmul, mul, rmsNorm, softmax, tensorType, trace, transpose } from "@fidelity/core";
import type { Graph } from "@fidelity/core";
import { compileGraph, emitAfter, PASSES, UnknownPassError } from "./compile.ts";

const TARGET = { lanes: 4, joinsVectors: false };

/** A product with a transposed weight, normalised and turned into probabilities. */
function example(): Graph {
  const types = [tensorType("f32", [32, 64]), tensorType("f32", [48, 64])] as const;
  return trace("example", (x, w) => softmax(matmul(rmsNorm(x), transpose(w, [1, 0]))), types).graph;
}

const emitted = (pass: string, graph = example()): string => emitAfter(graph, pass, { target: TARGET });

test("every pass has a name of its own and prints", () => {
  assert.equal(new Set(PASSES.map(({ name }) => name)).size, PASSES.length);
  for (const { name } of PASSES) assert.notEqual(emitted(name), "", name);
});

test("an unknown pass is named, with those that exist", () => {
  assert.throws(
    () => emitted("fusion"),
    (error: Error) => {
      assert.ok(error instanceof UnknownPassError);
      assert.match(error.message, /"fusion"/);
      assert.match(error.message, /memory-plan/);
      return true;
    },
  );
});

test("expand leaves no composite op", () => {
  assert.match(emitted("trace"), /fidelity\.softmax/);
  assert.doesNotMatch(emitted("expand"), /fidelity\.(softmax|rms_norm)/);
  assert.match(emitted("expand"), /fidelity\.reduce_max/);
});

test("a product reads a transposed matrix as it lies", () => {
  assert.doesNotMatch(emitted("trace"), /fidelity\.transpose/);
  assert.match(emitted("trace"), /transposeB = true/);
});

test("fuse makes one loop of the normalisation and one of the softmax", () => {
  const units = emitted("fuse")
    .split("\n")
    .filter((line) => line.startsWith("unit"));
  assert.match(
    units.join("\n"),
    /^unit 0: fused over \[32, 64\]\nunit 1: kernel .*matmul.*\nunit 2: fused over \[32, 48\]$/,
  );
});

test("the result is computed where the caller wants it, the rest in one arena", () => {
  const program = compileGraph(example(), { target: TARGET, verify: true });
  assert.equal(program.bindingCount, 3);
  const arena = program.buffers.filter(({ placement }) => placement.kind === "arena");
  assert.deepEqual(
    arena.map(({ sizeBytes }) => sizeBytes),
    [32 * 64 * 4, 32 * 48 * 4],
  );
});

test("kernels of equal layers are compiled once", () => {
  const weights = Array.from({ length: 6 }, () => tensorType("f32", [64, 64]));
  const { graph } = trace("layers", (x, ws) => ws.reduce((h, w) => add(h, mul(rmsNorm(matmul(h, w)), 0.5)), x), [
    tensorType("f32", [32, 64]),
    weights,
  ]);
  const program = compileGraph(graph, { target: TARGET, verify: true });
  assert.ok(program.schedule.length >= 12, `${program.schedule.length} items`);
  assert.ok(program.kernels.length <= 4, `${program.kernels.length} kernels`);
});

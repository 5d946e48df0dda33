// Every op of the registry, compiled to wasm and run, against the reference interpreter on random shapes; and random
// graphs of ops, because a fused loop is only right when all of its parts are.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasDerivative, SAMPLED_OPS } from "@fidelity/core/testing";
import { assertConforms, donationCases, gradientCase, graphCase, valueCase } from "./testing-conformance.node.ts";
import type { ConformanceCase } from "./testing-conformance.node.ts";
import { dotTakesUnsigned } from "./targets/wasm/relaxed-dot.ts";
import { runCompiled } from "./testing.ts";

/** With `most`, as for the engines that give most. */
function check(each: ConformanceCase, most = false): void {
  const target = { joinsVectors: most, dot4Unsigned: most && dotTakesUnsigned() };
  assertConforms(each, runCompiled(each.graph, each.inputs, { ...each.options, ...target }));
}

for (const op of SAMPLED_OPS) {
  test(`${op.name} on wasm has the interpreter's values`, () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e9 }), (seed) => check(valueCase(op, seed), seed % 2 === 1)),
      { numRuns: 12, seed: 1 },
    );
  });
}

for (const op of SAMPLED_OPS.filter(hasDerivative)) {
  test(`the gradient of ${op.name} on wasm is the interpreter's`, () => {
    const property = fc.property(fc.integer({ min: 1, max: 1e9 }), (seed) => {
      const gradient = gradientCase(op, seed);
      if (gradient !== undefined) check(gradient);
    });
    fc.assert(property, { numRuns: 8, seed: 1 });
  });
}

test("random graphs of ops have the interpreter's values", () => {
  const property = fc.property(
    fc.integer({ min: 1, max: 9 }),
    fc.integer({ min: 1, max: 70 }),
    fc.array(fc.integer({ min: 0, max: 65535 }), { minLength: 3, maxLength: 14 }),
    fc.integer({ min: 1, max: 1e6 }),
    (rows, columns, choices, seed) => check(graphCase(rows, columns, choices, seed)),
  );
  fc.assert(property, { numRuns: 60, seed: 1 });
});

test("random graphs have the same bits when values that are read far behind are computed again", () => {
  const property = fc.property(
    fc.integer({ min: 1, max: 9 }),
    fc.integer({ min: 1, max: 70 }),
    fc.array(fc.integer({ min: 0, max: 65535 }), { minLength: 3, maxLength: 14 }),
    fc.integer({ min: 1, max: 1e6 }),
    (rows, columns, choices, seed) => {
      const { graph, inputs } = graphCase(rows, columns, choices, seed);
      // Chunks of 16 elements make nearly every value a large one.
      assert.deepEqual(runCompiled(graph, inputs, { chunkElements: 16 }), runCompiled(graph, inputs));
    },
  );
  fc.assert(property, { numRuns: 60, seed: 1 });
});

test("a donated result is written over its parameter, whoever else reads it", () => {
  for (const each of donationCases()) check(each);
});

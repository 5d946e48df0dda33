// Every op of the registry and its backward pass, and random graphs, compiled by LLVM for each machine that this
// processor can run, against the reference interpreter. All programs of a machine are compiled as one.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasDerivative, SAMPLED_OPS } from "@fidelity/core/testing";
import { assertConforms, donationCases, gradientCase, graphCase, valueCase } from "../../testing-conformance.node.ts";
import type { ConformanceCase } from "../../testing-conformance.node.ts";
import { runGraphs, runnableMachines, whyNoNative } from "./testing.node.ts";

const skip = whyNoNative();

/** Draws from an arbitrary, the same in every run. */
const draw = <T>(arbitrary: fc.Arbitrary<T>, count: number): T[] => fc.sample(arbitrary, { numRuns: count, seed: 1 });

const seeds = fc.integer({ min: 1, max: 1e9 });

function opCases(valueCount: number, gradientCount: number): ConformanceCase[] {
  return SAMPLED_OPS.flatMap((op) => {
    const values = draw(seeds, valueCount).map((seed) => valueCase(op, seed));
    if (!hasDerivative(op)) return values;
    const gradients = draw(seeds, gradientCount).flatMap((seed) => gradientCase(op, seed) ?? []);
    return [...values, ...gradients];
  });
}

const graphs = fc
  .tuple(
    fc.integer({ min: 1, max: 9 }),
    fc.integer({ min: 1, max: 70 }),
    fc.array(fc.integer({ min: 0, max: 65535 }), { minLength: 3, maxLength: 14 }),
    fc.integer({ min: 1, max: 1e6 }),
  )
  .map((drawn) => graphCase(...drawn));

// The best machine is tested most. Of the others, those with vectors of their own width: what stands for missing
// instructions is in operations.test.ts.
const machines =
  skip === false ? runnableMachines().filter(({ lanes }, i, all) => i === 0 || lanes < all[i - 1].lanes) : [];
for (const [i, machine] of machines.entries()) {
  test(`ops, gradients and random graphs have the interpreter's values, ${machine.name}`, async () => {
    const cases = i === 0 ? [...opCases(2, 1), ...draw(graphs, 16), ...donationCases()] : opCases(1, 1);
    const results = await runGraphs(cases, machine);
    cases.forEach((each, which) => assertConforms(each, results[which]));
  });
}

test("a processor that runs native code has a machine", { skip }, () => assert.ok(machines.length > 0));

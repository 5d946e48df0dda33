// The chunked kernels of the delta rule where chunks, spans and blocks do not come out even, and where decays vanish.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostTensor } from "../../host.ts";
import { randomHost, relativeError, seededRandom } from "../../testing.ts";
import { generalizedDeltaRuleOp } from "../generalized_delta_rule.ts";
import { generalizedDeltaRuleGradOp } from "../generalized_delta_rule_grad.ts";
import { deltaTypes } from "../generalized_delta_rule_parts.ts";
import type { DeltaDims } from "../generalized_delta_rule_parts.ts";
import { runKernels } from "./testing.ts";

const DIMS: DeltaDims = {
  batch: 1,
  time: 77,
  heads: 2,
  groups: 1,
  groupSize: 2,
  keySize: 5,
  valueSize: 7,
  decays: 5,
  erases: true,
};

/** Checks values and gradients of kernels for vectors of `lanes` against the reference. */
function check(dims: DeltaDims, lanes: number, change: (inputs: readonly HostTensor[]) => void = () => {}): void {
  const random = seededRandom(5);
  const types = deltaTypes(dims);
  const range = (i: number): readonly [number, number] => (i === 3 ? [-1, 0] : i > 4 ? [-0.4, 0.4] : [-1, 1]);
  const inputs = types.map((type, i) => randomHost(type, random, range(i)));
  change(inputs);
  const cotangents = [types[2]!, types[4]!].map((type) => randomHost(type, random));
  for (const [op, given] of [
    [generalizedDeltaRuleOp, inputs],
    [generalizedDeltaRuleGradOp, [...inputs, ...cotangents]],
  ] as const) {
    const givenTypes = given.map(({ type }) => type);
    const expected = op.evaluate(given, {}, op.infer(givenTypes, {}));
    const found = runKernels(op, given, {}, lanes);
    found.forEach(({ data }, i) => assert.ok(relativeError(data, expected[i]!.data) < 2e-6, `${op.name}, result ${i}`));
  }
}

test("sequences of many spans, with a rest of a chunk", () => {
  check(DIMS, 4);
  check({ ...DIMS, decays: 1, erases: false }, 4);
});

test("heads whose values fill some blocks and a part of one", () => {
  check({ ...DIMS, time: 9, groups: 2, groupSize: 1, keySize: 16, decays: 16, valueSize: 70 }, 16);
});

test("chunks of a block of weights and a part of one", () => {
  check({ ...DIMS, time: 7 }, 16);
  check({ ...DIMS, time: 5, decays: 1 }, 8);
  check({ ...DIMS, time: 6, erases: false }, 4);
});

test("one step of rows that are several vectors and a rest, four rows at once and one by one", () => {
  check({ ...DIMS, time: 1, keySize: 29, decays: 29, valueSize: 12 }, 8);
  check({ ...DIMS, time: 1, keySize: 39, decays: 1, valueSize: 7 }, 16);
  check({ ...DIMS, time: 1, keySize: 16, decays: 16, valueSize: 8, erases: false }, 4);
});

test("whole chunks of whole vectors, whose rows are read where they lie", () => {
  check({ ...DIMS, time: 24, keySize: 16, decays: 16, valueSize: 24 }, 8);
  check({ ...DIMS, time: 16, groups: 2, groupSize: 1, keySize: 8, decays: 1, valueSize: 20, erases: false }, 8);
});

test("decays that vanish, and a state that is forgotten", () => {
  check({ ...DIMS, time: 20 }, 4, (inputs) => {
    inputs[3]!.data.forEach((_, i, decays) => {
      if (i % 3 === 0) decays[i] = -300;
    });
  });
});

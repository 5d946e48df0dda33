// The study's step in its forms, on a model of a few kilobytes: the same losses, and gradients of the sizes that the page
// speaks of.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import type { Head } from "./model.ts";
import { FORMS, StudyStep } from "./step.ts";

const device = createDevice({ threads: 1 });
after(() => device.close());

/** The share of dense gradients' bytes that those of the other forms have at least and at most. */
const SHARES: Readonly<Record<Head, readonly [low: number, high: number]>> = {
  sampled: [0, 0.2],
  full: [0.5, 0.6],
  tied: [1, 1],
};

for (const [head, [low, high]] of Object.entries(SHARES)) {
  test(`${head} head: exact steps are those of dense gradients, in ${low} to ${high} of their memory`, async () => {
    const setting = { head: head as Head, vocabSize: 512, width: 8, batchSize: 2, contextLength: 8, negatives: 16 };
    const losses = new Map<string, number[]>();
    const bytes = new Map<string, number>();
    for (const form of FORMS) {
      const step = await StudyStep.compile(device, setting, form);
      step.start(1);
      const seen: number[] = [];
      for (let i = 0; i < 3; i++) seen.push((await step.run()).loss);
      losses.set(form, seen);
      bytes.set(form, step.gradientBytes);
      step.free();
    }
    losses.get("dense")!.forEach((loss, i) => assert.ok(Math.abs(loss - losses.get("exact")![i]) < 1e-4));
    assert.equal(losses.get("lazy")![0], losses.get("exact")![0]);
    const share = bytes.get("exact")! / bytes.get("dense")!;
    assert.ok(share >= low && share <= high, `${share}`);
  });
}

// What the study of architectures compares is comparable.

import assert from "node:assert/strict";
import { test } from "node:test";
import { countParameters } from "@fidelity/models";
import {
  contendersOf,
  mainArms,
  modelOf,
  MQAR,
  parameterRange,
  RECALL,
  SEEDS,
  sweepArms,
} from "./architecture-arms.ts";
import { differences, groupsOf, stateBytes } from "./architecture-tables.ts";
import type { Outcome } from "./architecture-runs.ts";

test("all models of a task have equal parameters within 2 %, and ternary ones have ternary weights", () => {
  for (const [task, vocabSize] of [
    ["a text", 65],
    ["a larger text", 107],
    [RECALL, MQAR.vocabSize],
  ] as const) {
    const { low, high } = parameterRange(task, vocabSize);
    assert.ok(high / low < 1.02, `${task}: ${low} to ${high}`);
    for (const contender of contendersOf(task)) {
      const { parameters, ternaryParameters } = countParameters(modelOf(contender, vocabSize).parameters);
      const share = ternaryParameters / parameters;
      assert.ok(contender.weights === "ternary" ? share > 0.8 : share === 0, `${contender.mixer}: ${share}`);
    }
  }
});

test("all contenders with one seed come before those with the next", () => {
  const budget = { textSteps: 10, recallSteps: 20 };
  const arms = mainArms(["a", "b", RECALL], budget, () => 1e-3);
  assert.equal(arms.length, 90);
  assert.deepEqual([...new Set(arms.map(({ seed }) => seed))], SEEDS);
  assert.deepEqual(
    arms.map(({ seed }) => seed),
    arms.map(({ seed }) => seed).toSorted((a, b) => a - b),
  );
  for (const { task, steps } of arms) assert.equal(steps, task === RECALL ? 20 : 10);
  assert.ok(sweepArms(RECALL, budget).every(({ steps }) => steps === 20));
  assert.ok(sweepArms("a", budget).every(({ steps, seed }) => steps === 5 && !SEEDS.some((one) => one === seed)));
});

test("differences are those of equal seeds", () => {
  const outcome = (weights: "dense" | "ternary", seed: number, loss: number): Outcome => {
    const arm = { task: "a", mixer: "MLGRU", weights, seed, learningRate: 1e-3, steps: 1 } as const;
    return { ...arm, loss, recall: [], curve: [], seconds: 0 };
  };
  const all = [outcome("dense", 1, 2), outcome("dense", 2, 3), outcome("ternary", 2, 3.5), outcome("ternary", 3, 9)];
  const [dense, ternary] = groupsOf(all, "a");
  assert.deepEqual(differences(ternary, dense), [0.5]);
});

test("a state grows with the tokens where there is attention, and nowhere else", () => {
  for (const contender of contendersOf("a text")) {
    const grows = stateBytes(contender, 65, 256) > stateBytes(contender, 65, 128);
    assert.equal(grows, contender.mixer === "transformer" || contender.mixer === "hybrid", contender.mixer);
  }
  assert.equal(stateBytes({ task: "a text", mixer: "MLGRU", weights: "dense" }, 65, 1), 4 * 64 * 4);
});

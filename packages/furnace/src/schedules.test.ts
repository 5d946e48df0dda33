// Learning rates at their corners, and in between.

import assert from "node:assert/strict";
import { test } from "node:test";
import { constantRate, halvedFrom, linearRate, ScheduleError, warmupCosine, warmupStableDecay } from "./index.ts";

test("constant and linear rates", () => {
  assert.equal(constantRate(0.5)(7), 0.5);
  const rate = linearRate({ from: 1, to: 0, steps: 4 });
  assert.deepEqual([0, 1, 2, 4, 9].map(rate), [1, 0.75, 0.5, 0, 0]);
  assert.equal(linearRate({ from: 1, to: 0.25, steps: 0 })(0), 0.25);
});

test("warm-up and cosine: above zero at first, peak after the warm-up, half way down in the middle, then the floor", () => {
  const rate = warmupCosine({ peak: 1, warmupSteps: 4, totalSteps: 104, floor: 0.2 });
  assert.deepEqual([0, 1, 3, 4].map(rate), [0.25, 0.5, 1, 1]);
  assert.ok(Math.abs(rate(54) - 0.6) < 1e-15);
  assert.deepEqual([104, 1000].map(rate), [0.2, 0.2]);
  for (let step = 5; step < 104; step++) assert.ok(rate(step) < rate(step - 1) && rate(step) > 0.2);
  assert.equal(warmupCosine({ peak: 1, warmupSteps: 0, totalSteps: 2 })(0), 1);
});

test("warm-up, a long plateau, and a fall at the end", () => {
  const rate = warmupStableDecay({ peak: 1, warmupSteps: 4, totalSteps: 104, decaySteps: 4, floor: 0.5 });
  assert.deepEqual([0, 3, 4, 50, 100, 101, 104, 200].map(rate), [0.25, 1, 1, 1, 1, 0.75, 0.5, 0.5]);
  const straight = warmupStableDecay({ peak: 1, warmupSteps: 0, totalSteps: 100, shape: "linear" });
  assert.deepEqual([89, 90, 95, 100].map(straight), [1, 1, 0.5, 0]);
});

test("a schedule halved from a step on", () => {
  assert.deepEqual([0, 4, 5, 9].map(halvedFrom(constantRate(1), 5)), [1, 1, 0.5, 0.5]);
});

test("impossible schedules are refused", () => {
  assert.throws(() => constantRate(-1), ScheduleError);
  assert.throws(() => linearRate({ from: 1, to: Number.NaN, steps: 1 }), /to is not a rate/);
  assert.throws(() => warmupCosine({ peak: 1, warmupSteps: -1, totalSteps: 2 }), /warmupSteps/);
});

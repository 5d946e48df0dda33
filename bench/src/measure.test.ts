// Rounds: who is asked when, and which samples count.

import assert from "node:assert/strict";
import { test } from "node:test";
import { measure, repeated } from "./measure.ts";

test("each round asks every source in turn, and warm-up rounds do not count", async () => {
  const asked: string[] = [];
  const source = (name: string, values: number[]) => ({
    name,
    sample: () => {
      asked.push(name);
      return values.shift()!;
    },
  });
  const rows = await measure(
    [source("a", [999, 10, 30, 20]), source("b", [999, 1, 3, 5])],
    [{ id: "s/a", unit: "x", source: "a", peer: { source: "b", name: "b" } }],
    { rounds: 3, warmups: 1 },
  );
  assert.equal(asked.join(""), "abababab");
  assert.deepEqual([rows[0].value, rows[0].low, rows[0].high, rows[0].ratio], [20, 15, 25, 10]);
});

test("rounds that rotate begin with one source after the other, and ratios stay within a round", async () => {
  const asked: string[] = [];
  const source = (name: string, values: number[]) => ({ name, sample: () => (asked.push(name), values.shift()!) });
  const rows = await measure(
    [source("a", [2, 6, 12]), source("b", [1, 2, 3])],
    [{ id: "s/a", unit: "x", source: "a", peer: { source: "b", name: "b" } }],
    { rounds: 3, warmups: 0, rotate: true },
  );
  assert.equal(asked.join(""), "abbaab");
  assert.equal(rows[0].ratio, 3);
});

test("a repeated source runs again for each sample", async () => {
  let runs = 0;
  const { sample } = repeated("r", 1, 0, () => void runs++);
  assert.ok((await sample()) > 0);
  const before = runs;
  assert.ok((await sample()) > 0);
  assert.ok(runs > before);
});

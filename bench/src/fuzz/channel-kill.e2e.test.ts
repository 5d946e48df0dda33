// The kill test of the channels between processes, short: the long one is `node bench/src/fuzz/channel-kill.ts`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { judge, leaveNames, runKills } from "./channel-kill.ts";

const skip = process.platform === "linux" ? false : "memory is shared by name on Linux only";

test("one producer and one consumer, four of them killed", { skip }, async () => {
  const report = await runKills({ producers: 1, consumers: 1, kills: 4, messages: 10_000, seed: 7 });
  assert.deepEqual(judge(report, Infinity), []);
  assert.equal(report.kills, 4);
  assert.ok(report.seen >= 10_000);
});

test("two producers and two consumers, four of them killed", { skip }, async () => {
  const report = await runKills({ producers: 2, consumers: 2, kills: 4, messages: 10_000, seed: 8 });
  assert.deepEqual(judge(report, Infinity), []);
});

test("the name that a killed process leaves is gone after the next start", { skip }, async () => {
  const { held, restarted } = await leaveNames();
  assert.equal(held.length, 1);
  assert.deepEqual(restarted, []);
});

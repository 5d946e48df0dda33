// What Linux says about processors and processes, and what others used.

import assert from "node:assert/strict";
import { test } from "node:test";
import { othersShare, parseProcessorTicks, parseProcessTicks, QuietMeter } from "./quiet.ts";

const STAT = `cpu  115295 48788 22726 613502 716 0 175 168 0 0
cpu0 59682 20814 10585 309366 95 0 33 81 0 0
`;

test("the first line of /proc/stat counts all processors, waiting as idle and stolen time as busy", () => {
  const busy = 115295 + 48788 + 22726 + 175 + 168;
  assert.deepEqual(parseProcessorTicks(STAT), { busy, total: busy + 613502 + 716 });
});

test("a process may be called anything", () => {
  const fields = "S 1 42 42 0 -1 4194304 1000 0 0 0 731 69 0 0 20 0 5 0 100 0 0";
  assert.equal(parseProcessTicks(`42 (a) (b c) ${fields}`), 800);
});

test("others used what is busy and not ours", () => {
  const before = { busy: 1000, total: 10_000 };
  const after = { busy: 1180, total: 10_400 };
  assert.equal(othersShare(before, after, 100), 0.2);
  assert.equal(othersShare(before, after, 200), 0);
  assert.equal(othersShare(before, { busy: 1400, total: 10_400 }, -5), 1);
  assert.equal(othersShare(before, before, 0), null);
});

test("a meter gives a share, or null where nothing is known; a process that is gone counts nothing", () => {
  const share = new QuietMeter([2 ** 30]).share();
  assert.ok(share === null || (share >= 0 && share <= 1));
});

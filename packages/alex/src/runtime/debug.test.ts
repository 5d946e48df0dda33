// Reports: what the levels mean, how times are summed up, and that a split program is the same program.

import assert from "node:assert/strict";
import { test } from "node:test";
import { verifyProgram } from "@fidelity/core";
import { debugLevel, RunMeter, splitSchedule } from "./debug.ts";
import { chainProgram } from "./testing.ts";

test("a level is a number from 0 to 4; anything else is silence", () => {
  assert.deepEqual(
    [undefined, "", "0", "1", "4", "5", "yes", "-1", "2.5"].map(debugLevel),
    [0, 0, 0, 1, 4, 0, 0, 0, 0],
  );
});

test("a meter tells minimum and median of each hundred runs, and of the rest when flushed", () => {
  const lines: string[] = [];
  const meter = new RunMeter({ level: 2, line: (text) => lines.push(text) }, "p");
  for (let run = 0; run < 100; run++) meter.add(((run * 37) % 100) + 1);
  meter.add(0.5);
  meter.flush();
  meter.flush();
  assert.deepEqual(lines, ["p: 100 runs, min 1.00 ms, median 51.0 ms", "p: 1 runs, min 500 us, median 500 us"]);
});

test("a split program has one schedule item each and only the kernels that it calls", () => {
  const program = { ...chainProgram("chain", 256, 3), constants: [] };
  const parts = splitSchedule(program);
  assert.deepEqual(
    parts.map(({ name }) => name),
    ["first", "second", "add"].map((label) => `chain: parallel ${label}`).concat("chain: serial sum"),
  );
  for (const part of parts) {
    assert.equal(part.kernels.length, 1);
    assert.equal(part.schedule.length, 1);
    verifyProgram(part);
  }
});

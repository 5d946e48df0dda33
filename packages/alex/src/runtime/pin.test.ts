// Pinned teams, as the system sees them: /proc/self/task/<thread>/status tells where a thread may run.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import type { Program } from "@fidelity/core";
import { CpuDevice } from "./device.ts";
import { DeviceOptionError } from "./errors.ts";
import { planPinning } from "./pin.node.ts";
import { spawnWorkerThread } from "./team.node.ts";
import { CHAIN_SIGNATURE, chainProgram, f32Type } from "./testing.ts";

/** "0-2,5": the processors of each thread of this process. */
function allowedLists(): string[] {
  return readdirSync("/proc/self/task").flatMap((thread) => {
    try {
      const status = readFileSync(`/proc/self/task/${thread}/status`, "utf8");
      return /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? [];
    } catch {
      return []; // It ended in between.
    }
  });
}

function ownList(): string {
  return /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync("/proc/thread-self/status", "utf8"))![1];
}

const { processors, reason } = planPinning(true, 2);
const skip = reason ?? (new Set(processors).size < 2 && "needs two processors");

test("members stay on their processors, and the calling thread is free again after a run", { skip }, async () => {
  const free = ownList();
  const compileGraph = (): Program => assert.fail("this test loads a program");
  const pinning = planPinning(processors, 2);
  const during: string[] = [];
  const caller = {
    enter: () => pinning.caller?.enter(),
    leave() {
      during.push(ownList());
      pinning.caller?.leave();
    },
  };
  const device = new CpuDevice({
    threads: 2,
    maximumBytes: 2 ** 22,
    compileGraph,
    spawn: spawnWorkerThread,
    pinning: { ...pinning, caller },
  });
  const executable = await device.load(chainProgram("chain", 64, 3), CHAIN_SIGNATURE(64));
  const [input, output, total] = [64, 64, 1].map((length) => device.tensor(f32Type(length)));
  executable.bind([input], [output, total]);
  assert.deepEqual(
    allowedLists().filter((list) => list !== free),
    [],
  );
  // A member that has not started comes to no run; one that has left a run has started.
  await executable.runAsync();
  while (allowedLists().filter((list) => list !== free).length < 2) await executable.runAsync();
  assert.deepEqual(
    allowedLists()
      .filter((list) => list !== free)
      .sort(),
    processors.map(String).sort(),
  );
  executable.run();
  assert.deepEqual(during, [String(processors[0])]);
  assert.equal(ownList(), free);
  await device.close();
});

test("lists shorter than the team are repeated", { skip }, () => {
  assert.deepEqual(planPinning(processors, 3).processors, [...processors, processors[0]]);
  assert.deepEqual(planPinning(false, 3), { processors: [] });
});

test("processors that this process may not use are refused by name", { skip }, () => {
  for (const wrong of [[], [1023], [-1], [0.5]]) assert.throws(() => planPinning(wrong, 2), DeviceOptionError);
});

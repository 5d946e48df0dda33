// Training in a process of its own, which is killed, or runs out of disk.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { describeModel } from "@fidelity/run/node";
import { train } from "./index.ts";
import type { TrainProgress } from "./index.ts";
import { readLosses, tinyRun } from "./testing.ts";

const base = mkdtempSync(join(tmpdir(), "fidelity-train-e2e-"));
after(() => rmSync(base, { recursive: true }));

const steps = 60;
const validation = { everySteps: 7, batches: 2 };

/** A process that trains in `folder`, and writes a line a step. */
function childCode(folder: string, threads: number, stepsBetween: number): string[] {
  const importUrl = (name: string): string => JSON.stringify(new URL(name, import.meta.url).href);
  const code = `
    import { createDevice } from "@fidelity/alex/node";
    import { train } from ${importUrl("./index.ts")};
    import { tinyRun } from ${importUrl("./testing.ts")};
    const device = createDevice({ threads: ${threads} });
    try {
      await train({
        ...tinyRun("matmul-free", ${steps}), device, folder: ${JSON.stringify(folder)},
        validation: ${JSON.stringify(validation)}, checkpoint: { everySteps: ${stepsBetween} },
        onProgress: ({ step }) => console.log("step " + step),
      });
    } catch (error) {
      console.log(error.name + " " + error.code);
    }
    await device.close();`;
  return ["--input-type=module", "--eval", code];
}

/** Runs a child and kills it after it has written `killAfter` lines; gives how it ended. */
function runAndKill(folder: string, threads: number, killAfter: number): Promise<NodeJS.Signals | null> {
  const child = spawn(process.execPath, childCode(folder, threads, 4), {
    cwd: import.meta.dirname,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let lineCount = 0;
  child.stdout.on("data", (text: Buffer) => {
    lineCount += text.toString().split("\n").length - 1;
    if (lineCount >= killAfter) child.kill("SIGKILL");
  });
  return new Promise((resolve) => child.on("close", (_code, signal) => resolve(signal)));
}

for (const threads of [1, 2]) {
  test(`a run killed at random moments has the losses of one that was not, with ${threads} threads`, async () => {
    const device = createDevice({ threads: 3 - threads });
    const whole = join(base, `whole-${threads}`);
    await train({ ...tinyRun("matmul-free", steps), device, folder: whole, validation });
    await device.close();
    const folder = join(base, `killed-${threads}`);
    const killed: (NodeJS.Signals | null)[] = [];
    for (let round = 0; round < 4; round++) {
      killed.push(await runAndKill(folder, threads, randomInt(1, 13)));
    }
    assert.ok(killed.includes("SIGKILL"), "at least one child was killed in the middle");
    assert.equal(await runAndKill(folder, threads, Infinity), null);
    assert.deepEqual(readLosses(join(folder, "metrics.jsonl")), readLosses(join(whole, "metrics.jsonl")));
    assert.equal(readLosses(join(whole, "metrics.jsonl")).length, steps);
  });
}

test("a checkpoint that there is no room for leaves the one before, and the run goes on from it", async (context) => {
  if (process.platform === "win32") return context.skip("no ulimit");
  const device = createDevice({ threads: 1 });
  const folder = join(base, "limited");
  const run = tinyRun("matmul-free", steps);
  const stop = new AbortController();
  const onProgress = ({ step }: TrainProgress): void => void (step === 10 && stop.abort());
  await train({ ...run, device, folder, validation, signal: stop.signal, onProgress });
  const checkpoint = join(folder, "checkpoint.fid");
  const limitKiB = Math.floor(statSync(checkpoint).size / 1024) - 1;
  const limited = ["-c", `ulimit -f ${limitKiB}; exec "$0" "$@"`, process.execPath, ...childCode(folder, 1, 4)];
  const child = spawnSync("bash", limited, { cwd: import.meta.dirname, encoding: "utf8" });
  assert.match(child.stdout, /step 11\nstep 12\nFileError EFBIG\n$/, child.stderr);
  assert.equal(describeModel(checkpoint).metadata["step"], 10);
  assert.equal((await train({ ...run, device, folder, validation })).resumedFrom, 10);
  assert.deepEqual(readLosses(join(folder, "metrics.jsonl")), readLosses(join(base, "whole-1", "metrics.jsonl")));
  await device.close();
});

// The quickstart, with a text and a few steps of the test's own: it trains, is interrupted, resumes, and reuses.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, describe, test } from "node:test";
import { fidelity, Scratch, SMALL_TEXT, startFidelity } from "./testing.ts";

const scratch = new Scratch();
after(() => scratch[Symbol.dispose]());
const text = scratch.write("text.txt", SMALL_TEXT);

describe("quickstart", { concurrency: 2 }, () => {
  test("trains, measures and writes; run again, it reuses the model and says so", async () => {
    const out = scratch.at("finished");
    const args = ["quickstart", "--data", text, "--out", out, "--steps", "3"];
    const first = await fidelity(...args);
    assert.equal(first.code, 0, first.stderr);
    assert.match(first.stdout, /^train: +3 steps on 2 threads, into /m);
    assert.match(first.stdout, /^weights +parameters +size +validation loss +decoded tokens\/s \(2 threads\)$/m);
    assert.match(first.stdout, /^float32 +853,632 +3\.26 MiB +\d\.\d{4} +[\d,.]+$/m);
    assert.match(first.stdout, /^packed, 2-bit +853,632 +456 KiB +\d\.\d{4} +[\d,.]+$/m);
    assert.match(first.stdout, /^the packed model writes:\n\n/m);
    const again = await fidelity(...args, "--json");
    assert.equal(again.code, 0, again.stderr);
    assert.match(again.stderr, /^train: +done before, in .*: reusing the finished model in /m);
    const result: Record<string, unknown> = JSON.parse(again.stdout);
    assert.deepEqual([result.isFinished, result.resumedFrom, result.parameters], [true, 3, 853632]);
    assert.ok(existsSync(`${out}/model.fid`));
  });

  test("Ctrl-C stops it with a whole checkpoint, from which the same command goes on", async () => {
    const out = scratch.at("interrupted");
    const args = ["quickstart", "--data", text, "--out", out, "--steps", "100000"];
    const first = startFidelity(args);
    await first.shows("step      1/100000");
    first.child.kill("SIGINT");
    const stopped = await first.ended;
    assert.equal(stopped.code, 130, stopped.stderr);
    const step = Number(/^stopped after step (\d+) of 100000; the checkpoint is whole: /m.exec(stopped.stdout)?.[1]);
    assert.ok(stopped.stdout.endsWith("run the same command again to go on\n"), stopped.stdout);
    const second = startFidelity(args);
    await second.shows(`step ${String(step + 1).padStart(6)}/100000`);
    second.child.kill("SIGTERM");
    const { code, stdout } = await second.ended;
    assert.equal(code, 143);
    assert.match(stdout, new RegExp(`^train: +resuming the unfinished run in .* after step ${step} of 100000$`, "m"));
  });
});

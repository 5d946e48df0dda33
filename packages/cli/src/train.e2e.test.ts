// Training from the command line: run folders, interruption, resumption, and looking into the compiler.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { readHeader } from "@fidelity/barewire";
import { fidelity, Scratch, SMALL_TEXT, start, startFidelity, TINY } from "./testing.ts";

const scratch = new Scratch();
after(() => scratch[Symbol.dispose]());
const text = scratch.write("text.txt", SMALL_TEXT);

function losses(run: string): [step: number, loss: number][] {
  const lines = readFileSync(`${run}/metrics.jsonl`, "utf8").trimEnd().split("\n");
  return lines.map((line) => {
    const { step, loss }: { step: number; loss: number } = JSON.parse(line);
    return [step, loss];
  });
}

describe("train", { concurrency: 2 }, () => {
  test("a transformer of a folder of texts, on the interpreter, with JSON on standard output alone", async () => {
    const out = scratch.at("transformer");
    const sizes = ["--architecture", "transformer", "--heads", "2", "--kv-heads", "1", ...TINY];
    const args = ["--data", scratch.path, "--out", out, "--steps", "2", "--target", "interpreter", "--json", ...sizes];
    const { code, stdout, stderr } = await fidelity("train", ...args);
    assert.equal(code, 0, stderr);
    const result = JSON.parse(stdout) as { step: number; isFinished: boolean; model: { path: string } };
    assert.deepEqual([result.step, result.isFinished, result.model.path], [2, true, `${out}/model.fid`]);
    assert.match(stderr, /^step 2\/2 +loss \d/m);
    assert.deepEqual(readdirSync(out).sort(), [
      "checkpoint.fid",
      "index.html",
      "metrics.jsonl",
      "model.fid",
      "options.json",
      "run.json",
    ]);
  });

  test("Ctrl-C leaves a whole checkpoint; resumed, the run is the one that was never stopped", async () => {
    const args = ["--data", text, "--steps", "200", ...TINY];
    const [whole, stopped] = [scratch.at("whole"), scratch.at("stopped")];
    assert.equal((await fidelity("train", "--out", whole, ...args)).code, 0);
    const running = startFidelity(["train", "--out", stopped, ...args]);
    await running.shows("step   1/200");
    running.child.kill("SIGINT");
    const ended = await running.ended;
    assert.equal(ended.code, 130, ended.stderr);
    assert.match(ended.stdout, /stopping after this step; press Ctrl-C again to quit at once\n/);
    assert.match(ended.stdout, /^stopped after step \d+ of 200; the checkpoint is whole: /m);
    assert.ok(ended.stdout.endsWith(`go on:    fidelity train --resume --out ${stopped}\n`));
    assert.equal(existsSync(`${stopped}/model.fid`), false);
    assert.equal(
      (await fidelity("generate", "--model", stopped, "--tokens", "1")).code,
      0,
      "the checkpoint is a model",
    );
    const resumed = await fidelity("train", "--resume", "--out", stopped);
    assert.equal(resumed.code, 0, resumed.stderr);
    assert.equal(losses(whole).length, 200);
    assert.deepEqual(losses(stopped), losses(whole));
    const [stoppedModel, wholeModel] = [stopped, whole].map((folder) => readFileSync(`${folder}/model.fid`));
    const { offset } = readHeader(wholeModel).tensors[0];
    assert.deepEqual(stoppedModel.subarray(offset), wholeModel.subarray(offset));
  });

  test("associative recall is learned without a text, resumed from the folder's notes, and measured", async () => {
    const out = scratch.at("recall");
    const sizes = ["--architecture", "gated-deltanet", "--heads", "1", ...TINY];
    const made = ["--task", "mqar", "--pairs", "1,2", "--symbols", "12"];
    const { code, stdout, stderr } = await fidelity("train", "--out", out, "--steps", "3", ...made, ...sizes);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^MQAR: sequences of 1, 2 pairs among 12 symbols, without end\n/);
    assert.ok(stdout.endsWith(`measure:  fidelity eval --model ${out} --task mqar\n`), stdout);
    const { task, pairs, symbols } = JSON.parse(readFileSync(`${out}/options.json`, "utf8"));
    assert.deepEqual([task, pairs, symbols], ["mqar", [1, 2], 12]);
    const again = await fidelity("train", "--resume", "--out", out);
    assert.equal(again.code, 0, again.stderr);
    const wrong = await fidelity("train", "--data", text, "--pairs", "2", "--out", scratch.at("wrong"));
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /^fidelity: --pairs means nothing to a text\n/);
  });

  test("a folder with a run is not trained over", async () => {
    const out = scratch.at("twice");
    const args = ["--data", text, "--out", out, "--steps", "2", ...TINY];
    assert.equal((await fidelity("train", ...args)).code, 0);
    const again = await fidelity("train", ...args);
    assert.equal(again.code, 2);
    assert.match(
      again.stderr,
      /^fidelity: the run folder holds a run already\n.*\n {2}try: {6}fidelity train --resume --out /,
    );
    const other = await fidelity("train", "--resume", "--out", out, "--learning-rate", "0.5");
    assert.equal(other.code, 1);
    assert.match(
      other.stderr,
      /^fidelity: cannot resume: settings.learningRate is not what the checkpoint was trained with/,
    );
  });

  test("--emit-after prints the step program after a pass, without text to train on", async () => {
    const traced = await fidelity("train", "--emit-after", "trace", ...TINY);
    assert.equal(traced.code, 0, traced.stderr);
    assert.match(traced.stdout, /"fidelity\.ternarize"/);
    const planned = await fidelity("train", "--emit-after", "memory-plan", ...TINY);
    assert.match(planned.stdout, /^arena: \d+ bytes for \d+ bytes in \d+ buffers\n/);
  });

  test("the second Ctrl-C quits at once, of which people are told where they wait", async () => {
    for (const onFirst of ['() => console.log("first")', ""]) {
      const script = scratch.write(
        "interrupted.ts",
        `import { Interrupt } from ${JSON.stringify(new URL("interrupt.ts", import.meta.url).href)};
         const interrupt = new Interrupt(${onFirst});
         setInterval(() => console.log(interrupt.signal.aborted), 10);`,
      );
      const running = start(process.execPath, [script]);
      await running.shows("false");
      running.child.kill("SIGINT");
      await running.shows(onFirst === "" ? "press Ctrl-C again" : "first\ntrue");
      running.child.kill("SIGINT");
      assert.equal((await running.ended).code, 130);
    }
  });
});

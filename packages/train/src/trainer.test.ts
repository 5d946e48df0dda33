// The loop on tiny models: it learns, stops and goes on exactly, and says what is wrong.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { FileError } from "@fidelity/barewire/node";
import { createInterpreter } from "@fidelity/core";
import { createModel, fillParameter, namedParameters, packParameters } from "@fidelity/models";
import { openModel } from "@fidelity/run/node";
import { Batches, evaluateLoss, NonFiniteLossError, ResumeMismatchError } from "./index.ts";
import { OPTIMIZER_NAMES, SCHEDULES, train, TrainSettingError, trainSettings, TrainStep } from "./index.ts";
import type { TrainOptions, TrainProgress } from "./index.ts";
import { readLosses, tinyRun } from "./testing.ts";

const base = mkdtempSync(join(tmpdir(), "fidelity-train-"));
const device = createDevice({ threads: 2 });
after(async () => {
  await device.close();
  rmSync(base, { recursive: true });
});
let folderCount = 0;
const freshFolder = (): string => join(base, `run-${folderCount++}`);

for (const architecture of ["matmul-free", "llama"] as const) {
  for (const precision of ["f32", "bf16"] as const) {
    test(`the loss of a ${architecture} model falls in ${precision}`, async () => {
      const run = tinyRun(architecture, 40);
      const seen: TrainProgress[] = [];
      const result = await train({
        ...run,
        settings: { ...run.settings, precision },
        device,
        onProgress: (progress) => void seen.push(progress),
      });
      assert.equal(seen.length, 40);
      assert.ok(Math.abs(seen[0].loss - Math.log(run.model.vocabSize)) < 0.5, `starts at ${seen[0].loss}`);
      assert.ok(result.loss! < 0.75 * seen[0].loss, `ends at ${result.loss}`);
      assert.ok(result.validationLoss! < 0.75 * seen[0].loss, `validates at ${result.validationLoss}`);
      assert.equal(result.isFinished, true);
      const { learningRate, secondsLeft } = seen[39];
      assert.ok(learningRate < seen[2].learningRate && secondsLeft === 0);
    });
  }
}

test("the interpreter takes the same steps", async () => {
  const run = tinyRun("matmul-free", 3);
  const reference = await train({ ...run, device: createInterpreter() });
  const compiled = await train({ ...run, device });
  assert.ok(Math.abs(reference.loss! - compiled.loss!) < 1e-4, `${reference.loss} and ${compiled.loss}`);
});

test("bf16 rounds what enters dense products, and the masters stay float32", async () => {
  const { model, settings } = tinyRun("llama");
  const losses: number[] = [];
  for (const precision of ["f32", "bf16"] as const) {
    const step = await TrainStep.compile(device, model, trainSettings({ ...settings, precision }));
    for (const { path, leaf } of namedParameters(model.parameters))
      fillParameter(leaf, path, 1, step.parameters.get(path)!.f32());
    await step.run(1, 0.01);
    losses.push(step.loss);
    const bits = step.parameters.get("embedding.weight")!.i32();
    assert.ok(
      bits.some((word) => (word & 0xffff) !== 0),
      "a master with more than 16 bits",
    );
    step.free();
  }
  assert.notEqual(losses[0], losses[1]);
  assert.ok(Math.abs(losses[0] - losses[1]) < 0.01);
});

for (const architecture of ["matmul-free", "llama"] as const) {
  test(`recomputing the layers of a ${architecture} model keeps the losses, and needs less memory`, async () => {
    const { model, settings, ...rest } = tinyRun(architecture, 4);
    const plain = await train({ ...rest, model, settings, device });
    const recomputed = await train({ ...rest, model, settings, device, recompute: true });
    assert.ok(Math.abs(recomputed.loss! - plain.loss!) < 1e-5, `${recomputed.loss} and ${plain.loss}`);
    assert.ok(Math.abs(recomputed.validationLoss! - plain.validationLoss!) < 1e-5);
    const bytes: number[] = [];
    const sized = { ...trainSettings(settings), batchSize: 8 };
    const deep = createModel({ ...model.config, layerCount: 6, dim: 64, hiddenDim: 128 });
    for (const recompute of [false, true]) {
      const step = await TrainStep.compile(device, deep, sized, { recompute });
      bytes.push(step.executable.arenaBytes);
      step.free();
    }
    assert.ok(bytes[1] < 0.7 * bytes[0], `${bytes[1]} of ${bytes[0]} bytes`);
  });
}

for (const optimizer of OPTIMIZER_NAMES) {
  test(`a run with ${optimizer} goes on from its checkpoint to the same losses`, async () => {
    const rates = {
      adamw: 0.02,
      lion: 0.005,
      muon: 0.02,
      soap: 0.02,
      adafactor: 0.02,
      sgd: 0.1,
      "schedule-free": 0.05,
    };
    const { settings, ...run } = tinyRun("matmul-free", 6);
    const full = { ...settings, optimizer, learningRate: rates[optimizer] };
    const whole = await train({ ...run, settings: full, device });
    const first = await train({ ...run, settings: { ...full, steps: 1 }, device });
    assert.ok(whole.loss! < first.loss!, `${whole.loss} after six steps, ${first.loss} after one`);
    const folder = freshFolder();
    const stop = new AbortController();
    const onProgress = ({ step }: TrainProgress): void => void (step === 3 && stop.abort());
    await train({ ...run, settings: full, device, folder, signal: stop.signal, onProgress });
    const resumed = await train({ ...run, settings: full, device, folder });
    assert.deepEqual([resumed.resumedFrom! < 6, resumed.loss], [true, whole.loss]);
  });
}

test("schedules differ where they say, and nowhere before", async () => {
  const { settings, ...run } = tinyRun("llama", 12);
  const rates = new Map<string, number[]>();
  for (const schedule of SCHEDULES) {
    const folder = freshFolder();
    await train({ ...run, settings: { ...settings, schedule }, device, folder });
    const lines = readFileSync(join(folder, "metrics.jsonl"), "utf8").trimEnd().split("\n");
    rates.set(
      schedule,
      lines.map((line) => (JSON.parse(line) as { learningRate: number }).learningRate),
    );
  }
  const [cosine, stable, halved] = SCHEDULES.map((name) => rates.get(name)!);
  assert.deepEqual(
    halved,
    cosine.map((rate, step) => (step >= 6 ? rate / 2 : rate)),
  );
  assert.deepEqual(stable.slice(1, 10), new Array(9).fill(settings.learningRate));
});

test("a batch in parts has the losses of the whole one", async () => {
  const { settings, ...run } = tinyRun("llama", 4);
  const whole = await train({ ...run, settings, device });
  const parts = await train({ ...run, settings: { ...settings, accumulate: 2 }, device });
  assert.ok(Math.abs(whole.loss! - parts.loss!) < 1e-4, `${whole.loss} and ${parts.loss}`);
  assert.throws(() => trainSettings({ ...settings, accumulate: 3 }), TrainSettingError);
});

test("packed parameters have the loss of the float32 ones, bit for bit", async () => {
  const run = tinyRun("matmul-free", 10);
  const { parameters, validationLoss } = await train({ ...run, device });
  const packed = await packParameters(run.model, parameters, device);
  const batches = new Batches(run.data.tokens, { batchSize: 2, contextLength: 8, seed: 0 });
  const options = { device, model: run.model, batches };
  const dense = await evaluateLoss({ ...options, parameters });
  const ternary = await evaluateLoss({ ...options, parameters: packed });
  assert.equal(ternary.loss, dense.loss);
  assert.equal(dense.loss, validationLoss);
  assert.equal(dense.tokenCount, batches.validationBatchCount * 16);
});

test("a run that was stopped goes on to the same losses, whatever the number of threads", async () => {
  const run = tinyRun();
  const whole = freshFolder();
  await train({ ...run, device, folder: whole });
  const single = createDevice({ threads: 1 });
  const parts = freshFolder();
  for (const stopAt of [5, 6, 99]) {
    const stop = new AbortController();
    const onProgress = ({ step }: TrainProgress): void => void (step === stopAt && stop.abort());
    const result = await train({ ...run, device: single, folder: parts, signal: stop.signal, onProgress });
    assert.equal(result.step, Math.min(stopAt, 12));
    assert.equal(result.isFinished, stopAt === 99);
    assert.equal(result.resumedFrom, { 5: undefined, 6: 5, 99: 6 }[stopAt]);
  }
  await single.close();
  assert.deepEqual(readLosses(join(parts, "metrics.jsonl")), readLosses(join(whole, "metrics.jsonl")));
  assert.equal(readLosses(join(whole, "metrics.jsonl")).length, 12);
  const again = await train({ ...run, device, folder: whole });
  assert.equal(again.resumedFrom, 12);
  assert.equal(again.loss, readLosses(join(whole, "metrics.jsonl"))[11].loss);
  assert.equal(again.parameters.size, namedParameters(run.model.parameters).length);
});

test("lines of steps after the checkpoint are taken away before the run goes on", async () => {
  const run = tinyRun();
  const folder = freshFolder();
  const stop = new AbortController();
  await train({
    ...run,
    device,
    folder,
    signal: stop.signal,
    onProgress: ({ step }) => void (step === 6 && stop.abort()),
  });
  const path = join(folder, "metrics.jsonl");
  const lines = readFileSync(path, "utf8");
  const future = `{"step":7,"loss":9,"learningRate":1,"gradientNorm":1,"tokensPerSecond":1,"seconds":1}\n{"step":8,"lo`;
  writeFileSync(path, lines + future);
  await train({ ...run, device, folder });
  assert.deepEqual(
    readLosses(path).map(({ step }) => step),
    Array.from({ length: 12 }, (_, i) => i + 1),
  );
  assert.ok(readFileSync(path, "utf8").startsWith(lines));
  writeFileSync(path, "not a measurement\n");
  rmSync(join(folder, "checkpoint.fid"));
  await assert.rejects(train({ ...run, device, folder }), /line 1/);
});

test("a run folder holds what was asked for, what was measured and what came out", async () => {
  const folder = freshFolder();
  const run = tinyRun();
  await train({ ...run, device, folder, keepBest: true, validation: { everySteps: 3, batches: 2 } });
  const names = ["best.fid", "checkpoint.fid", "index.html", "metrics.jsonl", "run.json"];
  assert.deepEqual(readdirSync(folder).sort(), names);
  const record = JSON.parse(readFileSync(join(folder, "run.json"), "utf8")) as Record<string, unknown>;
  assert.equal(record["seed"], 7);
  for (const name of ["started", "fidelity", "node", "v8", "machine", "commandLine", "model", "settings", "data"]) {
    assert.ok(name in record, name);
  }
  const validated = readLosses(join(folder, "metrics.jsonl")).filter((row) => row.validationLoss !== undefined);
  assert.deepEqual(
    validated.map(({ step }) => step),
    [3, 6, 9, 12],
  );
  const page = readFileSync(join(folder, "index.html"), "utf8");
  assert.match(page, /<path class="curve-loss" d="M[^"]*(L[^"]*){8}/);
  assert.match(page, /finished, step 12 of 12/);
  assert.doesNotMatch(page, /http-equiv="refresh"|https?:|src=/, "neither reloads nor fetches");
});

test("another run in the folder is refused by the field in which it differs", async () => {
  const folder = freshFolder();
  const run = tinyRun();
  await train({ ...run, device, folder });
  const refused = async (change: Partial<TrainOptions>, field: RegExp): Promise<void> => {
    await assert.rejects(train({ ...run, device, folder, ...change }), (error) => {
      assert.ok(error instanceof ResumeMismatchError, String(error));
      assert.match(error.field, field);
      assert.match(error.message, /cannot resume: .* is not what the checkpoint was trained with/);
      return true;
    });
  };
  await refused({ settings: { ...run.settings, seed: 8 } }, /^settings\.seed$/);
  await refused({ settings: { ...run.settings, batchSize: 3 } }, /^settings\.batchSize$/);
  await refused({ data: { ...run.data, fingerprint: "other" } }, /^data\.fingerprint$/);
  await refused({ model: tinyRun("llama").model }, /^model\.architecture$/);
  assert.equal((await train({ ...run, device, folder })).resumedFrom, 12);
});

test("a run that diverges stops with the step, and the last checkpoint is whole", async () => {
  const folder = freshFolder();
  const run = tinyRun("llama");
  const settings = { ...run.settings, learningRate: 100, warmupSteps: 0, weightDecay: 10 };
  const noise = {
    ...run,
    settings: { ...settings, steps: 2000 },
    device,
    folder,
    watch: true,
    checkpoint: { everySteps: 1 },
  };
  await assert.rejects(train(noise), (error) => {
    assert.ok(error instanceof NonFiniteLossError, String(error));
    assert.match(error.message, /training diverged: the (loss|gradient norm) of step \d+ is (NaN|-?Infinity)/);
    assert.match(error.message, /lower learning rate/);
    assert.match(error.origin ?? "", /^\w+ .*made the first (NaN|-?Infinity): f32\[.*\nout of .*\ntrail /s);
    return true;
  });
  using saved = await openModel(join(folder, "checkpoint.fid"), device);
  for (const [path, tensor] of saved.parameters) assert.ok(tensor.f32().every(Number.isFinite), path);
});

test(
  "folders that cannot be written and full disks are named, and what was saved stays",
  { skip: process.platform !== "linux" },
  async () => {
    const run = tinyRun();
    await assert.rejects(train({ ...run, device, folder: "/sys/run" }), FileError);
    const folder = freshFolder();
    const stop = new AbortController();
    await train({
      ...run,
      device,
      folder,
      signal: stop.signal,
      onProgress: ({ step }) => void (step === 4 && stop.abort()),
    });
    const page = join(folder, "index.html");
    rmSync(page);
    symlinkSync("/dev/full", page);
    await assert.rejects(train({ ...run, device, folder }), /the disk is full/);
    rmSync(page);
    assert.equal((await train({ ...run, device, folder })).resumedFrom, 4);
  },
);

test("settings and vocabularies that cannot be are refused before anything is compiled or written", async () => {
  const folder = freshFolder();
  const run = tinyRun();
  const refused = (change: Partial<TrainOptions>, message: RegExp): Promise<void> =>
    assert.rejects(train({ ...run, device, folder, ...change }), (error) => {
      assert.ok(error instanceof TrainSettingError, String(error));
      assert.match(error.message, message);
      return true;
    });
  for (const wrong of [
    { steps: 0 },
    { steps: 1.5 },
    { batchSize: -1 },
    { learningRate: NaN },
    { precision: "f8" as "f32" },
  ]) {
    const [name] = Object.keys(wrong);
    await refused({ settings: { ...run.settings, ...wrong } }, new RegExp(`the setting ${name} cannot be`));
  }
  await refused({ data: { ...run.data, vocabSize: 300 } }, /do not belong together/);
  const llama = tinyRun("llama");
  await refused({ ...llama, settings: { ...llama.settings, contextLength: 17 } }, /at most 16/);
  assert.ok(!existsSync(folder));
});

// Training with gradient estimators: what is packed at the end is what was validated, stopping changes nothing, and the
// counters of flips are right.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { createInterpreter } from "@fidelity/core";
import { fillParameter, freeParameters, namedParameters, packParameters } from "@fidelity/models";
import { openModel } from "@fidelity/run/node";
import {
  Batches,
  evaluateLoss,
  finishCheckpoint,
  train,
  TrainSettingError,
  trainSettings,
  TrainStep,
} from "./index.ts";
import type { MetricsRow, TrainProgress } from "./index.ts";
import { flipShares } from "./flips.ts";
import { tinyRun } from "./testing.ts";
import { estimationOf, fillNoise } from "./weight-estimation.ts";

const base = mkdtempSync(join(tmpdir(), "fidelity-estimators-"));
const device = createDevice({ threads: 2 });
after(async () => {
  await device.close();
  rmSync(base, { recursive: true });
});

function estimatedRun(estimator: string, steps = 8) {
  const run = tinyRun("matmul-free", steps);
  return { ...run, settings: { ...run.settings, estimator } };
}

/** One estimator of every kind: with masters of its own making, a learned scale, a bias, noise, dense weights. */
const KINDS = ["reste", "quest-hadamard", "stretched-elastic", "tequila", "gumbel", "stochastic", "warmup-layerwise"];

for (const estimator of KINDS) {
  test(`${estimator}: the packed model has the loss that the run validated, bit for bit`, async () => {
    const run = estimatedRun(estimator);
    const { parameters, validationLoss } = await train({ ...run, device });
    assert.deepEqual(
      [...parameters.keys()],
      namedParameters(run.model.parameters).map(({ path }) => path),
    );
    const packed = await packParameters(run.model, parameters, device);
    const batches = new Batches(run.data.tokens, { batchSize: 2, contextLength: 8, seed: 0 });
    const { loss } = await evaluateLoss({ device, model: run.model, parameters: packed, batches });
    assert.equal(loss, validationLoss);
  });
}

for (const [estimator, optimizer] of [
  ["quest-hadamard", "adamw"],
  ["stretched-elastic", "adamw"],
  ["stretched-elastic", "schedule-free"],
  ["straight-through", "schedule-free"],
] as const) {
  test(`${estimator}, ${optimizer}: a checkpoint has the model that the run validated`, async () => {
    const { settings, ...run } = estimatedRun(estimator);
    const folder = join(base, `finish-${estimator}-${optimizer}`);
    const trained = await train({ ...run, settings: { ...settings, optimizer }, device, folder });
    const parameters = await finishCheckpoint(join(folder, "checkpoint.fid"), device, run.model);
    for (const [path, tensor] of trained.parameters) assert.deepEqual(parameters!.get(path)!.f32(), tensor.f32(), path);
    const batches = new Batches(run.data.tokens, { batchSize: 2, contextLength: 8, seed: 0 });
    const { loss } = await evaluateLoss({ device, model: run.model, parameters: parameters!, batches });
    assert.ok(Math.abs(loss - trained.validationLoss!) < 1e-5, `${loss}, not ${trained.validationLoss}`);
    const again = await train({ ...run, settings: { ...settings, optimizer }, device, folder });
    for (const [path, tensor] of again.parameters) assert.deepEqual(parameters!.get(path)!.f32(), tensor.f32(), path);
    for (const each of [parameters!, trained.parameters, again.parameters]) freeParameters(each);
  });
}

test("of most estimators a checkpoint is the model as it lies", async () => {
  const folder = join(base, "finish-nothing");
  const run = estimatedRun("reste", 2);
  freeParameters((await train({ ...run, device, folder })).parameters);
  assert.equal(await finishCheckpoint(join(folder, "checkpoint.fid"), device, run.model), undefined);
});

test("estimators train differently, and the best one of the study is the default", async () => {
  const losses = new Map<string, number>();
  for (const estimator of ["straight-through", "tequila", "reste"]) {
    const { loss, parameters } = await train({ ...estimatedRun(estimator), device });
    losses.set(estimator, loss!);
    freeParameters(parameters);
  }
  assert.equal(new Set(losses.values()).size, 3, [...losses].join(" "));
  const { loss, parameters } = await train({ ...tinyRun("matmul-free", 8), device });
  freeParameters(parameters);
  assert.equal(loss, losses.get("reste"));
});

/** The losses and flips of a run's lines. */
function lines(folder: string): Pick<MetricsRow, "loss" | "flips">[] {
  const text = readFileSync(join(folder, "metrics.jsonl"), "utf8").trimEnd();
  return text.split("\n").map((line) => {
    const { loss, flips } = JSON.parse(line) as MetricsRow;
    return { loss, flips };
  });
}

for (const estimator of ["stretched-elastic", "stochastic"]) {
  test(`${estimator}: a run that was stopped goes on to the same losses and flips`, async () => {
    const run = estimatedRun(estimator);
    const whole = join(base, `${estimator}-whole`);
    const parts = join(base, `${estimator}-parts`);
    const { loss } = await train({ ...run, device, folder: whole, keepBest: true });
    const stop = new AbortController();
    const onProgress = ({ step }: TrainProgress): void => void (step === 5 && stop.abort());
    await train({ ...run, device, folder: parts, signal: stop.signal, onProgress });
    await train({ ...run, device, folder: parts });
    assert.deepEqual(lines(parts), lines(whole));
    assert.ok(
      lines(whole).every(({ flips }) => flips!.length === 2 && flips!.every((share) => share >= 0 && share < 1)),
    );
    const again = await train({ ...run, device, folder: whole });
    assert.equal(again.loss, loss);
    // Checkpoints and the best model open as models, without what the estimator learned beside the masters.
    for (const name of ["checkpoint.fid", "best.fid"]) {
      using opened = await openModel(join(whole, name), device);
      assert.equal(opened.parameters.size, again.parameters.size);
    }
  });
}

test("flips are the codes that a step changed, by matrix and by layer", async () => {
  const { model, settings } = estimatedRun("straight-through");
  const step = await TrainStep.compile(device, model, trainSettings(settings));
  for (const { path, leaf } of namedParameters(model.parameters))
    fillParameter(leaf, path, 1, step.parameters.get(path)!.f32());
  const codes = (): number[][] =>
    step.estimation.matrices.map(({ path }) => {
      const values = Array.from(step.parameters.get(path)!.f32());
      const scale = values.reduce((sum, value) => sum + Math.abs(value), 0) / values.length;
      return values.map((value) => Math.max(-1, Math.min(1, Math.round(value / scale))));
    });
  const before = codes();
  await step.run(1, 0.05);
  const changed = codes().map((now, i) => now.filter((code, at) => code !== before[i][at]).length);
  assert.deepEqual(Array.from(step.flips), changed);
  assert.ok(changed.some((count) => count > 0));
  const weights = step.estimation.matrices.filter(({ path }) => path.startsWith("blocks.1."));
  const flipped = changed.filter((_count, i) => step.estimation.matrices[i].path.startsWith("blocks.1."));
  const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
  const share = sum(flipped) / sum(weights.map(({ outputs, inputs }) => outputs * inputs));
  assert.equal(flipShares(step.estimation, step.flips)[1], share);
  freeParameters(step.parameters);
  step.free();
});

test("a transformer has nothing to estimate, and no flips", async () => {
  const run = tinyRun("llama", 2);
  assert.equal(estimationOf(run.model, "straight-through").matrices.length, 0);
  const folder = join(base, "llama");
  await train({ ...run, device, folder });
  assert.deepEqual(
    lines(folder).map(({ flips }) => flips),
    [undefined, undefined],
  );
});

test("noise follows from seed and step alone, and is uniform", () => {
  const draw = (seed: number, step: number): Float32Array => {
    const out = new Float32Array(4096);
    fillNoise(seed, step, out);
    return out;
  };
  const noise = draw(1, 10);
  assert.deepEqual(draw(1, 10), noise);
  assert.notDeepEqual(draw(1, 11), noise);
  assert.notDeepEqual(draw(2, 10), noise);
  assert.ok(noise.every((value) => value >= 0 && value <= 1));
  assert.ok(Math.abs(noise.reduce((sum, value) => sum + value, 0) / noise.length - 0.5) < 0.03);
});

test("an unknown estimator is refused with those that there are", () => {
  assert.throws(
    () => trainSettings({ steps: 1, estimator: "guess" }),
    (error) => {
      assert.ok(error instanceof TrainSettingError);
      assert.match(error.message, /estimator cannot be guess[^]*straight-through, clipped/);
      return true;
    },
  );
});

test("the interpreter takes the same steps with an estimator", async () => {
  const run = estimatedRun("gumbel", 4);
  const reference = await train({ ...run, device: createInterpreter() });
  const compiled = await train({ ...run, device });
  assert.ok(Math.abs(reference.loss! - compiled.loss!) < 1e-4, `${reference.loss} and ${compiled.loss}`);
});

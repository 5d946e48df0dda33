// Checkpoints that are damaged: refused by name where there is no other, and stepped over where there is.

import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { ChecksumError, TruncatedContainerError } from "@fidelity/barewire";
import { writeContainerFile } from "@fidelity/barewire/node";
import { ModelFileError } from "@fidelity/run";
import { saveModel, withContainer } from "@fidelity/run/node";
import { FORMER_SETTINGS, ResumeMismatchError, train } from "./index.ts";
import type { TrainProgress } from "./index.ts";
import { readLosses, tinyRun } from "./testing.ts";

const base = mkdtempSync(join(tmpdir(), "fidelity-checkpoint-"));
const device = createDevice({ threads: 1 });
after(async () => {
  await device.close();
  rmSync(base, { recursive: true });
});

const run = tinyRun();
const whole = join(base, "whole");
await train({ ...run, device, folder: whole });
const losses = readLosses(join(whole, "metrics.jsonl"));

/** A run that was stopped after step 9, with checkpoints of steps 6 and 9. */
async function stoppedRun(name: string): Promise<string> {
  const folder = join(base, name);
  const stop = new AbortController();
  const onProgress = ({ step }: TrainProgress): void => void (step === 9 && stop.abort());
  await train({ ...run, device, folder, signal: stop.signal, onProgress, checkpoint: { everySteps: 3 } });
  return folder;
}

function flipBit(path: string, offset: number): void {
  const bytes = readFileSync(path);
  bytes[offset] ^= 4;
  writeFileSync(path, bytes);
}

test("a damaged checkpoint is stepped over, and the run goes on from the one before to the same losses", async () => {
  const damages = [
    (path: string) => flipBit(path, 30),
    (path: string) => flipBit(path, readFileSync(path).length - 1),
    (path: string) => truncateSync(path, 5000),
    (path: string) => rmSync(path),
  ];
  for (const [i, damage] of damages.entries()) {
    const folder = await stoppedRun(`damaged-${i}`);
    damage(join(folder, "checkpoint.fid"));
    const notices: string[] = [];
    const result = await train({ ...run, device, folder, onNotice: (text) => void notices.push(text) });
    assert.equal(result.resumedFrom, 6);
    assert.deepEqual(readLosses(join(folder, "metrics.jsonl")), losses);
    if (i < 3)
      assert.match(notices.join(), /the model file is (damaged|truncated).*going on from the checkpoint before it/);
  }
});

test("where both are damaged the run is refused and nothing is written", async () => {
  const folder = await stoppedRun("both");
  flipBit(join(folder, "checkpoint.fid"), 8200);
  flipBit(join(folder, "checkpoint-previous.fid"), 8200);
  const metrics = readFileSync(join(folder, "metrics.jsonl"), "utf8");
  await assert.rejects(train({ ...run, device, folder }), ChecksumError);
  truncateSync(join(folder, "checkpoint-previous.fid"), 100);
  await assert.rejects(train({ ...run, device, folder }), TruncatedContainerError);
  assert.equal(readFileSync(join(folder, "metrics.jsonl"), "utf8"), metrics);
});

/** Writes a checkpoint again as a version that had no such settings would have. */
function withoutSettings(path: string, names: readonly string[]): void {
  withContainer(path, (container) => {
    const { metadata, config, components, tensors } = container.header;
    const { settings, ...rest } = config as { readonly settings: Readonly<Record<string, unknown>> };
    const kept = Object.fromEntries(Object.entries(settings).filter(([name]) => !names.includes(name)));
    const inputs = tensors.map((entry) => ({ ...entry, bytes: () => container.tensor(entry.name).u8() as Uint8Array }));
    const changed = JSON.parse(JSON.stringify({ ...rest, settings: kept })) as typeof config;
    writeContainerFile(path, { metadata, config: changed, components, tensors: inputs });
  });
}

test("a run of an older version, whose settings lack what came later, goes on as it was", async () => {
  const former = { ...run, settings: { ...run.settings, ...FORMER_SETTINGS } };
  const folder = join(base, "older");
  const stop = new AbortController();
  const onProgress = ({ step }: TrainProgress): void => void (step === 6 && stop.abort());
  await train({ ...former, device, folder, signal: stop.signal, onProgress });
  withoutSettings(join(folder, "checkpoint.fid"), Object.keys(FORMER_SETTINGS));
  await assert.rejects(train({ ...run, device, folder }), (error) => {
    assert.ok(error instanceof ResumeMismatchError);
    assert.equal(error.field, "settings.estimator", "the defaults of now are others");
    return true;
  });
  const resumed = await train({ ...former, device, folder });
  const { loss } = await train({ ...former, device });
  assert.deepEqual([resumed.resumedFrom, resumed.loss], [6, loss]);
});

test("a model is no checkpoint", async () => {
  const folder = await stoppedRun("model");
  const { parameters } = await train({ ...run, device, folder });
  const input = { device, model: run.model, parameters, tokenizer: run.tokenizer, packed: false };
  await saveModel(join(folder, "model.fid"), input);
  copyFileSync(join(folder, "model.fid"), join(folder, "checkpoint.fid"));
  await assert.rejects(train({ ...run, device, folder }), (error) => {
    assert.ok(error instanceof ModelFileError);
    assert.match(error.message, /a model and no checkpoint/);
    return true;
  });
});

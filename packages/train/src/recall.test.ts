// A run on a task whose sequences are made: it learns, and what stops goes on.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { createModel, freeParameters } from "@fidelity/models";
import { mqarTask, symbolTokenizer } from "./data/index.ts";
import { evaluateRecall } from "./recall.ts";
import { RunFolder } from "./run-folder.ts";
import { readLosses } from "./testing.ts";
import { train } from "./trainer.ts";
import type { TrainResult } from "./trainer.ts";

const device = createDevice({ threads: 1 });
const scratch = mkdtempSync(join(tmpdir(), "fidelity-recall-"));
after(async () => {
  await device.close();
  rmSync(scratch, { recursive: true, force: true });
});

const vocabSize = 8;
const pairs = [1, 2];
const model = createModel({ architecture: "gated-deltanet", dim: 16, layerCount: 1, headCount: 1, vocabSize });
const settings = { steps: 120, batchSize: 16, contextLength: 8, learningRate: 0.03, seed: 2 };

function run(folder: string, signal?: AbortSignal, onStep?: (step: number) => void): Promise<TrainResult> {
  return train({
    device,
    model,
    tokenizer: symbolTokenizer(vocabSize),
    data: mqarTask({ vocabSize, pairs }),
    settings,
    folder: join(scratch, folder),
    signal,
    onProgress: ({ step }) => onStep?.(step),
  });
}

test("recall is learned from answers alone, and a run that was stopped goes on as if it had not been", async () => {
  const whole = await run("whole");
  const asked = { device, model, pairs, contextLength: 8, sequences: 64 };
  const recall = await evaluateRecall({ ...asked, parameters: whole.parameters });
  for (const { accuracy } of recall) assert.ok(accuracy > 0.75, JSON.stringify(recall));
  const stop = new AbortController();
  const stopped = await run("stopped", stop.signal, (step) => step === 30 && stop.abort());
  assert.equal(stopped.step, 30);
  const resumed = await run("stopped");
  const lossesOf = (folder: string): unknown => readLosses(new RunFolder(join(scratch, folder)).metrics);
  assert.deepEqual(lossesOf("stopped"), lossesOf("whole"));
  for (const { parameters } of [whole, stopped, resumed]) freeParameters(parameters);
});

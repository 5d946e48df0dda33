// The trainings behind docs/studies/architectures.md. What a training came to is kept as a file of JSON, so that a
// study that was stopped goes on where it was.

import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createDevice } from "@fidelity/alex/node";
import { writeFileAtomic } from "@fidelity/barewire/node";
import type { Device } from "@fidelity/core";
import { freeParameters, packParameters } from "@fidelity/models";
import type { DeviceParameters, Model, Tokenizer } from "@fidelity/models";
import {
  batchesOf,
  evaluateLoss,
  evaluateRecall,
  isTask,
  mqarTask,
  RunFolder,
  symbolTokenizer,
  train,
} from "@fidelity/train";
import type { Recall, TrainingData } from "@fidelity/train";
import { MQAR, modelOf, RECALL, RECALL_SEQUENCES, settingOf, sweepArms } from "./architecture-arms.ts";
import type { Arm, Budget, Contender } from "./architecture-arms.ts";
import { corpusName, openText, validationCurve } from "./runs.ts";

/** Points of a curve. */
const POINTS = 16;

/** What a training came to. */
export interface Outcome extends Arm {
  /** Of the finished model, ternary weights packed, over the whole validation split; nats a token or an answer. */
  readonly loss: number;
  /** On associative recall, by the number of pairs. */
  readonly recall: readonly Recall[];
  /** Validation losses on the way, on a part of the split. */
  readonly curve: readonly (readonly [step: number, loss: number])[];
  readonly seconds: number;
}

function outcomePath(folder: string, { task, mixer, weights, learningRate, steps, seed }: Arm): string {
  const name = [task, mixer, weights, learningRate, steps, seed].join("-").replaceAll(" ", "_");
  return join(folder, `${name}.json`);
}

/** The outcome of an arm; undefined while there is none. */
export function readOutcome(folder: string, arm: Arm): Outcome | undefined {
  const path = outcomePath(folder, arm);
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Outcome) : undefined;
}

/** The rate of a contender whose sweep ended lowest: that of the first corpus for all texts. */
export function chosenRate(folder: string, contender: Contender, budget: Budget, firstText: string): number {
  const task = contender.task === RECALL ? RECALL : firstText;
  const isItsOwn = (arm: Arm): boolean => arm.mixer === contender.mixer && arm.weights === contender.weights;
  const tried = sweepArms(task, budget)
    .filter(isItsOwn)
    .flatMap((arm) => readOutcome(folder, arm) ?? []);
  if (tried.length === 0) throw new Error(`no rate was tried for ${contender.mixer}, ${contender.weights}`);
  return tried.reduce((best, outcome) => (outcome.loss < best.loss ? outcome : best)).learningRate;
}

/** What arms of one task train on. */
interface Material {
  readonly tokenizer: Tokenizer;
  readonly data: TrainingData;
}

/** Runs those of the arms that have no outcome yet. `paths` are the corpora's files. */
export async function runArms(arms: readonly Arm[], paths: readonly string[], folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const materials = new Map<string, Material>();
  for (const [index, arm] of arms.entries()) {
    if (readOutcome(folder, arm) !== undefined) continue;
    const material = materials.get(arm.task) ?? openMaterial(arm.task, paths);
    materials.set(arm.task, material);
    const runFolder = `${outcomePath(folder, arm)}.run`;
    const outcome = await runArm(arm, material, runFolder);
    writeFileAtomic(outcomePath(folder, arm), [new TextEncoder().encode(`${JSON.stringify(outcome)}\n`)]);
    rmSync(runFolder, { recursive: true });
    console.error(`${index + 1} of ${arms.length}: ${describe(outcome)}`);
  }
}

function describe({ task, mixer, weights, learningRate, seed, loss, recall, seconds }: Outcome): string {
  const what = `${task}, ${mixer}, ${weights}, rate ${learningRate}, seed ${seed}: ${loss.toFixed(4)}`;
  const answered = recall.map(({ pairs, accuracy }) => `, ${pairs} pairs ${(100 * accuracy).toFixed(0)} %`).join("");
  return `${what}${answered} in ${seconds.toFixed(0)} s`;
}

function openMaterial(task: string, paths: readonly string[]): Material {
  if (task === RECALL) return { tokenizer: symbolTokenizer(MQAR.vocabSize), data: mqarTask(MQAR) };
  const path = paths.find((candidate) => corpusName(candidate) === task);
  if (path === undefined) throw new Error(`no corpus is called ${task}`);
  return openText(path);
}

async function runArm(arm: Arm, { tokenizer, data }: Material, runFolder: string): Promise<Outcome> {
  const device = createDevice({ threads: 1, target: "native" });
  try {
    const { learningRate, steps, seed, task } = arm;
    const { batchSize, contextLength } = settingOf(task);
    const model = modelOf(arm, tokenizer.vocabSize);
    const settings = { steps, batchSize, contextLength, learningRate, seed, finalRatio: 0.1 };
    const result = await train({
      device,
      model,
      tokenizer,
      data,
      settings,
      folder: runFolder,
      validation: { everySteps: Math.ceil(steps / POINTS), batches: 8 },
      checkpoint: { everySeconds: 30 },
    });
    const packed = await packParameters(model, result.parameters, device);
    const measured = await measure(device, model, packed, { task, data, batchSize, contextLength });
    for (const [path, tensor] of packed) if (tensor !== result.parameters.get(path)) tensor.free();
    freeParameters(result.parameters);
    const curve = validationCurve(new RunFolder(runFolder).metrics);
    return { ...arm, ...measured, curve, seconds: result.seconds };
  } finally {
    await device.close();
  }
}

interface Measuring {
  readonly task: string;
  readonly data: TrainingData;
  readonly batchSize: number;
  readonly contextLength: number;
}

async function measure(
  device: Device,
  model: Model,
  parameters: DeviceParameters,
  { task, data, batchSize, contextLength }: Measuring,
): Promise<Pick<Outcome, "loss" | "recall">> {
  const batches = batchesOf(data, { batchSize, contextLength, seed: 0 });
  const { loss } = await evaluateLoss({ device, model, parameters, batches, hasGaps: isTask(data) });
  if (task !== RECALL) return { loss, recall: [] };
  const asked = { pairs: MQAR.pairs, contextLength, sequences: RECALL_SEQUENCES };
  return { loss, recall: await evaluateRecall({ device, model, parameters, ...asked }) };
}

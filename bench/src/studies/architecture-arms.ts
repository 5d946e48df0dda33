// What docs/studies/architectures.md compares: five ways to mix tokens, each with dense and with ternary weights, at
// equal parameters, on two books and on associative recall. All but the MatMul-free model are one frame of residual
// layers whose mixers differ; a transformer is that frame with attention in every layer.

import { countParameters, createModel } from "@fidelity/models";
import type { Model, PlainConfig } from "@fidelity/models";

export const MIXERS = ["transformer", "MLGRU", "Mamba-2", "Gated DeltaNet", "hybrid"] as const;
export type Mixer = (typeof MIXERS)[number];

export const WEIGHTS = ["dense", "ternary"] as const;
export type Weights = (typeof WEIGHTS)[number];

export const SEEDS = [1, 2, 3] as const;

/** The name of the task that is no text. */
export const RECALL = "recall";

/** What is trained on what. */
export interface Contender {
  /** A corpus, by the name of its file without the ending, or `RECALL`. */
  readonly task: string;
  readonly mixer: Mixer;
  readonly weights: Weights;
}

/** One training. */
export interface Arm extends Contender {
  readonly seed: number;
  readonly learningRate: number;
  readonly steps: number;
}

/** What all trainings of a kind of task share. */
export interface Setting {
  readonly layerCount: number;
  readonly batchSize: number;
  readonly contextLength: number;
}

/** The budget of a study: steps of each training on text, and of each on recall. */
export interface Budget {
  readonly textSteps: number;
  readonly recallSteps: number;
}

export const DEFAULT_BUDGET: Budget = { textSteps: 800, recallSteps: 500 };

/** MQAR as it is trained here; each sequence has one of these numbers of pairs. */
export const MQAR = { vocabSize: 32, pairs: [1, 2, 4, 8] } as const;
/** Sequences for each number of pairs that accuracy is measured on. */
export const RECALL_SEQUENCES = 256;

export function settingOf(task: string): Setting {
  return task === RECALL
    ? { layerCount: 2, batchSize: 64, contextLength: 32 }
    : { layerCount: 4, batchSize: 8, contextLength: 128 };
}

/** Peak rates that are tried for each contender, with a seed of their own. */
export const RATES = { text: [1.5e-3, 3e-3, 6e-3], recall: [1.5e-3, 3e-3] } as const;
export const SWEEP_SEED = 0;

export function contendersOf(task: string): Contender[] {
  return MIXERS.flatMap((mixer) => WEIGHTS.map((weights) => ({ task, mixer, weights })));
}

/** The trainings by which the rate of every contender of a task is chosen; those on text are half as long. */
export function sweepArms(task: string, { textSteps, recallSteps }: Budget): Arm[] {
  const steps = task === RECALL ? recallSteps : Math.ceil(textSteps / 2);
  const rates = task === RECALL ? RATES.recall : RATES.text;
  return contendersOf(task).flatMap((contender) =>
    rates.map((learningRate) => ({ ...contender, learningRate, steps, seed: SWEEP_SEED })),
  );
}

/** The trainings that count, all contenders with one seed before those with the next. */
export function mainArms(
  tasks: readonly string[],
  { textSteps, recallSteps }: Budget,
  rateOf: (contender: Contender) => number,
): Arm[] {
  return SEEDS.flatMap((seed) =>
    tasks.flatMap((task) =>
      contendersOf(task).map((contender) => ({
        ...contender,
        seed,
        learningRate: rateOf(contender),
        steps: task === RECALL ? recallSteps : textSteps,
      })),
    ),
  );
}

const DIM = 64;

/** Widths of channel mixers that make parameters equal; Mamba-2 has twice the layers and no channel mixer. */
const CONFIGS: Readonly<Record<Mixer, PlainConfig>> = {
  transformer: { architecture: "gated-deltanet", pattern: "A", hiddenDim: 192 },
  MLGRU: { architecture: "matmul-free", hiddenDim: 192 },
  "Mamba-2": { architecture: "mamba2", innerDim: 112, headCount: 4, stateSize: 32 },
  "Gated DeltaNet": { architecture: "gated-deltanet", pattern: "D", hiddenDim: 164 },
  hybrid: { architecture: "gated-deltanet", pattern: "DDDA", hiddenDim: 172 },
};

/** The model of an arm over `vocabSize` tokens. */
export function modelOf(arm: Contender, vocabSize: number): Model {
  const config = CONFIGS[arm.mixer];
  const { layerCount, contextLength } = settingOf(arm.task);
  const isStack = config.architecture === "gated-deltanet";
  return createModel({
    ...config,
    dim: DIM,
    layerCount: arm.mixer === "Mamba-2" ? 2 * layerCount : layerCount,
    vocabSize,
    weights: arm.weights,
    tiedEmbeddings: false,
    ...(isStack && { headCount: 2, attentionHeadCount: arm.task === RECALL ? 1 : 2, contextLength }),
    ...(arm.mixer === "hybrid" && layerCount < 4 && { pattern: "DA", hiddenDim: 180 }),
  });
}

/** The smallest and the largest number of parameters among the models of a task. */
export function parameterRange(task: string, vocabSize: number): { readonly low: number; readonly high: number } {
  const counts = contendersOf(task).map(
    (contender) => countParameters(modelOf(contender, vocabSize).parameters).parameters,
  );
  return { low: Math.min(...counts), high: Math.max(...counts) };
}

// Training data that is made instead of read: a task gives the batches of a run as a function of seed and step, and
// asks for an answer at some positions only.

import type { BatchOptions } from "./batches.ts";
import { Batches } from "./batches.ts";
import type { TokenData } from "./corpus.ts";

/** Where a run's batches come from. */
export interface BatchSource {
  readonly batchSize: number;
  readonly contextLength: number;
  /** How many validation batches there are by default. */
  readonly validationBatchCount: number;
  /** Fills the batch of a training step; `inputs` and `targets` are [batchSize, contextLength], row-major. */
  batch(step: number, inputs: Int32Array, targets: Int32Array): void;
  /** Fills the validation batch `index` of `count`. */
  validationBatch(index: number, inputs: Int32Array, targets: Int32Array, count?: number): void;
}

/** A task whose sequences are made. Targets are `NO_TARGET` where nothing is asked. */
export interface SequenceTask {
  readonly vocabSize: number;
  /** What tells whether a later run has the same task. */
  readonly fingerprint: string;
  /** Throws `DataSettingError` where the sequences are too short for the task. */
  batches(options: BatchOptions): BatchSource;
}

/** What a run trains on. */
export type TrainingData = TokenData | SequenceTask;

export function isTask(data: TrainingData): data is SequenceTask {
  return "batches" in data;
}

/** The batches of tokens that were read, or of a task. Throws what `Batches` throws. */
export function batchesOf(data: TrainingData, options: BatchOptions): BatchSource {
  return isTask(data) ? data.batches(options) : new Batches(data.tokens, options);
}

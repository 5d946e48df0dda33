// How much a model recalls: its accuracy on MQAR, by the number of pairs (Arora et al. 2023, arXiv 2312.04927). A query
// counts as answered where the value of its key is the most probable token.

import type { Device } from "@fidelity/core";
import { NO_TARGET } from "@fidelity/models";
import type { DeviceParameters, Model } from "@fidelity/models";
import { mqarTask } from "./data/index.ts";
import { Scoring } from "./score.ts";

export interface RecallOptions {
  readonly device: Device;
  readonly model: Model;
  /** Float32 or packed; they stay the caller's. */
  readonly parameters: DeviceParameters;
  /** The numbers of pairs to ask for, one after another. */
  readonly pairs: readonly number[];
  /** Tokens of a sequence, at least four a pair. */
  readonly contextLength: number;
  /** Sequences for each number of pairs, at least; those that fill the last batch count as well. */
  readonly sequences: number;
  /** Exponent of the gaps; see `mqarTask`. */
  readonly power?: number;
}

/** The accuracy for one number of pairs. */
export interface Recall {
  readonly pairs: number;
  readonly sequences: number;
  /** Share of the queries that were answered. */
  readonly accuracy: number;
  /** Of the mean over sequences, whose queries are not independent of each other. */
  readonly standardError: number;
}

const SEQUENCES_PER_BATCH_MAX = 16;

/** Asks the questions of MQAR's validation. Throws `DataSettingError` for pairs that do not fit, `ModelKindError`. */
export async function evaluateRecall(options: RecallOptions): Promise<readonly Recall[]> {
  const { device, model, parameters, contextLength, power } = options;
  const { vocabSize } = model;
  const batchSize = Math.min(SEQUENCES_PER_BATCH_MAX, options.sequences);
  const batchCount = Math.ceil(options.sequences / batchSize);
  const sources = options.pairs.map((pairs) => {
    const task = mqarTask({ vocabSize, pairs: [pairs], power });
    return { pairs, batches: task.batches({ batchSize, contextLength, seed: 0 }) };
  });
  const scoring = await Scoring.compile(device, model, parameters, { batchSize, contextLength });
  try {
    const recalls: Recall[] = [];
    for (const { pairs, batches } of sources) {
      const answered: number[] = [];
      for (let index = 0; index < batchCount; index++) {
        batches.validationBatch(index, scoring.tokens.i32(), scoring.targets.i32());
        const { isBest } = await scoring.run();
        answered.push(...answeredShares(isBest, scoring.targets.i32(), batchSize, pairs));
      }
      const { mean: accuracy, standardError } = meanAndError(answered);
      recalls.push({ pairs, sequences: answered.length, accuracy, standardError });
    }
    return recalls;
  } finally {
    scoring.free();
  }
}

/** The share of answered queries of each sequence of a batch, whose arrays are [batch, time]. */
function answeredShares(isBest: Float32Array, targets: Int32Array, batchSize: number, pairs: number): number[] {
  const time = targets.length / batchSize;
  return Array.from({ length: batchSize }, (_, row) => {
    let count = 0;
    for (let at = row * time; at < (row + 1) * time; at++) if (targets[at] !== NO_TARGET) count += isBest[at];
    return count / pairs;
  });
}

/** The mean of a sample and its standard error: sqrt(variance / n), n - 1 in the variance; 0 for a sample of one. */
export function meanAndError(sample: readonly number[]): { readonly mean: number; readonly standardError: number } {
  const mean = sample.reduce((sum, value) => sum + value, 0) / sample.length;
  const squares = sample.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, standardError: Math.sqrt(squares / Math.max(1, sample.length - 1) / sample.length) };
}

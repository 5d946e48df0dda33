// The validation loss of a model as it lies on a device: float32, or packed.

import type { Device } from "@fidelity/core";
import type { DeviceParameters, Model } from "@fidelity/models";
import type { BatchSource } from "./data/index.ts";
import type { Precision } from "./settings.ts";
import { Evaluation } from "./step.ts";

export interface EvaluateLossOptions {
  readonly device: Device;
  readonly model: Model;
  /** Float32 or packed; they stay the caller's. */
  readonly parameters: DeviceParameters;
  readonly batches: BatchSource;
  /** How many validation batches, spread over the whole validation split; all of it by default. */
  readonly count?: number;
  readonly precision?: Precision;
  /** Whether the batches are those of a task, with targets at some positions only. */
  readonly hasGaps?: boolean;
}

export interface EvaluatedLoss {
  /** Mean of the batches, in nats a token. */
  readonly loss: number;
  readonly tokenCount: number;
  readonly tokensPerSecond: number;
}

/** Computes the mean loss over validation batches. The time does not include compiling. */
export async function evaluateLoss(options: EvaluateLossOptions): Promise<EvaluatedLoss> {
  const { device, model, parameters, batches, precision, hasGaps } = options;
  const { batchSize, contextLength, validationBatchCount } = batches;
  const count = Math.min(options.count ?? validationBatchCount, validationBatchCount);
  const evaluation = await Evaluation.compile(device, model, parameters, {
    batchSize,
    contextLength,
    precision,
    hasGaps,
  });
  try {
    const startedAt = performance.now();
    const loss = await evaluation.mean(count, (index, tokens, targets) =>
      batches.validationBatch(index, tokens, targets, count),
    );
    const tokenCount = count * batchSize * contextLength;
    return { loss, tokenCount, tokensPerSecond: (1000 * tokenCount) / (performance.now() - startedAt) };
  } finally {
    evaluation.free();
  }
}

// The loss of a model over a text: windows of one length, spread evenly so that first and last tokens are seen and
// neighbours overlap as little as can be. Each window starts afresh, as in training, so a longer context scores better.

import type { Device } from "@fidelity/core";
import type { DeviceParameters, Model } from "@fidelity/models";
import { Evaluation } from "@fidelity/train";
import type { TokenArray } from "@fidelity/train";

const WINDOWS_PER_BATCH_MAX = 16;

/** Where windows of `contextLength` tokens start, each followed by one more token that is a target. */
export interface Windows {
  readonly contextLength: number;
  /** Divides the number of windows. */
  readonly batchSize: number;
  readonly starts: readonly number[];
}

/** Windows over `tokenCount` tokens, at least 2; a shorter text gives one window of what there is. */
export function spreadWindows(tokenCount: number, contextLength: number, tokensMax = Infinity): Windows {
  const length = Math.min(contextLength, tokenCount - 1);
  const lastStart = tokenCount - 1 - length;
  const needed = Math.max(1, Math.min(Math.ceil((tokenCount - 1) / length), Math.ceil(tokensMax / length)));
  // All batches have one shape, so that a few windows more than needed may fill the last one.
  const batchCount = Math.ceil(needed / WINDOWS_PER_BATCH_MAX);
  const batchSize = Math.ceil(needed / batchCount);
  const count = batchSize * batchCount;
  const starts = Array.from({ length: count }, (_, i) => (count === 1 ? 0 : Math.floor((i * lastStart) / (count - 1))));
  return { contextLength: length, batchSize, starts };
}

export interface TextLoss {
  /** Mean over all targets, in nats a token. */
  readonly loss: number;
  /** Targets that were scored. */
  readonly tokens: number;
  readonly seconds: number;
}

/** The mean loss over windows of `tokens`, without the time to compile. `parameters` are float32 or packed. */
export async function evaluateText(
  { device, model }: { readonly device: Device; readonly model: Model },
  parameters: DeviceParameters,
  tokens: TokenArray,
  { contextLength, batchSize, starts }: Windows,
): Promise<TextLoss> {
  const evaluation = await Evaluation.compile(device, model, parameters, { batchSize, contextLength });
  try {
    const started = performance.now();
    const loss = await evaluation.mean(starts.length / batchSize, (index, inputs, targets) => {
      for (let row = 0; row < batchSize; row++) {
        const start = starts[index * batchSize + row];
        inputs.set(tokens.subarray(start, start + contextLength), row * contextLength);
        targets.set(tokens.subarray(start + 1, start + contextLength + 1), row * contextLength);
      }
    });
    return { loss, tokens: starts.length * contextLength, seconds: (performance.now() - started) / 1000 };
  } finally {
    evaluation.free();
  }
}

// What a model computes for given tokens, batch after batch: the logits after each token of a language model, the
// embeddings of the last layer of an encoder.

import type { Device } from "@fidelity/core";
import type { DeviceParameters } from "./device_parameters.ts";
import { encode } from "./encode.ts";
import type { Model } from "./model.ts";
import { openSession } from "./session.ts";

/**
 * Reads batches of tokens one after the other and gives the logits of each, [tokens, vocabulary]: a view, good until
 * the next is asked for. An encoder's batches are texts of their own, and give [tokens, dim]. Throws as `openSession`,
 * `Session.read` and `encode`.
 */
export async function* logitsOf(
  model: Model,
  parameters: DeviceParameters,
  device: Device,
  batches: readonly (readonly number[])[],
): AsyncGenerator<Float32Array, void, undefined> {
  if (model.encoder !== undefined) {
    for (const batch of batches) yield await encode(model, parameters, device, batch);
    return;
  }
  const capacity = batches.reduce((sum, { length }) => sum + length, 0);
  const session = await openSession(model, parameters, device, { capacity });
  try {
    for (const batch of batches) yield await session.read(batch);
  } finally {
    session.close();
  }
}

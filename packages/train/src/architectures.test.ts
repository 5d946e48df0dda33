// Every architecture learns: it overfits a few lines from scratch, with float32 weights, and with ternary ones where it
// can have them.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import {
  architectures,
  CharacterTokenizer,
  countParameters,
  createModel,
  freeParameters,
  ModelConfigError,
  sampleConfigs,
} from "@fidelity/models";
import type { Model } from "@fidelity/models";
import { train } from "./index.ts";

const text = "the quick brown fox jumps over the lazy dog; pack my box with five dozen jugs. ".repeat(8);
const tokenizer = CharacterTokenizer.fromTexts([text]);
const data = { tokens: Uint8Array.from(tokenizer.encode(text)), vocabSize: tokenizer.vocabSize, fingerprint: "fox" };
const device = createDevice({ threads: 2 });
after(() => device.close());

/** An architecture's sample with float32 weights, and with ternary ones. */
function samplesOf(architecture: string): Model[] {
  const config = { architecture, vocabSize: tokenizer.vocabSize, ...sampleConfigs[architecture] };
  const models = [createModel(config)];
  for (const weights of ["dense", "ternary"]) {
    try {
      models.push(createModel({ ...config, weights }));
    } catch (error) {
      if (!(error instanceof ModelConfigError)) throw error; // it has no such field
    }
  }
  const isTernary = (model: Model): boolean => countParameters(model.parameters).ternaryParameters > 0;
  return [...new Map(models.map((model) => [isTernary(model), model])).values()];
}

describe("overfits a few lines", () => {
  for (const architecture of Object.keys(architectures)) {
    for (const model of samplesOf(architecture)) {
      if (model.encoder !== undefined) continue; // has no next token to learn
      const isTernary = countParameters(model.parameters).ternaryParameters > 0;
      test(`${architecture}, ${isTernary ? "ternary" : "float32"}`, async () => {
        const settings = { steps: 120, batchSize: 4, contextLength: 32, seed: 3, learningRate: 0.01 };
        const { parameters, loss } = await train({ device, model, tokenizer, data, settings });
        freeParameters(parameters);
        // The first guess costs log(28) = 3.3 nats; a repeated text costs next to nothing.
        assert.ok(loss !== undefined && loss < (isTernary ? 0.6 : 0.3), `${loss} nats a character`);
      });
    }
  }
});

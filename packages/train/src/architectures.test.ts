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

type Config = Readonly<Record<string, unknown>>;

/** Samples of the registry, ternary where they can be, and attentions in the place of the full one. */
function configs(): [title: string, config: Config][] {
  const llama: Config = { architecture: "llama", ...sampleConfigs["llama"] };
  return [
    ...Object.keys(architectures).flatMap((architecture) => variantsOf(architecture)),
    ["llama, windows", { ...llama, attention: "window", window: 8 }],
    ["llama, linear attention", { ...llama, attention: "linear" }],
    ["llama, Performer", { ...llama, attention: "performer", featureCount: 32 }],
  ];
}

/** An architecture's sample with float32 weights, and with ternary ones. */
function variantsOf(architecture: string): [title: string, config: Config][] {
  const sample: Config = { architecture, ...sampleConfigs[architecture] };
  const variants = [sample, { ...sample, weights: "dense" }, { ...sample, weights: "ternary" }].filter(isPossible);
  const byWeights = new Map(variants.map((config) => [isTernary(modelOf(config)) ? "ternary" : "float32", config]));
  return [...byWeights].map(([weights, config]) => [`${architecture}, ${weights}`, config]);
}

function modelOf(config: Config): Model {
  return createModel({ vocabSize: tokenizer.vocabSize, ...config });
}

/** Whether the architecture has all of these fields. */
function isPossible(config: Config): boolean {
  try {
    modelOf(config);
    return true;
  } catch (error) {
    if (error instanceof ModelConfigError) return false;
    throw error;
  }
}

function isTernary({ parameters }: Model): boolean {
  return countParameters(parameters).ternaryParameters > 0;
}

describe("overfits a few lines", () => {
  for (const [title, config] of configs()) {
    const model = modelOf(config);
    if (model.encoder !== undefined) continue; // has no next token to learn
    test(title, async () => {
      const settings = { steps: 120, batchSize: 4, contextLength: 32, seed: 3, learningRate: 0.01 };
      const { parameters, loss } = await train({ device, model, tokenizer, data, settings });
      freeParameters(parameters);
      // The first guess costs log(28) = 3.3 nats; a repeated text costs next to nothing.
      assert.ok(loss !== undefined && loss < (isTernary(model) ? 0.6 : 0.3), `${loss} nats a character`);
    });
  }
});

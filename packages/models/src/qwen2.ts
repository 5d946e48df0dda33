// Qwen 2 and 2.5 (Yang et al. 2024, arXiv 2407.10671): Llama with biases on queries, keys and values.
//
// Leaves out: mixtures of experts, and the window of some layers, which the published models switch off.

import { softmaxMixer } from "./blocks/attention.ts";
import { defineDecoder } from "./blocks/decoder.ts";
import type { DecoderSizes, RotationConfig } from "./blocks/decoder_config.ts";
import { checkHeads, rotationRules, sizeRules } from "./blocks/decoder_config.ts";
import { rotationOf } from "./blocks/rotation.ts";
import type { ConfigRules } from "./config.ts";
import { readConfig, wordField } from "./config.ts";
import type { Model } from "./model.ts";

/** Sizes of a Qwen 2 model. */
export type Qwen2Config = DecoderSizes & RotationConfig & { readonly architecture: "qwen2" };

const rules: ConfigRules<Qwen2Config> = {
  architecture: wordField("qwen2"),
  ...sizeRules({ tiedEmbeddings: false, normEpsilon: 1e-6 }),
  ...rotationRules(1e6),
};

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createQwen2(value: unknown): Model {
  const config = readConfig("qwen2", rules, value);
  checkHeads("qwen2", config);
  const parts = {
    ...config,
    weights: "dense",
    activation: "silu",
    queryKeyValueBias: true,
    outputBias: false,
    feedForwardBias: false,
    queryKeyNorm: false,
    subNorms: false,
    postNorms: false,
  } as const;
  const layer = { rotation: rotationOf(config, "halves"), mixer: softmaxMixer(parts, {}) };
  return defineDecoder(config, { ...parts, contextLimit: config.contextLength, layer: () => layer });
}

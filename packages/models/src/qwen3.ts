// Qwen 3 (Yang et al. 2025, arXiv 2505.09388): Llama with a norm over each query and key, before they are turned, and
// heads whose size does not follow from the width.
//
// Leaves out: mixtures of experts.

import { softmaxMixer } from "./blocks/attention.ts";
import { defineDecoder } from "./blocks/decoder.ts";
import type { DecoderSizes, RotationConfig } from "./blocks/decoder_config.ts";
import { checkHeads, rotationRules, sizeRules } from "./blocks/decoder_config.ts";
import { rotationOf } from "./blocks/rotation.ts";
import type { ConfigRules } from "./config.ts";
import { readConfig, wordField } from "./config.ts";
import type { Model } from "./model.ts";

/** Sizes of a Qwen 3 model. */
export type Qwen3Config = DecoderSizes & RotationConfig & { readonly architecture: "qwen3" };

const rules: ConfigRules<Qwen3Config> = {
  architecture: wordField("qwen3"),
  ...sizeRules({ tiedEmbeddings: false, normEpsilon: 1e-6 }),
  ...rotationRules(1e6),
};

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createQwen3(value: unknown): Model {
  const config = readConfig("qwen3", rules, value);
  checkHeads("qwen3", config);
  const parts = {
    ...config,
    weights: "dense",
    activation: "silu",
    queryKeyValueBias: false,
    outputBias: false,
    feedForwardBias: false,
    queryKeyNorm: true,
    subNorms: false,
    postNorms: false,
  } as const;
  const layer = { rotation: rotationOf(config, "halves"), mixer: softmaxMixer(parts, {}) };
  return defineDecoder(config, { ...parts, contextLimit: config.contextLength, layer: () => layer });
}

// Gemma 3 (Gemma team 2025, arXiv 2503.19786): Gemma 2 with a norm over each query and key instead of capped scores,
// and five local layers to a global one. Local layers turn by a base of their own; a scaled rotation is that of the
// global ones.
//
// Leaves out: images.

import { softmaxMixer } from "./blocks/attention.ts";
import { defineDecoder } from "./blocks/decoder.ts";
import { checkHeads, rotationRules } from "./blocks/decoder_config.ts";
import { rotationOf } from "./blocks/rotation.ts";
import type { ConfigRules } from "./config.ts";
import { optionalField, positiveField, readConfig, wordField } from "./config.ts";
import type { GemmaConfig } from "./gemma2.ts";
import { GEMMA_PARTS, gemmaRules, isLocal } from "./gemma2.ts";
import type { Model } from "./model.ts";

/** Sizes of a Gemma 3 model. */
export type Gemma3Config = GemmaConfig & {
  readonly architecture: "gemma3";
  /** The base of the frequencies of local layers, 10000 by default. */
  readonly localRopeTheta: number;
  /** Bound of the logits; none where absent. */
  readonly logitSoftcap?: number;
};

const rules: ConfigRules<Gemma3Config> = {
  architecture: wordField("gemma3"),
  ...gemmaRules(1024, 6),
  ...rotationRules(1e6),
  localRopeTheta: positiveField(1e9, 10000),
  logitSoftcap: optionalField(positiveField(1e6, 30)),
};

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createGemma3(value: unknown): Model {
  const config = readConfig("gemma3", rules, value);
  checkHeads("gemma3", config);
  const parts = { ...config, ...GEMMA_PARTS, queryKeyNorm: true };
  const scale = config.attentionScale;
  const local = {
    rotation: rotationOf({ ropeTheta: config.localRopeTheta, contextLength: config.contextLength }, "halves"),
    mixer: softmaxMixer(parts, { scale, window: config.window }),
  };
  const global = { rotation: rotationOf(config, "halves"), mixer: softmaxMixer(parts, { scale }) };
  return defineDecoder(config, {
    ...parts,
    contextLimit: config.contextLength,
    embeddingScale: Math.sqrt(config.dim),
    layer: (index) => (isLocal(index, config) ? local : global),
  });
}

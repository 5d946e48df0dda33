// Gemma 2 (Gemma team 2024, arXiv 2408.00118): norms before and after each part, GeGLU, scores and logits that are
// capped, and a sliding window in every second layer, the first included. Embeddings are multiplied by sqrt(dim) and
// are the head as well. Gains are those that are multiplied with: files of Hugging Face keep them less 1.

import { softmaxMixer } from "./blocks/attention.ts";
import { defineDecoder } from "./blocks/decoder.ts";
import type { DecoderSizes, RotationConfig } from "./blocks/decoder_config.ts";
import { checkHeads, rotationRules, sizeRules } from "./blocks/decoder_config.ts";
import { rotationOf } from "./blocks/rotation.ts";
import type { ConfigRules } from "./config.ts";
import { integerField, positiveField, readConfig, SIZE_LIMITS, wordField } from "./config.ts";
import type { Model } from "./model.ts";

/** What Gemma 2 and 3 have in common. */
export type GemmaConfig = DecoderSizes &
  RotationConfig & {
    /** Tokens that a query of a local layer sees, its own included. */
    readonly window: number;
    /** The last of as many layers sees everything; 1 where all of them do. */
    readonly windowPeriod: number;
    /** Factor of the scores; 1 / sqrt(headDim) by default. */
    readonly attentionScale: number;
  };

/** Sizes of a Gemma 2 model. */
export type Gemma2Config = GemmaConfig & {
  readonly architecture: "gemma2";
  /** Bound of the scores of attention, 50 by default. */
  readonly attentionSoftcap: number;
  /** Bound of the logits, 30 by default. */
  readonly logitSoftcap: number;
};

/** Rules of the fields of `GemmaConfig`, without those of the rotation. */
export function gemmaRules(window: number, period: number): ConfigRules<Omit<GemmaConfig, keyof RotationConfig>> {
  return {
    ...sizeRules({ tiedEmbeddings: true, normEpsilon: 1e-6 }),
    window: integerField(SIZE_LIMITS.contextLength, () => window),
    windowPeriod: integerField(SIZE_LIMITS.layerCount, () => period),
    attentionScale: positiveField(1e6, ({ headDim }) => 1 / Math.sqrt(Number(headDim))),
  };
}

/** The parts of Gemma 2 and 3. */
export const GEMMA_PARTS = {
  weights: "dense",
  activation: "gelu-tanh",
  queryKeyValueBias: false,
  outputBias: false,
  feedForwardBias: false,
  subNorms: false,
  postNorms: true,
} as const;

/** Whether layer `index` sees a window only. */
export function isLocal(index: number, { windowPeriod }: GemmaConfig): boolean {
  return index % windowPeriod < windowPeriod - 1;
}

const rules: ConfigRules<Gemma2Config> = {
  architecture: wordField("gemma2"),
  ...gemmaRules(4096, 2),
  ...rotationRules(10000),
  attentionSoftcap: positiveField(1e6, 50),
  logitSoftcap: positiveField(1e6, 30),
};

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createGemma2(value: unknown): Model {
  const config = readConfig("gemma2", rules, value);
  checkHeads("gemma2", config);
  const parts = { ...config, ...GEMMA_PARTS, queryKeyNorm: false };
  const rotation = rotationOf(config, "halves");
  const options = { scale: config.attentionScale, softcap: config.attentionSoftcap };
  const local = { rotation, mixer: softmaxMixer(parts, { ...options, window: config.window }) };
  const global = { rotation, mixer: softmaxMixer(parts, options) };
  return defineDecoder(config, {
    ...parts,
    contextLimit: config.contextLength,
    embeddingScale: Math.sqrt(config.dim),
    layer: (index) => (isLocal(index, config) ? local : global),
  });
}

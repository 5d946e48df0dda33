// The Llama-style transformer (Touvron et al. 2023, arXiv 2302.13971, and grouped heads from Llama 2, arXiv
// 2307.09288): pre-norm residual blocks of rotary self-attention and SwiGLU. The defaults are those of
// karpathy/llama2.c. Mistral (Jiang et al. 2023, arXiv 2310.06825) is the same with a sliding window; Llama 3.1 divides
// rotary frequencies by factors.
//
// `attention` puts another mixer into its place: a sliding window, linear attention or a Performer. Full attention is
// blocked and exact, that is, computed over tiles of keys with a running maximum (Dao et al. 2022, arXiv 2205.14135).
//
// Leaves out: mixtures of experts.

import type { Mixer } from "./blocks/attention.ts";
import { softmaxMixer } from "./blocks/attention.ts";
import type { DecoderDesign } from "./blocks/decoder.ts";
import { defineDecoder } from "./blocks/decoder.ts";
import type { DecoderSizes, RotationConfig } from "./blocks/decoder_config.ts";
import { checkHeads, rotationRules, sizeRules } from "./blocks/decoder_config.ts";
import { eluFeatures, linearMixer, performerFeatures } from "./blocks/linear_attention.ts";
import { rotationOf } from "./blocks/rotation.ts";
import type { ConfigRules } from "./config.ts";
import {
  flagField,
  integerField,
  ModelConfigError,
  optionalField,
  readConfig,
  requireSizes,
  SIZE_LIMITS,
  wordField,
} from "./config.ts";
import type { Model } from "./model.ts";

/** Sizes of a Llama-style transformer, and what it is made of. */
export type LlamaConfig = DecoderSizes &
  RotationConfig & {
    readonly architecture: "llama";
    readonly ropePairing: "adjacent" | "halves";
    readonly queryKeyValueBias: boolean;
    readonly outputBias: boolean;
    readonly feedForwardBias: boolean;
    readonly attention: "full" | "window" | "linear" | "performer";
    /** Tokens that a query sees of attention "window", its own included. */
    readonly window?: number;
    /** Random features of attention "performer", and what they are drawn from. 256 and 0 by default. */
    readonly featureCount?: number;
    readonly featureSeed?: number;
  };

const rules: ConfigRules<LlamaConfig> = {
  architecture: wordField("llama"),
  ...sizeRules({ tiedEmbeddings: true, normEpsilon: 1e-5 }),
  ...rotationRules(10000),
  ropePairing: wordField("adjacent", "halves"),
  queryKeyValueBias: flagField(false),
  outputBias: flagField(false),
  feedForwardBias: flagField(false),
  attention: wordField("full", "window", "linear", "performer"),
  window: optionalField(integerField(SIZE_LIMITS.contextLength)),
  featureCount: optionalField(integerField(1 << 14)),
  featureSeed: optionalField(integerField(Number.MAX_SAFE_INTEGER)),
};

/** Random directions are drawn when a model is built. */
const FEATURE_ELEMENTS_MAX = 1 << 20;

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createLlama(value: unknown): Model {
  const config = readConfig("llama", rules, value);
  checkHeads("llama", config);
  const design = <S>(mixer: Mixer<S>): DecoderDesign<S> => ({
    ...sizesOf(config),
    contextLimit: config.attention === "linear" || config.attention === "performer" ? null : config.contextLength,
    layer: () => ({ rotation: rotationOf(config, config.ropePairing), mixer }),
  });
  const { headDim, featureCount = 256, featureSeed = 0 } = config;
  const size = `featureCount ${featureCount}, headDim ${headDim}`;
  requireSizes("llama", featureCount * headDim <= FEATURE_ELEMENTS_MAX, "a smaller featureCount", size);
  switch (config.attention) {
    case "full":
      return defineDecoder(config, design(softmaxMixer(sizesOf(config), {})));
    case "window":
      return defineDecoder(config, design(softmaxMixer(sizesOf(config), { window: windowOf(config) })));
    case "linear":
      return defineDecoder(config, design(linearMixer(config, eluFeatures(headDim))));
    case "performer":
      return defineDecoder(config, design(linearMixer(config, performerFeatures(headDim, featureCount, featureSeed))));
  }
}

function sizesOf(config: LlamaConfig) {
  return {
    ...config,
    weights: "dense",
    activation: "silu",
    queryKeyNorm: false,
    subNorms: false,
    postNorms: false,
  } as const;
}

function windowOf({ window }: LlamaConfig): number {
  if (window !== undefined) return window;
  throw new ModelConfigError("window is missing", {
    where: "configuration of a llama model",
    expected: 'window: how many tokens a query sees, where attention is "window"',
    got: "nothing",
    hint: "Mistral 7B has 4096",
  });
}

// BitNet b1.58 (Ma et al. 2024, arXiv 2402.17764): Llama with ternary projections, int8 activations, and a norm in
// front of the projections back to the residual stream, inside attention and the feed-forward layer (Wang et al. 2022,
// arXiv 2210.06423). The first models have SiLU; the 2B model (Ma et al. 2025, arXiv 2504.12285) has squared ReLU. The
// head is the embedding.
//
// `weights: "dense"` multiplies float activations with the weights as they are, for files whose values a reference
// multiplies in float.

import type { Activation } from "./blocks/activation.ts";
import { softmaxMixer } from "./blocks/attention.ts";
import { defineDecoder } from "./blocks/decoder.ts";
import type { DecoderSizes, RotationConfig } from "./blocks/decoder_config.ts";
import { checkHeads, rotationRules, sizeRules } from "./blocks/decoder_config.ts";
import type { WeightKind } from "./blocks/projection.ts";
import { rotationOf } from "./blocks/rotation.ts";
import type { ConfigRules } from "./config.ts";
import { readConfig, wordField } from "./config.ts";
import type { Model } from "./model.ts";

/** Sizes of a BitNet b1.58 model. */
export type BitnetConfig = DecoderSizes &
  RotationConfig & {
    readonly architecture: "bitnet";
    readonly activation: Extract<Activation, "relu2" | "silu">;
    readonly weights: WeightKind;
  };

const rules: ConfigRules<BitnetConfig> = {
  architecture: wordField("bitnet"),
  ...sizeRules({ tiedEmbeddings: true, normEpsilon: 1e-5 }),
  ...rotationRules(10000),
  activation: wordField("relu2", "silu"),
  weights: wordField("ternary", "dense"),
};

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createBitnet(value: unknown): Model {
  const config = readConfig("bitnet", rules, value);
  checkHeads("bitnet", config);
  const parts = {
    ...config,
    queryKeyValueBias: false,
    outputBias: false,
    feedForwardBias: false,
    queryKeyNorm: false,
    subNorms: true,
    postNorms: false,
  } as const;
  const layer = { rotation: rotationOf(config, "halves"), mixer: softmaxMixer(parts, {}) };
  return defineDecoder(config, { ...parts, contextLimit: config.contextLength, layer: () => layer });
}

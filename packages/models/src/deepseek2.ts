// DeepSeek-V2 and V3 (DeepSeek-AI 2024, arXiv 2405.04434 and 2412.19437): multi-head latent attention, whose cache is
// one short vector a token, and mixtures of experts behind the first few layers. V2 scores experts by a softmax, V3 by
// sigmoids with biases for the choice; both may look at the best groups of experts only.
//
// Leaves out: the prediction of several next tokens, losses that balance the load, and 8-bit floats.

import type { Tensor } from "@fidelity/core";
import { add } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { RotationConfig } from "./blocks/decoder_config.ts";
import { rotationRules } from "./blocks/decoder_config.ts";
import type { ExpertsSizes } from "./blocks/experts.ts";
import { experts, expertsParameters } from "./blocks/experts.ts";
import { gatedFeedForward, gatedFeedForwardParameters } from "./blocks/feed_forward.ts";
import type { LatentAttentionSizes, LatentCache } from "./blocks/latent_attention.ts";
import { latentAttention, latentAttentionParameters, latentCacheTypes } from "./blocks/latent_attention.ts";
import { layerEnd } from "./blocks/layer.ts";
import { embeddingParameters, embedTokens } from "./blocks/embedding.ts";
import { tokenLogits } from "./blocks/head.ts";
import { linearParameters } from "./blocks/linear.ts";
import { norm, normParameters } from "./blocks/norm.ts";
import { rotationOf } from "./blocks/rotation.ts";
import type { ConfigRules } from "./config.ts";
import {
  countField,
  flagField,
  integerField,
  positiveField,
  readConfig,
  requireSizes,
  SIZE_LIMITS,
  wordField,
} from "./config.ts";
import type { Model } from "./model.ts";
import { defineModel, standingOf } from "./model.ts";
import { residualStd } from "./parameters.ts";

/** Sizes of a DeepSeek-V2 or V3 model. */
export type Deepseek2Config = LatentAttentionSizes &
  ExpertsSizes &
  RotationConfig & {
    readonly architecture: "deepseek2";
    /** Width inside the feed-forward layers that are not mixtures. */
    readonly hiddenDim: number;
    readonly layerCount: number;
    /** The first layers, which have one feed-forward layer instead of experts. */
    readonly denseLayerCount: number;
    readonly vocabSize: number;
    readonly contextLength: number;
    readonly tiedEmbeddings: boolean;
  };

const EXPERTS_LIMIT = 1 << 12;

const rules: ConfigRules<Deepseek2Config> = {
  architecture: wordField("deepseek2"),
  dim: integerField(SIZE_LIMITS.dim),
  hiddenDim: integerField(SIZE_LIMITS.hiddenDim, ({ dim }) => 4 * Number(dim)),
  layerCount: integerField(SIZE_LIMITS.layerCount),
  denseLayerCount: countField(SIZE_LIMITS.layerCount, () => 1),
  headCount: integerField(SIZE_LIMITS.headCount),
  queryRank: countField(SIZE_LIMITS.dim, () => 0),
  latentRank: integerField(SIZE_LIMITS.dim),
  keyDim: integerField(SIZE_LIMITS.headDim),
  ropeDim: integerField(SIZE_LIMITS.headDim),
  valueDim: integerField(SIZE_LIMITS.headDim, ({ keyDim }) => Number(keyDim)),
  attentionScale: positiveField(1e6, ({ keyDim, ropeDim }) => 1 / Math.sqrt(Number(keyDim) + Number(ropeDim))),
  expertCount: integerField(EXPERTS_LIMIT),
  expertsPerToken: integerField(EXPERTS_LIMIT),
  expertHiddenDim: integerField(SIZE_LIMITS.hiddenDim),
  sharedExpertCount: countField(EXPERTS_LIMIT, () => 1),
  expertScore: wordField("softmax", "sigmoid"),
  selectionBias: flagField(false),
  expertGroupCount: integerField(EXPERTS_LIMIT, () => 1),
  groupsPerToken: integerField(EXPERTS_LIMIT, ({ expertGroupCount }) => Number(expertGroupCount)),
  groupScore: wordField("top2", "max"),
  normalisedWeights: flagField(false),
  expertScale: positiveField(1e6, 1),
  vocabSize: integerField(SIZE_LIMITS.vocabSize),
  contextLength: integerField(SIZE_LIMITS.contextLength),
  tiedEmbeddings: flagField(false),
  normEpsilon: positiveField(1, 1e-6),
  ...rotationRules(10000),
};

function checkSizes(config: Deepseek2Config): void {
  const { ropeDim, ropeFactors, expertCount, expertsPerToken, expertGroupCount, groupsPerToken } = config;
  const check = (fits: boolean, expected: string, got: string): void => requireSizes("deepseek2", fits, expected, got);
  check(ropeDim % 2 === 0, "an even ropeDim", `${ropeDim}`);
  check(
    ropeFactors === undefined || ropeFactors.length === ropeDim / 2,
    `${ropeDim / 2} rotary factors`,
    `${ropeFactors?.length} of them`,
  );
  check(
    expertCount % expertGroupCount === 0 && groupsPerToken <= expertGroupCount,
    "groups that divide the experts, and no more groups a token than there are",
    `${expertCount} experts in ${expertGroupCount} groups, ${groupsPerToken} a token`,
  );
  const choices = (expertCount / expertGroupCount) * groupsPerToken;
  check(
    expertsPerToken <= choices,
    `at most ${choices} experts a token, those of its groups`,
    `${expertsPerToken} of them`,
  );
}

function parametersOf(config: Deepseek2Config) {
  const { dim, layerCount, denseLayerCount, vocabSize, tiedEmbeddings } = config;
  const std = residualStd(layerCount);
  return {
    embedding: embeddingParameters(vocabSize, dim),
    blocks: Array.from({ length: layerCount }, (_, i) => ({
      attentionNorm: normParameters(dim),
      attention: latentAttentionParameters(config, std),
      feedForwardNorm: normParameters(dim),
      ...(i < denseLayerCount && { feedForward: gatedFeedForwardParameters(feedForwardSizes(config), std) }),
      ...(i >= denseLayerCount && { experts: expertsParameters(config, std) }),
    })),
    finalNorm: normParameters(dim),
    ...(!tiedEmbeddings && { head: linearParameters(vocabSize, dim) }),
  };
}

function feedForwardSizes({ dim, hiddenDim, normEpsilon }: Deepseek2Config) {
  const parts = { weights: "dense", activation: "silu", feedForwardBias: false, subNorms: false } as const;
  return { ...parts, dim, hiddenDim, normEpsilon };
}

/** State: the cache of each layer. */
type Deepseek2State = { readonly blocks: readonly LatentCache[] };

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createDeepseek2(value: unknown): Model {
  const config = readConfig("deepseek2", rules, value);
  checkSizes(config);
  const { layerCount, vocabSize, contextLength, normEpsilon } = config;
  const rotation = rotationOf(config, "adjacent");
  return defineModel<ReturnType<typeof parametersOf>, Deepseek2State>({
    architecture: "deepseek2",
    config,
    vocabSize,
    contextLimit: contextLength,
    parameters: parametersOf(config),
    stateTypes: (size) => ({ blocks: Array.from({ length: layerCount }, () => latentCacheTypes(config, size)) }),
    forward(parameters, tokens, past, chosen) {
      const standing = standingOf(past);
      let x: Tensor<Shape, "f32"> = layerEnd(embedTokens(parameters.embedding, tokens)); // [batch, time, dim]
      const blocks = parameters.blocks.map((block, i) => {
        const place = { ...standing, state: past?.state.blocks[i] };
        const normed = norm(block.attentionNorm, x, normEpsilon);
        const { output, state } = latentAttention(block.attention, normed, config, rotation, place);
        x = add(x, output);
        const input = norm(block.feedForwardNorm, x, normEpsilon);
        const channels =
          block.experts === undefined
            ? gatedFeedForward(block.feedForward!, input, feedForwardSizes(config))
            : experts(block.experts, input, config);
        x = layerEnd(add(x, channels));
        return state;
      });
      const logits = tokenLogits(parameters, norm(parameters.finalNorm, x, normEpsilon), chosen);
      return { logits, state: { blocks } };
    },
  });
}

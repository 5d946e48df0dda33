// The MatMul-free language model (Zhu et al. 2024, arXiv 2406.02528): pre-norm residual blocks of an MLGRU token mixer
// and a gated channel mixer, all of their projections ternary. The state is one vector a layer, whatever the position,
// so a token costs the same at position 10 and at 100,000.
//
// The embedding and the head stay dense. In the form of the released files the head is ternary too, every projection
// normalises its input with a gain of its own, and gate and up of the channel mixer are one matrix with one scale.

import type { Tensor, TensorType } from "@fidelity/core";
import { add } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import { BIT_LINEAR_EPSILON, bitLinear, bitLinearParameters } from "./blocks/bit_linear.ts";
import { gatedChannelMixer, gatedChannelMixerParameters } from "./blocks/gated_channel_mixer.ts";
import { layerEnd } from "./blocks/layer.ts";
import { embeddingParameters, embedTokens } from "./blocks/embedding.ts";
import { tokenLogits } from "./blocks/head.ts";
import { linearParameters } from "./blocks/linear.ts";
import { lowerBoundParameters, lowerBounds, mlgru, mlgruParameters } from "./blocks/mlgru.ts";
import { norm, normParameters } from "./blocks/norm.ts";
import type { WeightKind } from "./blocks/projection.ts";
import type { ConfigRules } from "./config.ts";
import {
  flagField,
  integerField,
  optionalField,
  positiveField,
  readConfig,
  requireSizes,
  roundUpWidth,
  SIZE_LIMITS,
  wordField,
} from "./config.ts";
import type { Model } from "./model.ts";
import { defineModel } from "./model.ts";
import { residualStd } from "./parameters.ts";

/** Sizes of a MatMul-free language model. A type, so that it is a record of plain values. */
export type MatmulFreeConfig = {
  readonly architecture: "matmul-free";
  /** Width of the residual stream, and of the state of each layer. */
  readonly dim: number;
  /** Width inside the channel mixer; 8 dim / 3, rounded up to a multiple of 256, by default. */
  readonly hiddenDim: number;
  readonly layerCount: number;
  readonly vocabSize: number;
  /** Whether the head is the embedding. False by default. */
  readonly tiedEmbeddings: boolean;
  /** Epsilon of the norms with a gain; 1e-6 by default. */
  readonly normEpsilon: number;
  /** `released` models have the parameters of the released files; `shared` ones, the default, train faster. */
  readonly form: "shared" | "released";
  /** Epsilon of the norms inside the projections; 1e-8 by default. */
  readonly projectionEpsilon: number;
  /** What the projections are; ternary where absent. `dense` is for comparisons, in the shared form only. */
  readonly weights?: WeightKind;
};

const rules: ConfigRules<MatmulFreeConfig> = {
  architecture: wordField("matmul-free"),
  dim: integerField(SIZE_LIMITS.dim),
  hiddenDim: integerField(SIZE_LIMITS.hiddenDim, ({ dim }) => roundUpWidth(Math.floor((8 * Number(dim)) / 3), 256)),
  layerCount: integerField(SIZE_LIMITS.layerCount),
  vocabSize: integerField(SIZE_LIMITS.vocabSize),
  tiedEmbeddings: flagField(false),
  normEpsilon: positiveField(1, 1e-6),
  form: wordField("shared", "released"),
  projectionEpsilon: positiveField(1, BIT_LINEAR_EPSILON),
  weights: optionalField(wordField("ternary", "dense")),
};

function parametersOf({ dim, hiddenDim, layerCount, vocabSize, tiedEmbeddings, form, weights }: MatmulFreeConfig) {
  const std = residualStd(layerCount);
  const released = form === "released";
  return {
    embedding: embeddingParameters(vocabSize, dim),
    lowerBounds: lowerBoundParameters(layerCount, dim),
    blocks: Array.from({ length: layerCount }, () => ({
      mixerNorm: normParameters(dim),
      mixer: mlgruParameters(dim, std, released, weights),
      channelNorm: normParameters(dim),
      channel: gatedChannelMixerParameters(dim, hiddenDim, std, released, weights),
    })),
    finalNorm: normParameters(dim),
    ...(tiedEmbeddings || released ? {} : { head: linearParameters(vocabSize, dim) }),
    ...(released && { ternaryHead: bitLinearParameters(vocabSize, dim, undefined, true) }),
  };
}

/** State: `blocks.{i}.hidden`, [batch, dim]. */
type MatmulFreeState = { readonly blocks: readonly { readonly hidden: Tensor<Shape, "f32"> }[] };

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createMatmulFree(value: unknown): Model {
  const config = readConfig("matmul-free", rules, value);
  const { dim, layerCount, vocabSize, normEpsilon, projectionEpsilon, form, tiedEmbeddings, weights } = config;
  requireSizes(
    "matmul-free",
    form === "shared" || !tiedEmbeddings,
    "a head of its own in the released form",
    "tiedEmbeddings true",
  );
  requireSizes("matmul-free", form === "shared" || weights !== "dense", "ternary weights", "dense weights");
  return defineModel<ReturnType<typeof parametersOf>, MatmulFreeState>({
    architecture: "matmul-free",
    config,
    vocabSize,
    contextLimit: null,
    parameters: parametersOf(config),
    stateTypes: ({ batch }) => ({
      blocks: Array.from({ length: layerCount }, () => ({
        hidden: { dtype: "f32", shape: [batch, dim] } as TensorType,
      })),
    }),
    forward(parameters, tokens, past, chosen) {
      const bounds = lowerBounds(parameters.lowerBounds);
      let x: Tensor<Shape, "f32"> = layerEnd(embedTokens(parameters.embedding, tokens)); // [batch, time, dim]
      const blocks = parameters.blocks.map((block, i) => {
        const { output, hidden } = mlgru(block.mixer, norm(block.mixerNorm, x, normEpsilon), {
          lowerBound: bounds[i],
          hidden: past?.state.blocks[i].hidden,
          normEpsilon,
          projectionEpsilon,
          weights,
        });
        x = add(x, output);
        const channels = norm(block.channelNorm, x, normEpsilon);
        x = layerEnd(add(x, gatedChannelMixer(block.channel, channels, projectionEpsilon, weights)));
        return { hidden };
      });
      const final = norm(parameters.finalNorm, x, normEpsilon);
      const logits =
        parameters.ternaryHead === undefined
          ? tokenLogits(parameters, final, chosen)
          : bitLinear(parameters.ternaryHead, final, projectionEpsilon);
      return { logits, state: { blocks } };
    },
  });
}

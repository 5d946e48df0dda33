// RWKV-7 (Peng et al. 2025, arXiv 2503.14456): pre-norm residual layers of a time mixer, whose matrix states follow a
// generalised delta rule, and a channel mixer with squared ReLU. Both look at the token before. The state is a matrix a
// head and two tokens a layer, whatever the position.

import type { TensorType } from "@fidelity/core";
import { add } from "@fidelity/core";
import { layerEnd } from "./blocks/layer.ts";
import { layerNorm, layerNormParameters } from "./blocks/layer_norm.ts";
import { embeddingParameters, embedTokens } from "./blocks/embedding.ts";
import { tokenLogits } from "./blocks/head.ts";
import { linearParameters } from "./blocks/linear.ts";
import type { WeightKind } from "./blocks/projection.ts";
import {
  channelMixer,
  channelMixerParameters,
  lastToken,
  timeMixer,
  timeMixerParameters,
} from "./blocks/rwkv7_mixers.ts";
import type { Floats } from "./blocks/token_mixer.ts";
import { stateType } from "./blocks/token_mixer.ts";
import type { ConfigRules } from "./config.ts";
import { integerField, positiveField, readConfig, requireSizes, SIZE_LIMITS, wordField } from "./config.ts";
import type { Model } from "./model.ts";
import { defineModel } from "./model.ts";
import { residualStd } from "./parameters.ts";

/** Sizes of an RWKV-7. A type, so that it is a record of plain values. */
export type Rwkv7Config = {
  readonly architecture: "rwkv7";
  /** Width of the residual stream. */
  readonly dim: number;
  /** Width inside the channel mixer; 4 dim by default. */
  readonly hiddenDim: number;
  readonly layerCount: number;
  readonly vocabSize: number;
  /** Channels of a head; 64 by default. */
  readonly headSize: number;
  /** Widths inside the low-rank projections, by default those of the released models. */
  readonly decayRank: number;
  readonly learningRateRank: number;
  readonly valueRank: number;
  readonly gateRank: number;
  /** What the large projections are: `ternary` ones are BitLinear layers. Dense by default. */
  readonly weights: WeightKind;
  /** Epsilon of the norms but those over heads; 1e-5 by default. */
  readonly normEpsilon: number;
};

/** max(1, round(factor dim^exponent / 32)) 32, the ranks of the released models. */
function rank(exponent: number, factor: number): (before: { readonly dim?: unknown }) => number {
  return ({ dim }) => Math.max(1, Math.round((factor * Number(dim) ** exponent) / 32)) * 32;
}

const rules: ConfigRules<Rwkv7Config> = {
  architecture: wordField("rwkv7"),
  dim: integerField(SIZE_LIMITS.dim),
  hiddenDim: integerField(SIZE_LIMITS.hiddenDim, ({ dim }) => 4 * Number(dim)),
  layerCount: integerField(SIZE_LIMITS.layerCount),
  vocabSize: integerField(SIZE_LIMITS.vocabSize),
  headSize: integerField(SIZE_LIMITS.dim, () => 64),
  decayRank: integerField(SIZE_LIMITS.dim, rank(0.5, 1.8)),
  learningRateRank: integerField(SIZE_LIMITS.dim, rank(0.5, 1.8)),
  valueRank: integerField(SIZE_LIMITS.dim, rank(0.5, 1.3)),
  gateRank: integerField(SIZE_LIMITS.dim, rank(0.8, 0.6)),
  weights: wordField("dense", "ternary"),
  normEpsilon: positiveField(1, 1e-5),
};

function parametersOf(config: Rwkv7Config) {
  const { dim, layerCount, vocabSize } = config;
  const std = residualStd(layerCount);
  return {
    embedding: embeddingParameters(vocabSize, dim),
    embeddingNorm: layerNormParameters(dim),
    blocks: Array.from({ length: layerCount }, (_, layer) => ({
      timeNorm: layerNormParameters(dim),
      time: timeMixerParameters(config, layer, std),
      channelNorm: layerNormParameters(dim),
      channel: channelMixerParameters(config, std),
    })),
    finalNorm: layerNormParameters(dim),
    head: linearParameters(vocabSize, dim),
  };
}

/** State of a layer: the last inputs of both mixers, [batch, dim], and S, [batch, heads, head size, head size]. */
type LayerState = { readonly timeShift: Floats; readonly hidden: Floats; readonly channelShift: Floats };
type Rwkv7State = { readonly blocks: readonly LayerState[] };

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createRwkv7(value: unknown): Model {
  const config = readConfig("rwkv7", rules, value);
  const { dim, headSize, layerCount, vocabSize, normEpsilon, weights } = config;
  requireSizes("rwkv7", dim % headSize === 0, "a headSize that divides dim", `dim ${dim}, headSize ${headSize}`);
  return defineModel<ReturnType<typeof parametersOf>, Rwkv7State>({
    architecture: "rwkv7",
    config,
    vocabSize,
    contextLimit: null,
    parameters: parametersOf(config),
    stateTypes({ batch }) {
      const token: TensorType = stateType(batch, dim);
      const layer = {
        timeShift: token,
        hidden: stateType(batch, dim / headSize, headSize, headSize),
        channelShift: token,
      };
      return { blocks: Array.from({ length: layerCount }, () => layer) };
    },
    forward(parameters, tokens, past, chosen) {
      const embedded = embedTokens(parameters.embedding, tokens);
      let x: Floats = layerEnd(layerNorm(parameters.embeddingNorm, embedded, normEpsilon)); // [batch, time, dim]
      let firstValues: Floats | undefined;
      const blocks = parameters.blocks.map((block, i): LayerState => {
        const before = past?.state.blocks[i];
        const timed = layerNorm(block.timeNorm, x, normEpsilon);
        const mixed = timeMixer(block.time, timed, {
          ...config,
          before: before?.timeShift,
          hidden: before?.hidden,
          firstValues,
        });
        firstValues = mixed.firstValues;
        x = add(x, mixed.output);
        const channelled = layerNorm(block.channelNorm, x, normEpsilon);
        x = layerEnd(add(x, channelMixer(block.channel, channelled, before?.channelShift, weights)));
        return { timeShift: lastToken(timed), hidden: mixed.hidden, channelShift: lastToken(channelled) };
      });
      const logits = tokenLogits(parameters, layerNorm(parameters.finalNorm, x, normEpsilon), chosen);
      return { logits, state: { blocks } };
    },
  });
}

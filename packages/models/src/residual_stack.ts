// The frame of most recurrent architectures: an embedding, pre-norm residual layers of one token mixer each, with or
// without a gated channel mixer after it, a norm and a head. An architecture says which mixer stands for which letter
// of its pattern; the letter A is attention everywhere, so that each has its hybrids: "MMMA" is three recurrent layers
// and one of attention, again and again (Lieber et al. 2024, Jamba, arXiv 2403.19887).
//
// Leaves out: biases of the channel mixer, losses that balance experts.

import type { Tensor, Tree } from "@fidelity/core";
import { add, mul } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { ChannelMixerParameters } from "./blocks/channel_mixer.ts";
import { channelMixer, channelMixerParameters } from "./blocks/channel_mixer.ts";
import { hybridAttention } from "./blocks/hybrid_attention.ts";
import { layerEnd } from "./blocks/layer.ts";
import type { EmbeddingParameters } from "./blocks/embedding.ts";
import { embeddingParameters, embedTokens } from "./blocks/embedding.ts";
import { tokenLogits } from "./blocks/head.ts";
import type { LinearParameters } from "./blocks/linear.ts";
import { linearParameters } from "./blocks/linear.ts";
import type { NormParameters } from "./blocks/norm.ts";
import { norm, normParameters } from "./blocks/norm.ts";
import type { WeightKind } from "./blocks/projection.ts";
import type { StackExpertsParameters } from "./blocks/stack_experts.ts";
import { stackExperts, stackExpertsParameters } from "./blocks/stack_experts.ts";
import type { TokenMixer } from "./blocks/token_mixer.ts";
import type { ConfigRules } from "./config.ts";
import {
  countField,
  flagField,
  integerField,
  patternField,
  positiveField,
  requireSizes,
  SIZE_LIMITS,
  wordField,
} from "./config.ts";
import type { Model } from "./model.ts";
import { defineModel } from "./model.ts";
import { residualStd } from "./parameters.ts";

/** What every stack is configured by. A type, so that it is a record of plain values. */
export type StackConfig = {
  /** Width of the residual stream. */
  readonly dim: number;
  readonly layerCount: number;
  readonly vocabSize: number;
  /** The mixers of the layers, a letter each, repeated until every layer has one. */
  readonly pattern: string;
  /** Width inside the channel mixer of each layer; 0 for layers without one. */
  readonly hiddenDim: number;
  /** What stands after the mixers: F is the channel mixer, E a mixture of experts; repeated as the pattern is. */
  readonly channelPattern: string;
  readonly expertCount: number;
  /** Experts that a token goes to. */
  readonly expertsPerToken: number;
  /** Width inside each expert; hiddenDim by default. */
  readonly expertDim: number;
  /** Width inside the channel mixer that all tokens go through beside their experts; 0 for none. */
  readonly sharedExpertDim: number;
  /** Whether that is gated by a sigmoid of the token. */
  readonly sharedExpertGate: boolean;
  /** Whether the weights of a token's experts add up to 1. */
  readonly normalisedExperts: boolean;
  /** What the projections are: `ternary` ones are BitLinear layers. Dense by default. */
  readonly weights: WeightKind;
  /** Whether the head is the embedding. */
  readonly tiedEmbeddings: boolean;
  readonly normEpsilon: number;
  /** Heads of attention layers, which the fields of this name describe; without such layers they mean nothing. */
  readonly attentionHeadCount: number;
  readonly attentionKeyValueHeadCount: number;
  readonly attentionHeadSize: number;
  /** Factor of the scores; 1 / sqrt(head size) by default. */
  readonly attentionScale: number;
  /** Whether the output of attention is gated by a sigmoid of the input. */
  readonly attentionGate: boolean;
  /** Whether queries and keys are normalised a head. */
  readonly attentionNorm: boolean;
  /** The first channels of a head that are turned by their position; 0 for attention that knows no positions. */
  readonly ropeSize: number;
  readonly ropeTheta: number;
  readonly ropePairing: "adjacent" | "halves";
  /** The most tokens of a sequence of a model with attention layers. */
  readonly contextLength: number;
  /** Factor of the embeddings. */
  readonly embeddingScale: number;
  /** Factor of what each layer adds to the residual stream. */
  readonly residualScale: number;
  /** Factor of the logits. */
  readonly logitScale: number;
};

/** The rules of a stack whose layers have the letters of `letters`, the first of them by default, and A. */
export function stackRules(
  letters: string,
  hiddenDim: (dim: number) => number,
  normEpsilon = 1e-5,
): ConfigRules<StackConfig> {
  return {
    dim: integerField(SIZE_LIMITS.dim),
    layerCount: integerField(SIZE_LIMITS.layerCount),
    vocabSize: integerField(SIZE_LIMITS.vocabSize),
    pattern: patternField(`${letters}A`),
    hiddenDim: countField(SIZE_LIMITS.hiddenDim, ({ dim }) => hiddenDim(Number(dim))),
    channelPattern: patternField("FE"),
    expertCount: integerField(SIZE_LIMITS.headCount, () => 8),
    expertsPerToken: integerField(SIZE_LIMITS.headCount, () => 2),
    expertDim: integerField(SIZE_LIMITS.hiddenDim, (before) => Math.max(1, Number(before.hiddenDim))),
    sharedExpertDim: countField(SIZE_LIMITS.hiddenDim, () => 0),
    sharedExpertGate: flagField(false),
    normalisedExperts: flagField(false),
    weights: wordField("dense", "ternary"),
    tiedEmbeddings: flagField(false),
    normEpsilon: positiveField(1, normEpsilon),
    attentionHeadCount: integerField(SIZE_LIMITS.headCount, ({ dim }) => Math.max(1, Math.floor(Number(dim) / 64))),
    attentionKeyValueHeadCount: integerField(SIZE_LIMITS.headCount, (before) => Number(before.attentionHeadCount)),
    attentionHeadSize: integerField(SIZE_LIMITS.dim, ({ dim, attentionHeadCount }) =>
      Math.max(1, Math.floor(Number(dim) / Number(attentionHeadCount))),
    ),
    attentionScale: positiveField(1e6, (before) => 1 / Math.sqrt(Number(before.attentionHeadSize))),
    attentionGate: flagField(false),
    attentionNorm: flagField(false),
    ropeSize: countField(SIZE_LIMITS.dim, ({ attentionHeadSize }) => 2 * Math.floor(Number(attentionHeadSize) / 2)),
    ropeTheta: positiveField(1e12, 10000),
    ropePairing: wordField("adjacent", "halves"),
    contextLength: integerField(SIZE_LIMITS.contextLength, () => 4096),
    embeddingScale: positiveField(1e6, 1),
    residualScale: positiveField(1e6, 1),
    logitScale: positiveField(1e6, 1),
  };
}

/** The letters of layers with attention: alone, and beside another mixer. */
export const CACHING = "AP";

/** The letter of each layer. */
export function layerLetters({ pattern, layerCount }: StackConfig): readonly string[] {
  return Array.from({ length: layerCount }, (_, i) => pattern[i % pattern.length]);
}

/** Whether layer `i` has a mixture of experts. */
export function hasExperts({ channelPattern, hiddenDim }: StackConfig, i: number): boolean {
  return hiddenDim > 0 && channelPattern[i % channelPattern.length] === "E";
}

interface Block {
  readonly mixerNorm: NormParameters;
  /** A tree whose structure the mixer alone knows. */
  readonly mixer: object;
  readonly channelNorm?: NormParameters;
  readonly channel?: ChannelMixerParameters;
  readonly experts?: StackExpertsParameters;
}

interface Stack {
  readonly embedding: EmbeddingParameters;
  readonly blocks: readonly Block[];
  readonly finalNorm: NormParameters;
  readonly head?: LinearParameters;
}

/** State: `blocks.{i}` is the state of layer i's mixer. */
type StackState = { readonly blocks: readonly Tree<Tensor>[] };

/** Builds a stack; `mixerOf` makes the mixer of a letter other than A. Throws `ModelConfigError`. */
export function createStack<C extends StackConfig & { readonly architecture: string }>(
  config: C,
  mixerOf: (letter: string) => TokenMixer,
): Model {
  const { architecture, dim, hiddenDim, vocabSize, normEpsilon, residualScale } = config;
  const std = residualStd(config.layerCount);
  const letters = layerLetters(config);
  requireSizes(
    architecture,
    config.expertsPerToken <= config.expertCount || !config.channelPattern.includes("E"),
    "at most as many experts a token as there are",
    `${config.expertsPerToken} of ${config.expertCount} experts`,
  );
  const hasAttention = letters.some((letter) => CACHING.includes(letter));
  if (hasAttention) checkAttention(architecture, config);
  const kinds = new Map([...new Set(letters)].map((letter) => [letter, mixer(letter)]));
  const mixers = letters.map((letter) => kinds.get(letter)!);

  function mixer(letter: string): TokenMixer {
    return letter === "A" ? hybridAttention(config, std) : mixerOf(letter);
  }

  const parameters: Stack = {
    embedding: embeddingParameters(vocabSize, dim),
    blocks: mixers.map((made, i) => ({
      mixerNorm: normParameters(dim),
      mixer: made.parameters,
      ...(hiddenDim > 0 && { channelNorm: normParameters(dim) }),
      ...(hasExperts(config, i) && { experts: stackExpertsParameters(config, std) }),
      ...(hiddenDim > 0 && !hasExperts(config, i) && { channel: channelMixerParameters(config, std) }),
    })),
    finalNorm: normParameters(dim),
    ...(config.tiedEmbeddings ? {} : { head: linearParameters(vocabSize, dim) }),
  };
  return defineModel<Stack, StackState>({
    architecture,
    config,
    vocabSize,
    contextLimit: hasAttention ? config.contextLength : null,
    parameters,
    stateTypes: (size) => ({ blocks: mixers.map((made) => made.stateTypes(size)) }),
    forward(values, tokens, past, chosen) {
      const scaled = (x: Floats, factor: number): Floats => (factor === 1 ? x : mul(x, factor));
      let x = layerEnd(scaled(embedTokens(values.embedding, tokens), config.embeddingScale)); // [batch, time, dim]
      const blocks = values.blocks.map((block, i) => {
        const before = past && { ...past, state: past.state.blocks[i] };
        const mixed = mixers[i].mix(block.mixer as Tree<Tensor>, norm(block.mixerNorm, x, normEpsilon), before);
        x = add(x, scaled(mixed.output, residualScale));
        if (block.channelNorm !== undefined) {
          const normed = norm(block.channelNorm, x, normEpsilon);
          const changed =
            block.experts === undefined
              ? channelMixer(block.channel!, normed, config.weights)
              : stackExperts(block.experts, normed, config);
          x = add(x, scaled(changed, residualScale));
        }
        x = layerEnd(x);
        return mixed.state;
      });
      const logits = tokenLogits(values, norm(values.finalNorm, x, normEpsilon), chosen);
      return { logits: scaled(logits, config.logitScale), state: { blocks } };
    },
  });
}

type Floats = Tensor<Shape, "f32">;

function checkAttention(architecture: string, config: StackConfig): void {
  const { attentionHeadCount, attentionKeyValueHeadCount, attentionHeadSize, ropeSize } = config;
  requireSizes(
    architecture,
    attentionHeadCount % attentionKeyValueHeadCount === 0,
    "key and value heads that divide the heads",
    `${attentionHeadCount} heads, ${attentionKeyValueHeadCount} key and value heads`,
  );
  requireSizes(
    architecture,
    ropeSize % 2 === 0 && ropeSize <= attentionHeadSize,
    "an even ropeSize up to the head size",
    `ropeSize ${ropeSize}, head size ${attentionHeadSize}`,
  );
}

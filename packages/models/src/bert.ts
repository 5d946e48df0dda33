// BERT (Devlin et al. 2018, arXiv 1810.04805), an encoder: learned positions and token types, attention in which every
// token sees all others, and LayerNorm after each part instead of before it. Its vectors are those of the last layer.
// Heads are the pooler, a classifier on it, and the masked language model, whose output weights are the embedding.
//
// All tokens are of type 0, as in a text that is not one of a pair. Leaves out: padding, so that sequences of a batch
// are equally long; and the prediction of the next sentence.

import type { Tensor } from "@fidelity/core";
import { add, sliceAxis, splat, tanh } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { Activation } from "./blocks/activation.ts";
import { activate } from "./blocks/activation.ts";
import type { AttentionSizes } from "./blocks/attention.ts";
import { attentionParameters, selfAttention, softmaxMixer } from "./blocks/attention.ts";
import { layerEnd } from "./blocks/layer.ts";
import { layerNorm, layerNormParameters } from "./blocks/layer_norm.ts";
import { embeddingParameters, embedTokens } from "./blocks/embedding.ts";
import { linear, linearParameters } from "./blocks/linear.ts";
import { pool } from "./blocks/pooling.ts";
import type { ConfigRules } from "./config.ts";
import {
  countField,
  flagField,
  integerField,
  ModelConfigError,
  positiveField,
  readConfig,
  requireSizes,
  SIZE_LIMITS,
  wordField,
} from "./config.ts";
import type { EncoderHead, Model } from "./model.ts";
import { defineModel } from "./model.ts";
import type { TensorsOf } from "./parameters.ts";
import { channels, matrix } from "./parameters.ts";

/** Sizes of a BERT model. A type, so that it is a record of plain values. */
export type BertConfig = {
  readonly architecture: "bert";
  readonly dim: number;
  /** Width inside the feed-forward layers, 4 dim by default. */
  readonly hiddenDim: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly vocabSize: number;
  /** The most tokens of a sequence: there are as many learned positions. */
  readonly contextLength: number;
  /** Kinds of tokens that there are vectors for. */
  readonly tokenTypeCount: number;
  readonly normEpsilon: number;
  readonly activation: Extract<Activation, "gelu" | "gelu-tanh">;
  readonly pooling: "mean" | "first";
  readonly pooler: boolean;
  /** Classes that the classifier tells apart; without one where 0. */
  readonly classCount: number;
  readonly maskedLanguageModel: boolean;
};

const rules: ConfigRules<BertConfig> = {
  architecture: wordField("bert"),
  dim: integerField(SIZE_LIMITS.dim),
  hiddenDim: integerField(SIZE_LIMITS.hiddenDim, ({ dim }) => 4 * Number(dim)),
  layerCount: integerField(SIZE_LIMITS.layerCount),
  headCount: integerField(SIZE_LIMITS.headCount),
  vocabSize: integerField(SIZE_LIMITS.vocabSize),
  contextLength: integerField(SIZE_LIMITS.contextLength),
  tokenTypeCount: integerField(1 << 10, () => 2),
  normEpsilon: positiveField(1, 1e-12),
  activation: wordField("gelu", "gelu-tanh"),
  pooling: wordField("mean", "first"),
  pooler: flagField(false),
  classCount: countField(SIZE_LIMITS.vocabSize, () => 0),
  maskedLanguageModel: flagField(false),
};

function attentionSizes({ dim, headCount, normEpsilon }: BertConfig): AttentionSizes {
  return {
    dim,
    headCount,
    keyValueHeadCount: headCount,
    headDim: dim / headCount,
    weights: "dense",
    normEpsilon,
    queryKeyValueBias: true,
    outputBias: true,
    queryKeyNorm: false,
    subNorms: false,
  };
}

function parametersOf(config: BertConfig) {
  const { dim, hiddenDim, layerCount, vocabSize, contextLength, tokenTypeCount, classCount } = config;
  const biased = (outputs: number, inputs: number) => linearParameters(outputs, inputs, undefined, true);
  return {
    embedding: embeddingParameters(vocabSize, dim),
    tokenTypes: { weight: matrix("embedding", tokenTypeCount, dim) },
    positions: { weight: matrix("embedding", contextLength, dim) },
    embeddingNorm: layerNormParameters(dim),
    blocks: Array.from({ length: layerCount }, () => ({
      attention: attentionParameters(attentionSizes(config)),
      attentionNorm: layerNormParameters(dim),
      feedForward: { up: biased(hiddenDim, dim), down: biased(dim, hiddenDim) },
      feedForwardNorm: layerNormParameters(dim),
    })),
    ...(config.pooler && { pooler: biased(dim, dim) }),
    ...(classCount > 0 && { classifier: biased(classCount, dim) }),
    ...(config.maskedLanguageModel && {
      masked: { transform: biased(dim, dim), norm: layerNormParameters(dim), bias: channels([vocabSize]) },
    }),
  };
}

type BertTensors = TensorsOf<ReturnType<typeof parametersOf>>;
type Vectors = Tensor<Shape, "f32">;

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createBert(value: unknown): Model {
  const config = readConfig("bert", rules, value);
  const { dim, headCount, vocabSize, normEpsilon, activation } = config;
  requireSizes("bert", dim % headCount === 0, "a headCount that divides dim", `dim ${dim}, headCount ${headCount}`);
  const sizes = attentionSizes(config);
  const mixer = softmaxMixer(sizes, { causal: false });
  const heads: EncoderHead[] = [
    ...(config.pooler ? (["pooler"] as const) : []),
    ...(config.classCount > 0 ? (["classifier"] as const) : []),
    ...(config.maskedLanguageModel ? (["maskedLanguageModel"] as const) : []),
  ];
  return defineModel<ReturnType<typeof parametersOf>, Record<string, never>>({
    architecture: "bert",
    config,
    vocabSize,
    contextLimit: config.contextLength,
    parameters: parametersOf(config),
    encoder: {
      dim,
      pooling: config.pooling,
      heads,
      head: (name, parameters, vectors) => headOf(name, parameters as unknown as BertTensors, vectors, config),
    },
    stateTypes: () => ({}),
    forward(parameters, tokens) {
      const place = { position: splat(0, [], "i32"), state: undefined };
      let x: Vectors = layerEnd(embed(parameters, tokens, normEpsilon)); // [batch, time, dim]
      for (const block of parameters.blocks) {
        const { output } = selfAttention(block.attention, x, sizes, { mixer, place });
        x = layerNorm(block.attentionNorm, add(x, output), normEpsilon);
        const hidden = activate(activation, linear(block.feedForward.up, x));
        x = layerEnd(layerNorm(block.feedForwardNorm, add(x, linear(block.feedForward.down, hidden)), normEpsilon));
      }
      return { logits: x, state: {} };
    },
  });
}

function embed(parameters: BertTensors, tokens: Tensor<Shape, "i32">, normEpsilon: number): Vectors {
  const time = tokens.shape[1];
  const positions = sliceAxis(parameters.positions.weight, 0, 0, time); // [time, dim]
  const typed = add(positions, sliceAxis(parameters.tokenTypes.weight, 0, 0, 1)) as Vectors;
  return layerNorm(parameters.embeddingNorm, add(embedTokens(parameters.embedding, tokens), typed), normEpsilon);
}

function headOf(
  name: EncoderHead,
  parameters: BertTensors,
  vectors: Vectors,
  { activation, normEpsilon }: BertConfig,
): Vectors {
  const { pooler, classifier, masked, embedding } = parameters;
  const pooled = (): Vectors => {
    const first = pool(vectors, "first");
    return pooler === undefined ? first : tanh(linear(pooler, first));
  };
  if (name === "pooler" && pooler !== undefined) return pooled();
  if (name === "classifier" && classifier !== undefined) return linear(classifier, pooled());
  if (name === "maskedLanguageModel" && masked !== undefined) {
    const transformed = activate(activation, linear(masked.transform, vectors));
    const normed = layerNorm(masked.norm, transformed, normEpsilon);
    return linear({ weight: embedding.weight, bias: masked.bias }, normed);
  }
  throw new ModelConfigError(`the model has no ${name} head`, {
    where: "head of a bert model",
    expected: "a head whose parameters the configuration names",
    got: name,
    hint: "open a file that holds the head, or set pooler, classCount or maskedLanguageModel",
  });
}

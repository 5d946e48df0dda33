// The Llama-style transformer (Touvron et al. 2023, arXiv 2302.13971, and grouped heads from Llama 2, arXiv
// 2307.09288): pre-norm residual blocks of rotary self-attention and SwiGLU. The configuration is that of a llama2.c
// file, and the defaults are those of karpathy/llama2.c.
//
// Leaves out: biases, scaled rotary frequencies, mixtures of experts.

import type { Tensor, TensorType } from "@fidelity/core";
import { add, gather, splat } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { KeyValueCache } from "./blocks/attention.ts";
import { attentionParameters, selfAttention } from "./blocks/attention.ts";
import { layerEnd } from "./blocks/layer.ts";
import { linear } from "./blocks/linear.ts";
import { norm, normParameters } from "./blocks/norm.ts";
import { swiglu, swigluParameters } from "./blocks/swiglu.ts";
import type { ConfigRules } from "./config.ts";
import {
  flagField,
  integerField,
  ModelConfigError,
  positiveField,
  readConfig,
  roundUpWidth,
  SIZE_LIMITS,
  wordField,
} from "./config.ts";
import type { Model } from "./model.ts";
import { defineModel } from "./model.ts";
import { matrix, residualStd } from "./parameters.ts";

/** Sizes of a Llama-style transformer. A type, so that it is a record of plain values. */
export type LlamaConfig = {
  readonly architecture: "llama";
  /** Width of the residual stream. */
  readonly dim: number;
  /** Width inside the feed-forward layers; 8 dim / 3, rounded up to a multiple of 32, by default. */
  readonly hiddenDim: number;
  readonly layerCount: number;
  readonly headCount: number;
  /** Heads of keys and values; as many as there are heads by default. */
  readonly keyValueHeadCount: number;
  readonly vocabSize: number;
  /** The most tokens of a sequence. */
  readonly contextLength: number;
  /** Whether the head is the embedding. True by default. */
  readonly tiedEmbeddings: boolean;
  readonly normEpsilon: number;
  readonly ropeTheta: number;
  readonly ropePairing: "adjacent" | "halves";
};

const rules: ConfigRules<LlamaConfig> = {
  architecture: wordField("llama"),
  dim: integerField(SIZE_LIMITS.dim),
  hiddenDim: integerField(SIZE_LIMITS.hiddenDim, ({ dim }) => roundUpWidth(Math.floor((8 * Number(dim)) / 3), 32)),
  layerCount: integerField(SIZE_LIMITS.layerCount),
  headCount: integerField(SIZE_LIMITS.headCount),
  keyValueHeadCount: integerField(SIZE_LIMITS.headCount, ({ headCount }) => Number(headCount)),
  vocabSize: integerField(SIZE_LIMITS.vocabSize),
  contextLength: integerField(SIZE_LIMITS.contextLength),
  tiedEmbeddings: flagField(true),
  normEpsilon: positiveField(1, 1e-5),
  ropeTheta: positiveField(1e9, 10000),
  ropePairing: wordField("adjacent", "halves"),
};

function checkHeads({ dim, headCount, keyValueHeadCount }: LlamaConfig): void {
  const refuse = (expected: string, got: string, hint: string): never => {
    throw new ModelConfigError("the heads do not fit", {
      where: "configuration of a llama model",
      expected,
      got,
      hint,
    });
  };
  if (dim % headCount !== 0) {
    refuse(
      "a width that the heads divide",
      `dim ${dim}, ${headCount} heads`,
      "choose headCount among the divisors of dim",
    );
  }
  if ((dim / headCount) % 2 !== 0) {
    refuse("an even head size, for the rotary pairs", `head size ${dim / headCount}`, "choose another headCount");
  }
  if (headCount % keyValueHeadCount !== 0) {
    refuse(
      "key and value heads that divide the heads",
      `${headCount} heads, ${keyValueHeadCount} key and value heads`,
      "choose keyValueHeadCount among the divisors of headCount",
    );
  }
}

function parametersOf(config: LlamaConfig) {
  const { dim, hiddenDim, layerCount, vocabSize, tiedEmbeddings } = config;
  const std = residualStd(layerCount);
  return {
    embedding: { weight: matrix("embedding", vocabSize, dim) },
    blocks: Array.from({ length: layerCount }, () => ({
      attentionNorm: normParameters(dim),
      attention: attentionParameters(config, std),
      feedForwardNorm: normParameters(dim),
      feedForward: swigluParameters(dim, hiddenDim, std),
    })),
    finalNorm: normParameters(dim),
    ...(tiedEmbeddings ? {} : { head: { weight: matrix("dense", vocabSize, dim) } }),
  };
}

/** State: `blocks.{i}.keys` and `blocks.{i}.values`, each [batch, capacity, key heads, head size]. */
type LlamaState = { readonly blocks: readonly KeyValueCache[] };

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createLlama(value: unknown): Model {
  const config = readConfig("llama", rules, value);
  checkHeads(config);
  const { dim, layerCount, headCount, keyValueHeadCount, vocabSize, normEpsilon } = config;
  return defineModel<ReturnType<typeof parametersOf>, LlamaState>({
    architecture: "llama",
    config,
    vocabSize,
    contextLimit: config.contextLength,
    parameters: parametersOf(config),
    stateTypes({ batch, capacity }) {
      const cache: TensorType = { dtype: "f32", shape: [batch, capacity, keyValueHeadCount, dim / headCount] };
      return { blocks: Array.from({ length: layerCount }, () => ({ keys: cache, values: cache })) };
    },
    forward(parameters, tokens, past) {
      const position = past?.position ?? splat(0, [], "i32");
      let x: Tensor<Shape, "f32"> = layerEnd(gather(parameters.embedding.weight, tokens)); // [batch, time, dim]
      const blocks = parameters.blocks.map((block, i) => {
        const normed = norm(block.attentionNorm, x, normEpsilon);
        const { output, cache } = selfAttention(block.attention, normed, {
          ...config,
          position,
          cache: past?.state.blocks[i],
        });
        x = add(x, output);
        x = layerEnd(add(x, swiglu(block.feedForward, norm(block.feedForwardNorm, x, normEpsilon))));
        return cache;
      });
      const logits = linear(parameters.head ?? parameters.embedding, norm(parameters.finalNorm, x, normEpsilon));
      return { logits, state: { blocks } };
    },
  });
}

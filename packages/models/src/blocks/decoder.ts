// The transformer that most open language models are: pre-norm residual blocks of self-attention and a gated
// feed-forward layer over one residual stream (Touvron et al. 2023, arXiv 2302.13971, after Vaswani et al. 2017, arXiv
// 1706.03762). What differs between Llama, Qwen, Gemma and BitNet is said by a `DecoderDesign`, and each of them is a
// file that turns its configuration into one.

import type { RopeOptions, Tensor } from "@fidelity/core";
import { add, mul, tanh } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { PlainConfig } from "../config.ts";
import type { Model } from "../model.ts";
import { defineModel, standingOf } from "../model.ts";
import type { TensorsOf } from "../parameters.ts";
import { residualStd } from "../parameters.ts";
import type { AttentionSizes, Mixer } from "./attention.ts";
import { attentionParameters, selfAttention } from "./attention.ts";
import type { GatedFeedForwardSizes } from "./feed_forward.ts";
import { gatedFeedForward, gatedFeedForwardParameters } from "./feed_forward.ts";
import { layerEnd } from "./layer.ts";
import { embeddingParameters, embedTokens } from "./embedding.ts";
import { tokenLogits } from "./head.ts";
import { linearParameters } from "./linear.ts";
import type { NormParameters } from "./norm.ts";
import { norm, normParameters } from "./norm.ts";

/** What one layer has of its own. */
export interface DecoderLayer<S> {
  readonly rotation: RopeOptions;
  readonly mixer: Mixer<S>;
}

/** Everything that tells one decoder from another. */
export interface DecoderDesign<S> extends AttentionSizes, GatedFeedForwardSizes {
  readonly layerCount: number;
  readonly vocabSize: number;
  readonly contextLimit: number | null;
  readonly tiedEmbeddings: boolean;
  /** Whether what attention and feed-forward layers give is normalised before it is added (Gemma 2). */
  readonly postNorms: boolean;
  /** What embeddings are multiplied by; 1 where absent. */
  readonly embeddingScale?: number;
  /** Bound of the logits: softcap tanh(logits / softcap); none where absent. */
  readonly logitSoftcap?: number | undefined;
  layer(index: number): DecoderLayer<S>;
}

function parametersOf<S>(design: DecoderDesign<S>) {
  const { dim, layerCount, vocabSize, tiedEmbeddings, postNorms } = design;
  const std = residualStd(layerCount);
  return {
    embedding: embeddingParameters(vocabSize, dim),
    blocks: Array.from({ length: layerCount }, () => ({
      attentionNorm: normParameters(dim),
      attention: attentionParameters(design, std),
      ...(postNorms && { attentionPostNorm: normParameters(dim) }),
      feedForwardNorm: normParameters(dim),
      feedForward: gatedFeedForwardParameters(design, std),
      ...(postNorms && { feedForwardPostNorm: normParameters(dim) }),
    })),
    finalNorm: normParameters(dim),
    ...(!tiedEmbeddings && { head: linearParameters(vocabSize, dim) }),
  };
}

/** State: `blocks.{i}`, what the layer's mixer keeps. */
type DecoderState<S> = { readonly blocks: readonly S[] };

/** Builds the model of a design. Throws `ModelConfigError` for one that is too large. */
export function defineDecoder<S>(
  config: PlainConfig & { readonly architecture: string },
  design: DecoderDesign<S>,
): Model {
  const { layerCount, vocabSize, normEpsilon, embeddingScale, logitSoftcap } = design;
  const layers = Array.from({ length: layerCount }, (_, i) => design.layer(i));
  const normed = (parameters: TensorsOf<NormParameters> | undefined, x: Tensor<Shape, "f32">): Tensor<Shape, "f32"> =>
    parameters === undefined ? x : norm(parameters, x, normEpsilon);
  return defineModel<ReturnType<typeof parametersOf<S>>, DecoderState<S>>({
    architecture: config.architecture,
    config,
    vocabSize,
    contextLimit: design.contextLimit,
    parameters: parametersOf(design),
    stateTypes: (size) => ({ blocks: layers.map(({ mixer }) => mixer.stateTypes(size)) }),
    forward(parameters, tokens, past, chosen) {
      const standing = standingOf(past);
      const embedded = embedTokens(parameters.embedding, tokens); // [batch, time, dim]
      let x: Tensor<Shape, "f32"> = layerEnd(embeddingScale === undefined ? embedded : mul(embedded, embeddingScale));
      const blocks = parameters.blocks.map((block, i) => {
        const place = { ...standing, state: past?.state.blocks[i] };
        const { output, state } = selfAttention(block.attention, normed(block.attentionNorm, x), design, {
          ...layers[i],
          place,
        });
        x = add(x, normed(block.attentionPostNorm, output));
        const channels = gatedFeedForward(block.feedForward, normed(block.feedForwardNorm, x), design);
        x = layerEnd(add(x, normed(block.feedForwardPostNorm, channels)));
        return state;
      });
      const logits = tokenLogits(parameters, normed(parameters.finalNorm, x), chosen);
      return {
        logits: logitSoftcap === undefined ? logits : mul(tanh(mul(logits, 1 / logitSoftcap)), logitSoftcap),
        state: { blocks },
      };
    },
  });
}

// MEGA (Ma et al. 2022, arXiv 2209.10655): gated attention with one head, whose queries and keys read an exponential
// moving average of the input. A layer, of x normalised before it (u) and as it is:
//   e = SiLU(EMA(u) + omega u),   z = SiLU(W_z e + b_z),   q = kappa_q z + mu_q,   k = kappa_k z + mu_k
//   v = SiLU(W_v u + b_v),   o = softmax(q k^T / sqrt(size) + bias) v,   r = SiLU(W_r e + b_r)
//   f = sigmoid(W_f e + b_f),   h = SiLU(W_h e + b_h + U_h (r o)),   x' = x + f (h - x)
// and then W_2 SiLU(W_1 norm(x')), added. The average has several decays a channel (equations 7 to 9); the relative
// bias is rotary: the product of two learned vectors, turned by their positions. Without a past, attention is causal.
//
// Left out: attention within chunks alone, the Laplace function, and the average in both directions, which encoders
// use.

import { add, broadcastTo, concat, log, mul, reshape, rope, sigmoid, silu, sub } from "@fidelity/core";
import type { CacheTensor, Heads } from "./blocks/cache.ts";
import { attendCache, writeCache } from "./blocks/cache.ts";
import { diagonalConvolution } from "./blocks/diagonal_convolution.ts";
import { layerEnd } from "./blocks/layer.ts";
import type { LayerNormParameters } from "./blocks/layer_norm.ts";
import { layerNorm, layerNormParameters } from "./blocks/layer_norm.ts";
import type { EmbeddingParameters } from "./blocks/embedding.ts";
import { embeddingParameters, embedTokens } from "./blocks/embedding.ts";
import { tokenLogits } from "./blocks/head.ts";
import type { LinearParameters } from "./blocks/linear.ts";
import { linear, linearParameters } from "./blocks/linear.ts";
import type { Floats } from "./blocks/token_mixer.ts";
import { fromHeads, stateType } from "./blocks/token_mixer.ts";
import type { ConfigRules } from "./config.ts";
import { flagField, integerField, positiveField, readConfig, requireSizes, SIZE_LIMITS, wordField } from "./config.ts";
import type { Model, Past, Standing } from "./model.ts";
import { defineModel, standingOf } from "./model.ts";
import type { ParameterSpec, TensorsOf } from "./parameters.ts";
import { channels, gain, residualStd } from "./parameters.ts";

/** Sizes of a MEGA model. A type, so that it is a record of plain values. */
export type MegaConfig = {
  readonly architecture: "mega";
  readonly dim: number;
  readonly layerCount: number;
  readonly vocabSize: number;
  /** Averages a channel. */
  readonly averageSize: number;
  /** Channels of queries and keys, even; dim / 4 by default. */
  readonly keyDim: number;
  /** Channels of values; 2 dim by default. */
  readonly valueDim: number;
  /** Width inside the feed-forward layer; 2 dim by default. */
  readonly hiddenDim: number;
  readonly contextLength: number;
  readonly ropeTheta: number;
  readonly normEpsilon: number;
  readonly tiedEmbeddings: boolean;
};

const rules: ConfigRules<MegaConfig> = {
  architecture: wordField("mega"),
  dim: integerField(SIZE_LIMITS.dim),
  layerCount: integerField(SIZE_LIMITS.layerCount),
  vocabSize: integerField(SIZE_LIMITS.vocabSize),
  averageSize: integerField(SIZE_LIMITS.headDim, () => 16),
  keyDim: integerField(SIZE_LIMITS.headDim, ({ dim }) => 2 * Math.ceil(Number(dim) / 8)),
  valueDim: integerField(SIZE_LIMITS.dim, ({ dim }) => 2 * Number(dim)),
  hiddenDim: integerField(SIZE_LIMITS.hiddenDim, ({ dim }) => 2 * Number(dim)),
  contextLength: integerField(SIZE_LIMITS.contextLength, () => 4096),
  ropeTheta: positiveField(1e9, 10000),
  normEpsilon: positiveField(1, 1e-5),
  tiedEmbeddings: flagField(false),
};

/** The moving averages: [dim, averages] each, but for the skip. */
type AverageParameters = {
  /** What goes in and what is damped, before a sigmoid. */
  readonly input: ParameterSpec<"norm">;
  readonly damping: ParameterSpec<"norm">;
  readonly expand: ParameterSpec<"norm">;
  readonly read: ParameterSpec<"norm">;
  readonly skip: ParameterSpec<"norm">;
};

type Layer = {
  readonly norm: LayerNormParameters;
  readonly average: AverageParameters;
  readonly shared: LinearParameters;
  readonly queryGain: ParameterSpec<"norm">;
  readonly queryBias: ParameterSpec<"norm">;
  readonly keyGain: ParameterSpec<"norm">;
  readonly keyBias: ParameterSpec<"norm">;
  /** The two vectors of the relative bias, [keyDim]. */
  readonly queryPlace: ParameterSpec<"norm">;
  readonly keyPlace: ParameterSpec<"norm">;
  readonly value: LinearParameters;
  readonly reset: LinearParameters;
  readonly update: LinearParameters;
  readonly candidate: LinearParameters;
  readonly attended: LinearParameters;
  readonly channelNorm: LayerNormParameters;
  readonly up: LinearParameters;
  readonly down: LinearParameters;
};

type Mega = {
  readonly embedding: EmbeddingParameters;
  readonly blocks: readonly Layer[];
  readonly finalNorm: LayerNormParameters;
  readonly head?: LinearParameters;
};

/** Averages [batch, dim, averages]; keys [batch, capacity, 1, 2 keyDim] with their places, values [.., valueDim]. */
type LayerState = { readonly average: Floats; readonly keys: CacheTensor; readonly values: CacheTensor };

type MegaState = { readonly blocks: readonly LayerState[] };

function layerParameters({ dim, averageSize, keyDim, valueDim, hiddenDim }: MegaConfig, std: number): Layer {
  const spread = { kind: "normal", std: 0.2 } as const;
  const place = { kind: "normal", std: 0.02 } as const;
  return {
    norm: layerNormParameters(dim),
    average: {
      input: channels([dim, averageSize], spread),
      damping: channels([dim, averageSize], spread),
      expand: channels([dim, averageSize], { kind: "ones" }),
      read: channels([dim, averageSize], { kind: "normal", std: averageSize ** -0.5 }),
      skip: gain(dim),
    },
    shared: linearParameters(keyDim, dim, undefined, true),
    queryGain: gain(keyDim),
    queryBias: channels([keyDim]),
    keyGain: gain(keyDim),
    keyBias: channels([keyDim]),
    queryPlace: channels([keyDim], place),
    keyPlace: channels([keyDim], place),
    value: linearParameters(valueDim, dim, undefined, true),
    reset: linearParameters(valueDim, dim, undefined, true),
    update: linearParameters(dim, dim, undefined, true),
    candidate: linearParameters(dim, dim, std, true),
    attended: linearParameters(dim, valueDim, std),
    channelNorm: layerNormParameters(dim),
    up: linearParameters(hiddenDim, dim, undefined, true),
    down: linearParameters(dim, hiddenDim, std, true),
  };
}

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createMega(value: unknown): Model {
  const config = readConfig("mega", rules, value);
  const { dim, layerCount, vocabSize, averageSize, keyDim, valueDim, normEpsilon } = config;
  requireSizes("mega", keyDim % 2 === 0, "an even keyDim, whose pairs are turned", `keyDim ${keyDim}`);
  const std = residualStd(layerCount);
  const parameters: Mega = {
    embedding: embeddingParameters(vocabSize, dim),
    blocks: Array.from({ length: layerCount }, () => layerParameters(config, std)),
    finalNorm: layerNormParameters(dim),
    ...(config.tiedEmbeddings ? {} : { head: linearParameters(vocabSize, dim) }),
  };
  return defineModel<Mega, MegaState>({
    architecture: "mega",
    config,
    vocabSize,
    contextLimit: config.contextLength,
    parameters,
    stateTypes: ({ batch, capacity, cacheDtype: dtype = "f32" }) => ({
      blocks: Array.from({ length: layerCount }, () => ({
        average: stateType(batch, dim, averageSize),
        keys: { ...stateType(batch, capacity, 1, 2 * keyDim), dtype },
        values: { ...stateType(batch, capacity, 1, valueDim), dtype },
      })),
    }),
    forward(values, tokens, past, chosen) {
      let x = layerEnd(embedTokens(values.embedding, tokens)); // [batch, time, dim]
      const blocks = values.blocks.map((layer, i) => {
        const before = past && { ...past, state: past.state.blocks[i] };
        const mixed = megaLayer(layer, x, before, config);
        const hidden = silu(linear(layer.up, layerNorm(layer.channelNorm, mixed.output, normEpsilon)));
        x = layerEnd(add(mixed.output, linear(layer.down, hidden)) as Floats);
        return mixed.state;
      });
      const logits = tokenLogits(values, layerNorm(values.finalNorm, x, normEpsilon), chosen);
      return { logits, state: { blocks } };
    },
  });
}

/** The residual stream after the gated attention of a layer. */
function megaLayer(
  layer: TensorsOf<Layer>,
  x: Floats,
  past: Past<LayerState> | undefined,
  config: MegaConfig,
): { readonly output: Floats; readonly state: LayerState } {
  const u = layerNorm(layer.norm, x, config.normEpsilon);
  const averaged = movingAverage(layer.average, u, past?.state.average);
  const standing = standingOf(past);
  const shared = silu(linear(layer.shared, averaged.output));
  const keys = withPlace(scaled(shared, layer.keyGain, layer.keyBias), layer.keyPlace, standing.position, config);
  const values = oneHead(silu(linear(layer.value, u)));
  const state = {
    keys: writeCache(past?.state.keys, keys, standing),
    values: writeCache(past?.state.values, values, standing),
  };
  const query = mul(scaled(shared, layer.queryGain, layer.queryBias), config.keyDim ** -0.5) as Floats;
  const queries = withPlace(query, layer.queryPlace, standing.position, config);
  const attended = fromHeads(attendCache(queries, state.keys, state.values, standing, { scale: 1 }) as Floats);
  const reset = silu(linear(layer.reset, averaged.output));
  const update = sigmoid(linear(layer.update, averaged.output));
  const read = linear(layer.attended, mul(attended, reset));
  const candidate = silu(add(linear(layer.candidate, averaged.output), read));
  const output: Floats = add(x, mul(update, sub(candidate, x)));
  return { output, state: { average: averaged.state, ...state } };
}

/**
 * Multi-dimensional damped averages, h_t = alpha beta u_t + (1 - alpha delta) h_{t-1}, read by eta; SiLU with a skip.
 */
function movingAverage(
  { input, damping, expand, read, skip }: TensorsOf<AverageParameters>,
  u: Floats,
  state: Floats | undefined,
): { readonly output: Floats; readonly state: Floats } {
  const alpha = sigmoid(input);
  const system = {
    logDecay: log(sub(1, mul(alpha, sigmoid(damping)))) as Floats,
    read: mul(mul(alpha, expand), read) as Floats,
  };
  const averaged = diagonalConvolution(system, u, state);
  return { output: silu(add(averaged.output, mul(u, skip))), state: averaged.state };
}

function scaled(x: Floats, factor: Floats, bias: Floats): Floats {
  return add(mul(x, factor), bias);
}

/** [batch, time, size] as [batch, time, 1, size]. */
function oneHead(x: Floats): Heads {
  const [batch, time, size] = x.shape;
  return reshape(x, [batch, time, 1, size]) as Heads;
}

/** One head of `x` beside a vector that is turned for each position: [batch, time, 1, 2 size]. */
function withPlace(x: Floats, place: Floats, position: Standing["position"], config: MegaConfig): Heads {
  const [batch, time, size] = x.shape;
  const everywhere: Floats = broadcastTo(place, [batch, time, 1, size] as readonly number[]);
  const turned = rope(everywhere, position, { theta: config.ropeTheta, pairing: "adjacent" }) as Floats;
  return concat([oneHead(x) as Floats, turned], 3) as Heads;
}

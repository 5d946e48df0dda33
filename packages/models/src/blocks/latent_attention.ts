// Multi-head latent attention (DeepSeek-V2, DeepSeek-AI 2024, arXiv 2405.04434, section 2.1): keys and values of all
// heads come from one short vector a token, the latent c, and positions turn a few channels beside it that all heads
// share:
//   c = norm(W_c x),  k_h = [U_h^T c; rope(W_r x)],  v_h = V_h c,  q_h = [q_h'; rope(q_h'')]
// The cache is [c; rope(W_r x)] for each token. Since q_h' . U_h^T c = (U_h q_h') . c, and sum p V_h c = V_h sum p c,
// the matrices U and V can be applied to queries and to outputs instead (absorbed): attention then has one key head,
// and the cache is read as it is. That is less work for few queries; many of them pay for keys and values of their own.

import type { RopeOptions, Tensor, TensorType } from "@fidelity/core";
import { broadcastTo, concat, matmul, reshape, rope, sliceAxis, transpose } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { StateSize } from "../model.ts";
import type { ParameterSpec, TensorsOf } from "../parameters.ts";
import { matrices } from "../parameters.ts";
import type { Place } from "./attention.ts";
import type { CacheTensor, Heads } from "./cache.ts";
import { attendCache, readCache, writeCache } from "./cache.ts";
import type { LinearParameters } from "./linear.ts";
import { linear, linearParameters } from "./linear.ts";
import type { NormParameters } from "./norm.ts";
import { norm, normParameters } from "./norm.ts";

export type LatentAttentionParameters = {
  /** To the latent of queries, and its norm; absent where queries come from x at once. */
  readonly queryDown?: LinearParameters;
  readonly queryNorm?: NormParameters;
  /** [heads (key size + rope size), inputs]: of each head first what is not turned. */
  readonly query: LinearParameters;
  /** [latent size + rope size, dim]. */
  readonly latent: LinearParameters;
  readonly latentNorm: NormParameters;
  /** [heads, latent size, key size]. */
  readonly keyUp: { readonly weight: ParameterSpec<"dense"> };
  /** [heads, value size, latent size]. */
  readonly valueUp: { readonly weight: ParameterSpec<"dense"> };
  readonly output: LinearParameters;
};

/** Sizes of latent attention. A type, so that it is a record of plain values. */
export type LatentAttentionSizes = {
  readonly dim: number;
  readonly headCount: number;
  /** Numbers of the latent of queries; 0 where there is none. */
  readonly queryRank: number;
  readonly latentRank: number;
  /** Channels of a head: those of keys that are not turned, those that are, and those of values. */
  readonly keyDim: number;
  readonly ropeDim: number;
  readonly valueDim: number;
  readonly attentionScale: number;
  readonly normEpsilon: number;
};

/** @param outputStd standard deviation of the first weights of the projection to the residual stream */
export function latentAttentionParameters(sizes: LatentAttentionSizes, outputStd: number): LatentAttentionParameters {
  const { dim, headCount, queryRank, latentRank, keyDim, ropeDim, valueDim } = sizes;
  return {
    ...(queryRank > 0 && { queryDown: linearParameters(queryRank, dim), queryNorm: normParameters(queryRank) }),
    query: linearParameters(headCount * (keyDim + ropeDim), queryRank > 0 ? queryRank : dim),
    latent: linearParameters(latentRank + ropeDim, dim),
    latentNorm: normParameters(latentRank),
    keyUp: { weight: matrices(headCount, latentRank, keyDim) },
    valueUp: { weight: matrices(headCount, valueDim, latentRank) },
    output: linearParameters(dim, headCount * valueDim, outputStd),
  };
}

/** Latents, normalised, and the shared keys, turned: [batch, capacity, 1, latent size + rope size]. */
export type LatentCache = { readonly latents: CacheTensor };

export function latentCacheTypes(
  { latentRank, ropeDim }: LatentAttentionSizes,
  { batch, capacity, cacheDtype: dtype = "f32" }: StateSize,
): { readonly latents: TensorType } {
  return { latents: { dtype, shape: [batch, capacity, 1, latentRank + ropeDim] } };
}

type Floats = Tensor<Shape, "f32">;
type Parameters = TensorsOf<LatentAttentionParameters>;

/** `x` [batch, time, dim] mixed along time, and the cache after its last token. */
export function latentAttention(
  parameters: Parameters,
  x: Floats,
  sizes: LatentAttentionSizes,
  rotation: RopeOptions,
  place: Place<LatentCache>,
): { readonly output: Floats; readonly state: LatentCache } {
  const { headCount, latentRank, keyDim, ropeDim, valueDim, attentionScale: scale } = sizes;
  const [batch, time] = x.shape as readonly [number, number];
  const { position } = place;
  const queries = reshape(projectedQueries(parameters, x, sizes), [batch, time, headCount, keyDim + ropeDim]);
  const plain = part(queries, 0, keyDim);
  const turned = rope(part(queries, keyDim, keyDim + ropeDim), position, rotation);
  const joined = reshape(linear(parameters.latent, x), [batch, time, 1, latentRank + ropeDim]);
  const latent = norm(parameters.latentNorm, part(joined, 0, latentRank), sizes.normEpsilon) as Heads;
  const sharedKey = rope(part(joined, latentRank, latentRank + ropeDim), position, rotation);
  const written = concat([latent, sharedKey], 3) as Heads;
  const latents = writeCache(place.state?.latents, written, place);
  let mixed: Heads;
  // Pages hold the latents of other sequences, too, whose keys nobody needs.
  if (place.pages === undefined && paysForKeys(sizes, time)) {
    const { keys, values } = expandedKeys(parameters, readCache(latents), sizes);
    mixed = attendCache(concat([plain, turned], 3) as Heads, keys, values, place, { scale });
  } else {
    const absorbed = concat([perHead(plain, parameters.keyUp.weight), turned], 3) as Heads;
    // The values are the latents, which the keys begin with: what comes of the channels behind them is cut off.
    const output = attendCache(absorbed, latents, latents, place, { scale });
    mixed = perHead(part(output, 0, latentRank), parameters.valueUp.weight);
  }
  const state = { latents };
  return { output: linear(parameters.output, reshape(mixed, [batch, time, headCount * valueDim])), state };
}

function projectedQueries({ queryDown, queryNorm, query }: Parameters, x: Floats, sizes: LatentAttentionSizes): Floats {
  if (queryDown === undefined || queryNorm === undefined) return linear(query, x);
  return linear(query, norm(queryNorm, linear(queryDown, x), sizes.normEpsilon));
}

/** Channels `start` to before `stop` of each head. */
function part(heads: Heads, start: number, stop: number): Heads {
  return sliceAxis(heads, 3, start, stop);
}

/**
 * Whether so many queries are worth keys and values of their own: making them takes 2 latentRank (keyDim + valueDim)
 * operations for each token and head, and saves a query, which sees half of the tokens, what its heads are narrower by.
 */
function paysForKeys({ latentRank, keyDim, ropeDim, valueDim }: LatentAttentionSizes, time: number): boolean {
  const saved = 2 * (latentRank + ropeDim) - (keyDim + ropeDim + valueDim);
  return time * saved > 2 * latentRank * (keyDim + valueDim);
}

/** Each head of x [batch, time, heads, inputs] times its matrix of `weight` [heads, outputs, inputs]. */
function perHead(x: Heads, weight: Floats): Heads {
  const [batch, time, heads, inputs] = x.shape;
  const rows = reshape(transpose(x, [2, 0, 1, 3]), [heads, batch * time, inputs]) as Floats;
  const product = matmul(rows, weight as never, { transposeB: true }) as Floats;
  const split = reshape(product, [heads, batch, time, weight.shape[1]!]);
  return transpose(split, [1, 2, 0, 3]) as Heads;
}

/** Keys and values of all heads for every token of a cache. */
function expandedKeys(
  { keyUp, valueUp }: Parameters,
  cache: Heads,
  { headCount, latentRank, keyDim, ropeDim, valueDim }: LatentAttentionSizes,
): { readonly keys: Heads; readonly values: Heads } {
  const [batch, capacity] = cache.shape;
  const latents = reshape(part(cache, 0, latentRank), [batch, capacity, latentRank]) as Floats;
  const toKeys = reshape(transpose(keyUp.weight, [1, 0, 2]), [latentRank, headCount * keyDim]) as Floats;
  const toValues = reshape(valueUp.weight, [headCount * valueDim, latentRank]) as Floats;
  const heads = (rows: Floats, size: number): Heads => reshape(rows, [batch, capacity, headCount, size]);
  const shared = broadcastTo(part(cache, latentRank, latentRank + ropeDim), [batch, capacity, headCount, ropeDim]);
  return {
    keys: concat([heads(matmul(latents, toKeys) as Floats, keyDim), shared as Heads], 3) as Heads,
    values: heads(matmul(latents, toValues, { transposeB: true }) as Floats, valueDim),
  };
}

// Self-attention with rotary positions (Su et al. 2021, arXiv 2104.09864) and grouped heads (Ainslie et al. 2023, arXiv
// 2305.13245): projections to heads, a mixer along time, and the projection back. Optional are biases, norms of each
// query and key (Qwen 3, Gemma 3), and a norm before the projection back (BitNet b1.58).
//
// The mixer here is softmax attention, causal, perhaps over a window, perhaps with capped scores. With a cache, the new
// keys and values are written at the position and attended to with those before them; without one, the keys of this
// call are the cache. Another mixer is causal linear attention, in its own file.
//
// Leaves out: caches that keep no more than the window.

import type { AttentionOptions, RopeOptions, Tensor, TensorType } from "@fidelity/core";
import { reshape, rope } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { Standing, StateSize } from "../model.ts";
import type { TensorsOf } from "../parameters.ts";
import type { CacheTensor, Heads } from "./cache.ts";
import { attendCache, writeCache } from "./cache.ts";
import type { NormParameters } from "./norm.ts";
import { norm, normParameters } from "./norm.ts";
import type { ProjectionParameters, WeightKind } from "./projection.ts";
import { project, projectionParameters } from "./projection.ts";

export type AttentionParameters = {
  readonly query: ProjectionParameters;
  readonly key: ProjectionParameters;
  readonly value: ProjectionParameters;
  /** Over each head. */
  readonly queryNorm?: NormParameters;
  readonly keyNorm?: NormParameters;
  /** Over all heads, before `output`. */
  readonly subNorm?: NormParameters;
  readonly output: ProjectionParameters;
};

/** Sizes and parts of an attention layer: `keyValueHeadCount` divides `headCount`. */
export interface AttentionSizes {
  readonly dim: number;
  readonly headCount: number;
  readonly keyValueHeadCount: number;
  readonly headDim: number;
  readonly weights: WeightKind;
  readonly normEpsilon: number;
  readonly queryKeyValueBias: boolean;
  readonly outputBias: boolean;
  readonly queryKeyNorm: boolean;
  readonly subNorms: boolean;
}

/** @param outputStd standard deviation of the first weights of the projection to the residual stream */
export function attentionParameters(sizes: AttentionSizes, outputStd?: number): AttentionParameters {
  const { dim, headCount, keyValueHeadCount, headDim, weights, queryKeyValueBias: bias } = sizes;
  const [queryDim, keyDim] = [headDim * headCount, headDim * keyValueHeadCount];
  return {
    query: projectionParameters(weights, queryDim, dim, undefined, bias),
    key: projectionParameters(weights, keyDim, dim, undefined, bias),
    value: projectionParameters(weights, keyDim, dim, undefined, bias),
    ...(sizes.queryKeyNorm && { queryNorm: normParameters(headDim), keyNorm: normParameters(headDim) }),
    ...(sizes.subNorms && { subNorm: normParameters(queryDim) }),
    output: projectionParameters(weights, dim, queryDim, outputStd, sizes.outputBias),
  };
}

/** Where a call stands in its sequences. */
export interface Place<S> extends Standing {
  /** What the tokens before it left; undefined where there are none. */
  readonly state: S | undefined;
}

/** What mixes values along time, and the state that it keeps for the tokens to come. */
export interface Mixer<S> {
  stateTypes(size: StateSize): { readonly [K in keyof S]: TensorType };
  mix(queries: Heads, keys: Heads, values: Heads, place: Place<S>): { readonly output: Heads; readonly state: S };
}

/** Keys, turned for their positions, and values. */
export type KeyValueCache = { readonly keys: CacheTensor; readonly values: CacheTensor };

/** Softmax attention over a cache. */
export function softmaxMixer(
  { keyValueHeadCount, headDim }: AttentionSizes,
  options: AttentionOptions,
): Mixer<KeyValueCache> {
  return {
    stateTypes({ batch, capacity, cacheDtype: dtype = "f32" }) {
      const cache: TensorType = { dtype, shape: [batch, capacity, keyValueHeadCount, headDim] };
      return { keys: cache, values: cache };
    },
    mix(queries, keys, values, place) {
      const state = {
        keys: writeCache(place.state?.keys, keys, place),
        values: writeCache(place.state?.values, values, place),
      };
      return { output: attendCache(queries, state.keys, state.values, place, options), state };
    },
  };
}

/** What attention gets besides its parameters and its input. */
export interface AttentionContext<S> {
  /** How positions turn queries and keys; they do not where absent. */
  readonly rotation?: RopeOptions;
  readonly mixer: Mixer<S>;
  readonly place: Place<S>;
}

/** `x` [batch, time, dim] mixed along time, and the mixer's state after its last token. */
export function selfAttention<S>(
  parameters: TensorsOf<AttentionParameters>,
  x: Tensor<Shape, "f32">,
  sizes: AttentionSizes,
  { rotation, mixer, place }: AttentionContext<S>,
): { readonly output: Tensor<Shape, "f32">; readonly state: S } {
  const { headCount, keyValueHeadCount, headDim, weights, normEpsilon } = sizes;
  const [batch, time] = x.shape;
  const heads = (projection: TensorsOf<ProjectionParameters>, count: number): Heads =>
    reshape(project(weights, projection, x), [batch, time, count, headDim]);
  const turned = (projected: Heads, headNorm: TensorsOf<NormParameters> | undefined): Heads => {
    const normed = headNorm === undefined ? projected : (norm(headNorm, projected, normEpsilon) as Heads);
    return rotation === undefined ? normed : rope(normed, place.position, rotation);
  };
  const { output, state } = mixer.mix(
    turned(heads(parameters.query, headCount), parameters.queryNorm),
    turned(heads(parameters.key, keyValueHeadCount), parameters.keyNorm),
    heads(parameters.value, keyValueHeadCount),
    place,
  );
  const joined = reshape(output, [batch, time, headCount * headDim]);
  const { subNorm } = parameters;
  return {
    output: project(weights, parameters.output, subNorm === undefined ? joined : norm(subNorm, joined, normEpsilon)),
    state,
  };
}

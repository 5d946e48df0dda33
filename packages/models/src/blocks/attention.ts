// Causal self-attention with rotary positions (Su et al. 2021, arXiv 2104.09864) and grouped heads (Ainslie et al.
// 2023, arXiv 2305.13245). With a cache, the new keys and values are written at the position and all of it up to there
// is attended to; without one, the keys of this call are the cache.
//
// Leaves out: biases, sliding windows, normalised queries and keys.

import type { RopePairing, Tensor } from "@fidelity/core";
import { attention, dynamicUpdateSlice, reshape, rope } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { TensorsOf } from "../parameters.ts";
import type { LinearParameters } from "./linear.ts";
import { linear, linearParameters } from "./linear.ts";

export type AttentionParameters = {
  readonly query: LinearParameters;
  readonly key: LinearParameters;
  readonly value: LinearParameters;
  readonly output: LinearParameters;
};

/** Sizes of an attention layer: `keyValueHeadCount` divides `headCount`, which divides `dim`. */
export interface AttentionSizes {
  readonly dim: number;
  readonly headCount: number;
  readonly keyValueHeadCount: number;
}

/** @param outputStd standard deviation of the first weights of the projection to the residual stream */
export function attentionParameters(sizes: AttentionSizes, outputStd: number): AttentionParameters {
  const { dim, headCount, keyValueHeadCount } = sizes;
  const keyValueDim = (dim / headCount) * keyValueHeadCount;
  return {
    query: linearParameters(dim, dim),
    key: linearParameters(keyValueDim, dim),
    value: linearParameters(keyValueDim, dim),
    output: linearParameters(dim, dim, outputStd),
  };
}

/** Keys, turned for their positions, and values of the tokens so far: [batch, capacity, key heads, head size] each. */
export type KeyValueCache = { readonly keys: CacheTensor; readonly values: CacheTensor };
export type CacheTensor = Tensor<readonly [number, number, number, number], "f32">;

/** What attention gets besides its parameters and its input. */
export interface AttentionContext extends AttentionSizes {
  /** Position of the first token of this call. */
  readonly position: Tensor<readonly [], "i32">;
  readonly cache: KeyValueCache | undefined;
  readonly ropeTheta: number;
  readonly ropePairing: RopePairing;
}

/** `x` [batch, time, dim] mixed along time, and the cache with the keys and values of its tokens. */
export function selfAttention(
  parameters: TensorsOf<AttentionParameters>,
  x: Tensor<Shape, "f32">,
  context: AttentionContext,
): { readonly output: Tensor<Shape, "f32">; readonly cache: KeyValueCache } {
  const { dim, headCount, keyValueHeadCount, position } = context;
  const [batch, time] = x.shape;
  const heads = (projected: Tensor<Shape, "f32">, count: number): CacheTensor =>
    reshape(projected, [batch, time, count, dim / headCount]);
  const turn = (projected: CacheTensor): CacheTensor =>
    rope(projected, position, { theta: context.ropeTheta, pairing: context.ropePairing });
  const queries = turn(heads(linear(parameters.query, x), headCount));
  const keys = turn(heads(linear(parameters.key, x), keyValueHeadCount));
  const values = heads(linear(parameters.value, x), keyValueHeadCount);
  const cache =
    context.cache === undefined
      ? { keys, values }
      : {
          keys: dynamicUpdateSlice(context.cache.keys, keys, position, 1),
          values: dynamicUpdateSlice(context.cache.values, values, position, 1),
        };
  const { output } = attention(queries, cache.keys, cache.values, position);
  return { output: linear(parameters.output, reshape(output, [batch, time, dim])), cache };
}

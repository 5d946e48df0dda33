// Attention as the layers of hybrids have it: grouped causal heads whose positions may be turned in part or not at all
// (Jamba, Lieber et al. 2024, arXiv 2403.19887, leaves them to the recurrent layers), with queries and keys that may be
// normalised, and an output that may be gated by a sigmoid of the input, as in Qwen3-Next.

import { mul, rope, sigmoid } from "@fidelity/core";
import type { TensorsOf } from "../parameters.ts";
import { standingOf } from "../model.ts";
import type { KeyValueCache } from "./attention.ts";
import type { Heads } from "./cache.ts";
import { attendCache, writeCache } from "./cache.ts";
import type { NormParameters } from "./norm.ts";
import { norm, normParameters } from "./norm.ts";
import type { WeightKind } from "./projection.ts";
import type { StackLinearParameters } from "./stack_linear.ts";
import { stackLinear, stackLinearParameters } from "./stack_linear.ts";
import type { Floats, TokenMixer } from "./token_mixer.ts";
import { defineMixer, fromHeads, splitLast, stateType, toHeads } from "./token_mixer.ts";

type HybridAttentionParameters = {
  /** With a gate, each head's query and then its gate. */
  readonly query: StackLinearParameters;
  readonly key: StackLinearParameters;
  readonly value: StackLinearParameters;
  readonly queryNorm?: NormParameters;
  readonly keyNorm?: NormParameters;
  readonly output: StackLinearParameters;
};

/** The fields of a configuration that describe attention; see `StackConfig`. */
export interface HybridAttentionSizes {
  readonly dim: number;
  readonly attentionHeadCount: number;
  readonly attentionKeyValueHeadCount: number;
  readonly attentionHeadSize: number;
  readonly attentionScale: number;
  readonly attentionGate: boolean;
  readonly attentionNorm: boolean;
  readonly ropeSize: number;
  readonly ropeTheta: number;
  readonly ropePairing: "adjacent" | "halves";
  readonly normEpsilon: number;
  readonly weights: WeightKind;
}

/**
 * The mixer. State: keys, turned for their positions, and values, [batch, capacity, key heads, head size] each.
 * @param outputStd standard deviation of the first weights of the projection to the residual stream
 */
export function hybridAttention(sizes: HybridAttentionSizes, outputStd: number): TokenMixer {
  const { dim, weights, normEpsilon, attentionHeadSize: size, attentionScale: scale } = sizes;
  const { ropeSize, ropeTheta: theta, ropePairing: pairing } = sizes;
  const { attentionHeadCount: headCount, attentionKeyValueHeadCount: keyHeadCount } = sizes;
  const queryDim = sizes.attentionGate ? 2 * size : size;
  const projection = (outputs: number): StackLinearParameters => stackLinearParameters(weights, outputs, dim);
  return defineMixer<HybridAttentionParameters, KeyValueCache>({
    parameters: {
      query: projection(headCount * queryDim),
      key: projection(keyHeadCount * size),
      value: projection(keyHeadCount * size),
      ...(sizes.attentionNorm ? { queryNorm: normParameters(size), keyNorm: normParameters(size) } : {}),
      output: stackLinearParameters(weights, dim, headCount * size, outputStd),
    },
    stateTypes({ batch, capacity, cacheDtype: dtype = "f32" }) {
      const cache = { ...stateType(batch, capacity, keyHeadCount, size), dtype };
      return { keys: cache, values: cache };
    },
    mix(parameters, x, past) {
      const standing = standingOf(past);
      const turned = (heads: Floats, gain: Gain): Heads => {
        const normed = gain === undefined ? heads : norm(gain, heads, normEpsilon);
        if (ropeSize === 0) return normed as Heads;
        return rope(normed, standing.position, { theta, pairing, dims: ropeSize }) as Heads;
      };
      const heads = (to: "query" | "key" | "value", count: number): Floats =>
        toHeads(stackLinear(weights, parameters[to], x), count);
      const asked = heads("query", headCount); // [batch, time, heads, head size], or twice the size
      const [query, gate] = sizes.attentionGate ? splitLast(asked, [size, size]) : [asked, undefined];
      const queries = turned(query, parameters.queryNorm);
      const keys = turned(heads("key", keyHeadCount), parameters.keyNorm);
      const values = heads("value", keyHeadCount) as Heads;
      const state = {
        keys: writeCache(past?.state.keys, keys, standing),
        values: writeCache(past?.state.values, values, standing),
      };
      const attended: Floats = attendCache(queries, state.keys, state.values, standing, { scale });
      const gated = fromHeads(gate === undefined ? attended : mul(attended, sigmoid(gate)));
      return { output: stackLinear(weights, parameters.output, gated), state };
    },
  });
}

type Gain = TensorsOf<NormParameters> | undefined;

// Attention as the layers of hybrids have it: grouped causal heads whose positions may be turned in part or not at all
// (Jamba, Lieber et al. 2024, arXiv 2403.19887, leaves them to the recurrent layers), with queries and keys that may be
// normalised, and an output that may be gated by a sigmoid of the input, as in Qwen3-Next.

import type { Tensor } from "@fidelity/core";
import { attention, concat, dynamicUpdateSlice, mul, rope, sigmoid, sliceAxis, splat } from "@fidelity/core";
import type { TensorsOf } from "../parameters.ts";
import type { CacheTensor, KeyValueCache } from "./attention.ts";
import type { NormParameters } from "./norm.ts";
import { norm, normParameters } from "./norm.ts";
import type { WeightKind } from "./projection.ts";
import type { StackLinearParameters } from "./stack_linear.ts";
import { stackLinear, stackLinearParameters } from "./stack_linear.ts";
import type { Floats, TokenMixer } from "./token_mixer.ts";
import { defineMixer, fromHeads, stateType, toHeads } from "./token_mixer.ts";

type HybridAttentionParameters = {
  readonly query: StackLinearParameters;
  readonly key: StackLinearParameters;
  readonly value: StackLinearParameters;
  readonly gate?: StackLinearParameters;
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
  const { attentionHeadCount: headCount, attentionKeyValueHeadCount: keyHeadCount } = sizes;
  const projection = (outputs: number): StackLinearParameters => stackLinearParameters(weights, outputs, dim);
  return defineMixer<HybridAttentionParameters, KeyValueCache>({
    parameters: {
      query: projection(headCount * size),
      key: projection(keyHeadCount * size),
      value: projection(keyHeadCount * size),
      ...(sizes.attentionGate ? { gate: projection(headCount * size) } : {}),
      ...(sizes.attentionNorm ? { queryNorm: normParameters(size), keyNorm: normParameters(size) } : {}),
      output: stackLinearParameters(weights, dim, headCount * size, outputStd),
    },
    stateTypes({ batch, capacity }) {
      const cache = stateType(batch, capacity, keyHeadCount, size);
      return { keys: cache, values: cache };
    },
    mix(parameters, x, past) {
      const position = past?.position ?? splat(0, [], "i32");
      const turned = (to: Projection, gain: Gain, count: number): CacheTensor => {
        const heads = toHeads(stackLinear(weights, to, x), count);
        return turn(gain === undefined ? heads : norm(gain, heads, normEpsilon), position, sizes) as CacheTensor;
      };
      const queries = turned(parameters.query, parameters.queryNorm, headCount);
      const keys = turned(parameters.key, parameters.keyNorm, keyHeadCount);
      const values = toHeads(stackLinear(weights, parameters.value, x), keyHeadCount) as CacheTensor;
      const state =
        past === undefined
          ? { keys, values }
          : {
              keys: dynamicUpdateSlice(past.state.keys, keys, position, 1),
              values: dynamicUpdateSlice(past.state.values, values, position, 1),
            };
      const attended = fromHeads(attention(queries, state.keys, state.values, position, { scale }).output);
      const { gate } = parameters;
      const gated = gate === undefined ? attended : mul(attended, sigmoid(stackLinear(weights, gate, x)));
      return { output: stackLinear(weights, parameters.output, gated), state };
    },
  });
}

type Projection = TensorsOf<StackLinearParameters>;
type Gain = TensorsOf<NormParameters> | undefined;

/** Heads [batch, time, heads, size] whose first `ropeSize` channels are turned for their positions. */
function turn(
  heads: Floats,
  position: Tensor<readonly [], "i32">,
  { ropeSize, ropeTheta: theta, ropePairing: pairing, attentionHeadSize }: HybridAttentionSizes,
): Floats {
  if (ropeSize === 0) return heads;
  if (ropeSize === attentionHeadSize) return rope(heads, position, { theta, pairing });
  const first = rope(sliceAxis(heads, 3, 0, ropeSize), position, { theta, pairing });
  return concat([first as Floats, sliceAxis(heads, 3, ropeSize, attentionHeadSize) as Floats], 3) as Floats;
}

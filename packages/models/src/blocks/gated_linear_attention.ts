// The mixers of gated linear attention (Yang et al. 2023, arXiv 2312.06635) and of retention (Sun et al. 2023, arXiv
// 2307.08621): a matrix state a head, S_t = S_{t-1} diag(decay_t) + v_t k_t^T and o_t = S_t q_t / sqrt(key size), whose
// output is normalised a head and gated. They differ in the decay:
//   GLA         sigmoid(W_up W_down x + b)^(1/16), one for each key channel, from the token
//   retention   1 - 2^(-5 - head), the same for ever; queries and keys are turned for their positions instead
// The norm is RMSNorm with a gain, as in flash-linear-attention's models of both.

import { broadcastTo, constant, generalizedDeltaRule, mul, neg, reshape, rope, silu, softplus } from "@fidelity/core";
import type { TensorsOf } from "../parameters.ts";
import { standingOf } from "../model.ts";
import type { LinearParameters } from "./linear.ts";
import { linear, linearParameters } from "./linear.ts";
import type { NormParameters } from "./norm.ts";
import { norm, normParameters } from "./norm.ts";
import type { WeightKind } from "./projection.ts";
import type { StackLinearParameters } from "./stack_linear.ts";
import { stackLinear, stackLinearParameters } from "./stack_linear.ts";
import type { Floats, TokenMixer } from "./token_mixer.ts";
import { defineMixer, fromHeads, stateType, toHeads } from "./token_mixer.ts";

/** Sizes of a linear attention: `headCount` divides `keyDim` and `valueDim`. */
export interface LinearAttentionSizes {
  readonly dim: number;
  readonly headCount: number;
  readonly keyDim: number;
  readonly valueDim: number;
  /** Width between the two halves of the projection to the decays; 0 for retention, whose decays are fixed. */
  readonly decayRank: number;
  /** Base of retention's positions. */
  readonly retentionTheta: number;
  readonly normEpsilon: number;
  readonly weights: WeightKind;
}

type LinearAttentionParameters = {
  readonly query: StackLinearParameters;
  readonly key: StackLinearParameters;
  readonly value: StackLinearParameters;
  readonly gate: StackLinearParameters;
  readonly decayDown?: LinearParameters;
  readonly decayUp?: LinearParameters;
  readonly norm: NormParameters;
  readonly output: StackLinearParameters;
};

type LinearAttentionState = { readonly hidden: Floats };

/** What GLA divides the logarithm of its decays by, so that they start near 1. */
const DECAY_TEMPERATURE = 16;

/**
 * The mixer. State: S, [batch, heads, value size, key size].
 * @param outputStd standard deviation of the first weights of the projection to the residual stream
 */
export function gatedLinearAttention(sizes: LinearAttentionSizes, outputStd: number): TokenMixer {
  const { dim, headCount, keyDim, valueDim, decayRank, retentionTheta, normEpsilon, weights } = sizes;
  return defineMixer<LinearAttentionParameters, LinearAttentionState>({
    parameters: {
      query: stackLinearParameters(weights, keyDim, dim),
      key: stackLinearParameters(weights, keyDim, dim),
      value: stackLinearParameters(weights, valueDim, dim),
      gate: stackLinearParameters(weights, valueDim, dim),
      ...(decayRank > 0 && {
        decayDown: linearParameters(decayRank, dim),
        decayUp: linearParameters(keyDim, decayRank, undefined, true),
      }),
      norm: normParameters(valueDim / headCount),
      output: stackLinearParameters(weights, dim, valueDim, outputStd),
    },
    stateTypes: ({ batch }) => ({ hidden: stateType(batch, headCount, valueDim / headCount, keyDim / headCount) }),
    mix(parameters, x, past) {
      const heads = (to: StackProjection): Floats => toHeads(stackLinear(weights, to, x), headCount);
      const position = standingOf(past).position;
      const turned = (vectors: Floats): Floats =>
        decayRank > 0 ? vectors : rope(vectors, position, { theta: retentionTheta });
      const { output: read, state } = generalizedDeltaRule({
        q: mul(turned(heads(parameters.query)), (keyDim / headCount) ** -0.5),
        k: turned(heads(parameters.key)),
        v: heads(parameters.value),
        logDecay: decayRank > 0 ? tokenDecays(parameters, x, headCount) : fixedDecays(x, headCount),
        state: past?.state.hidden,
      });
      const gate = silu(stackLinear(weights, parameters.gate, x));
      const gated = mul(fromHeads(norm(parameters.norm, read, normEpsilon)), gate);
      return { output: stackLinear(weights, parameters.output, gated), state: { hidden: state } };
    },
  });
}

type StackProjection = TensorsOf<StackLinearParameters>;

/** Logarithms of GLA's decays, [batch, time, heads, key size]. */
function tokenDecays(
  { decayDown, decayUp }: TensorsOf<LinearAttentionParameters>,
  x: Floats,
  headCount: number,
): Floats {
  const logits = linear(decayUp!, linear(decayDown!, x));
  return toHeads(mul(neg(softplus(neg(logits))), 1 / DECAY_TEMPERATURE), headCount);
}

/** Logarithms of retention's decays, [batch, time, heads, 1]. */
function fixedDecays(x: Floats, headCount: number): Floats {
  const [batch, time] = x.shape;
  const decays = Array.from({ length: headCount }, (_, head) => Math.log1p(-(2 ** (-5 - head))));
  const vector = constant(decays, [headCount]) as Floats;
  return broadcastTo(reshape(vector, [1, 1, headCount, 1]), [batch, time, headCount, 1]);
}

// The mixer of Gated DeltaNet (Yang et al. 2024, arXiv 2412.06464), with fewer key heads than value heads where the
// sizes say so, as in Qwen3-Next: a matrix state a head that decays, and that unlearns what a key held before it learns
// anew.
//   q, k, v = SiLU(conv(W_qkv x)),  q and k normalised to length 1,  beta = sigmoid(W_beta x)
//   alpha = exp(-exp(logRates) softplus(W_alpha x + b_alpha))
//   S_t = S_{t-1} alpha_t (1 - beta_t k_t k_t^T) + beta_t v_t k_t^T,  o_t = S_t q_t / sqrt(key size)
//   y = W_out (RMSNorm(o) SiLU(W_gate x)), the norm a head with one gain for all

import {
  add,
  broadcastTo,
  exp,
  generalizedDeltaRule,
  mul,
  neg,
  reshape,
  rmsNorm,
  sigmoid,
  silu,
  softplus,
} from "@fidelity/core";
import type { ParameterSpec } from "../parameters.ts";
import { channels } from "../parameters.ts";
import { FIRST_TIME_STEPS } from "./mamba_mixer.ts";
import type { LinearParameters } from "./linear.ts";
import { linear, linearParameters } from "./linear.ts";
import type { NormParameters } from "./norm.ts";
import { norm, normParameters } from "./norm.ts";
import type { WeightKind } from "./projection.ts";
import type { ShortConvolutionParameters } from "./short_convolution.ts";
import { shortConvolution, shortConvolutionParameters } from "./short_convolution.ts";
import type { StackLinearParameters } from "./stack_linear.ts";
import { stackLinear, stackLinearParameters } from "./stack_linear.ts";
import type { Floats, TokenMixer } from "./token_mixer.ts";
import { defineMixer, fromHeads, splitLast, stateType, toHeads } from "./token_mixer.ts";

/** Sizes of a gated delta mixer: `keyHeadCount` divides `headCount`. */
export interface GatedDeltaSizes {
  readonly dim: number;
  readonly headCount: number;
  readonly keyHeadCount: number;
  /** Which key head a head has: `grouped` ones share it with their neighbours, `tiled` ones take turns. */
  readonly keySharing: "grouped" | "tiled";
  readonly keySize: number;
  readonly valueSize: number;
  readonly convolutionSize: number;
  readonly normEpsilon: number;
  readonly weights: WeightKind;
}

type GatedDeltaParameters = {
  /** Queries, keys and values, one after the other. */
  readonly input: StackLinearParameters;
  readonly convolution: ShortConvolutionParameters;
  readonly gate: StackLinearParameters;
  readonly beta: LinearParameters;
  readonly alpha: LinearParameters;
  readonly timeStepBias: ParameterSpec<"norm">;
  readonly logRates: ParameterSpec<"norm">;
  readonly norm: NormParameters;
  readonly output: StackLinearParameters;
};

type GatedDeltaState = { readonly convolution: Floats; readonly hidden: Floats };

/**
 * The mixer. State: the last inputs of the convolution, and S, [batch, heads, value size, key size].
 * @param outputStd standard deviation of the first weights of the projection to the residual stream
 */
export function gatedDeltaMixer(sizes: GatedDeltaSizes, outputStd: number): TokenMixer {
  const { dim, headCount, keyHeadCount, keySize, valueSize, convolutionSize, normEpsilon, weights } = sizes;
  const isTiled = sizes.keySharing === "tiled";
  const keyDim = keyHeadCount * keySize;
  const valueDim = headCount * valueSize;
  const convolved = 2 * keyDim + valueDim;
  /** Heads with vectors of length 1. */
  const unit = (x: Floats): Floats => {
    const normed = rmsNorm(toHeads(x, keyHeadCount), { epsilon: normEpsilon / keySize });
    return mul(normed, keySize ** -0.5);
  };
  return defineMixer<GatedDeltaParameters, GatedDeltaState>({
    parameters: {
      input: stackLinearParameters(weights, convolved, dim),
      convolution: shortConvolutionParameters(convolved, convolutionSize, { bias: false }),
      gate: stackLinearParameters(weights, valueDim, dim),
      beta: linearParameters(headCount, dim),
      alpha: linearParameters(headCount, dim),
      timeStepBias: channels([headCount], FIRST_TIME_STEPS),
      logRates: channels([headCount], { kind: "uniform", low: 0, high: Math.log(16) }),
      norm: normParameters(valueSize),
      output: stackLinearParameters(weights, dim, valueDim, outputStd),
    },
    stateTypes: ({ batch }) => ({
      convolution: stateType(batch, convolutionSize - 1, convolved),
      hidden: stateType(batch, headCount, valueSize, keySize),
    }),
    mix(parameters, x, past) {
      const raw = stackLinear(weights, parameters.input, x);
      const mixed = shortConvolution(parameters.convolution, raw, past?.state.convolution);
      const [queries, keys, values] = splitLast(silu(mixed.output), [keyDim, keyDim, valueDim]);
      const own = unit(keys); // [batch, time, key heads, key size]
      const key = repeatHeads(own, headCount, isTiled); // [batch, time, heads, key size]
      const query = mul(unit(queries), keySize ** -0.5);
      const beta = toHeads(sigmoid(linear(parameters.beta, x)), headCount); // [batch, time, heads, 1]
      const step = softplus(add(linear(parameters.alpha, x), parameters.timeStepBias));
      const logDecay = toHeads(mul(step, neg(exp(parameters.logRates))), headCount); // [batch, time, heads, 1]
      const { output: read, state } = generalizedDeltaRule({
        q: isTiled ? repeatHeads(query, headCount, isTiled) : query,
        k: isTiled ? key : own,
        v: mul(toHeads(values, headCount), beta),
        logDecay,
        a: mul(key, neg(mul(exp(logDecay), beta))),
        b: key,
        state: past?.state.hidden,
      });
      const normed = fromHeads(norm(parameters.norm, read, normEpsilon));
      const gated = mul(normed, silu(stackLinear(weights, parameters.gate, x)));
      const output = stackLinear(weights, parameters.output, gated);
      return { output, state: { convolution: mixed.state, hidden: state } };
    },
  });
}

/** Heads [batch, time, groups, size] once for each of the `count` heads that share them. */
function repeatHeads(x: Floats, count: number, tiled: boolean): Floats {
  const [batch, time, groups, size] = x.shape;
  if (groups === count) return x;
  const times = count / groups;
  const one = tiled ? [batch, time, 1, groups, size] : [batch, time, groups, 1, size];
  const all = tiled ? [batch, time, times, groups, size] : [batch, time, groups, times, size];
  return reshape(broadcastTo(reshape(x, one) as Floats, all), [batch, time, count, size]);
}

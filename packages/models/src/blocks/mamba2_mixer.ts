// The mixer of Mamba-2 (Dao and Gu 2024, arXiv 2405.21060, section 7): heads with a matrix state and one decay each,
// whose groups share what is written and read. All inputs come from one projection.
//   z, x, B, C, dt = W_in u,  x, B, C = SiLU(conv(x, B, C)),  delta = softplus(dt + b_dt)
//   S_t = exp(delta_t A) S_{t-1} + delta_t x_t B_t^T,  y_t = S_t C_t + D x_t,  o = W_out RMSNorm(y SiLU(z))
// with A = -exp(logRates) a head, and the norm a group.
//
// Leaves out: the norm before the gate, and limits of the step size, which the released models do not use.

import { add, exp, generalizedDeltaRule, mul, neg, reshape, rmsNorm, silu, softplus } from "@fidelity/core";
import type { ParameterSpec } from "../parameters.ts";
import { channels, gain } from "../parameters.ts";
import { FIRST_TIME_STEPS } from "./mamba_mixer.ts";
import type { NormParameters } from "./norm.ts";
import { normParameters } from "./norm.ts";
import type { WeightKind } from "./projection.ts";
import type { ShortConvolutionParameters } from "./short_convolution.ts";
import { shortConvolution, shortConvolutionParameters } from "./short_convolution.ts";
import type { StackLinearParameters } from "./stack_linear.ts";
import { stackLinear, stackLinearParameters } from "./stack_linear.ts";
import type { Floats, TokenMixer } from "./token_mixer.ts";
import { defineMixer, fromHeads, splitLast, stateType, toHeads } from "./token_mixer.ts";

/** Sizes of a Mamba-2 mixer: `groupCount` divides `headCount`, which divides `innerDim`. */
export interface Mamba2Sizes {
  readonly dim: number;
  readonly innerDim: number;
  readonly headCount: number;
  readonly groupCount: number;
  readonly stateSize: number;
  readonly convolutionSize: number;
  /** Whether there is a norm before the last projection. */
  readonly stateNorm: boolean;
  readonly normEpsilon: number;
  readonly weights: WeightKind;
}

type Mamba2Parameters = {
  readonly input: StackLinearParameters;
  readonly convolution: ShortConvolutionParameters;
  readonly timeStepBias: ParameterSpec<"norm">;
  readonly logRates: ParameterSpec<"norm">;
  readonly skip: ParameterSpec<"norm">;
  readonly norm?: NormParameters;
  readonly output: StackLinearParameters;
};

type Mamba2State = { readonly convolution: Floats; readonly hidden: Floats };

/**
 * The mixer. State: the last inputs of the convolution, and S, [batch, heads, head size, states].
 * @param outputStd standard deviation of the first weights of the projection to the residual stream
 */
export function mamba2Mixer(sizes: Mamba2Sizes, outputStd: number): TokenMixer {
  const { dim, innerDim, headCount, groupCount, stateSize, convolutionSize, normEpsilon, weights } = sizes;
  const groupDim = groupCount * stateSize;
  const convolved = innerDim + 2 * groupDim;
  return defineMixer<Mamba2Parameters, Mamba2State>({
    parameters: {
      input: stackLinearParameters(weights, innerDim + convolved + headCount, dim),
      convolution: shortConvolutionParameters(convolved, convolutionSize),
      timeStepBias: channels([headCount], FIRST_TIME_STEPS),
      logRates: channels([headCount], { kind: "uniform", low: 0, high: Math.log(16) }),
      skip: gain(headCount),
      ...(sizes.stateNorm && { norm: normParameters(innerDim) }),
      output: stackLinearParameters(weights, dim, innerDim, outputStd),
    },
    stateTypes: ({ batch }) => ({
      convolution: stateType(batch, convolutionSize - 1, convolved),
      hidden: stateType(batch, headCount, innerDim / headCount, stateSize),
    }),
    mix(parameters, u, past) {
      const projected = stackLinear(weights, parameters.input, u);
      const [z, raw, step] = splitLast(projected, [innerDim, convolved, headCount]);
      const mixed = shortConvolution(parameters.convolution, raw, past?.state.convolution);
      const [x, b, c] = splitLast(silu(mixed.output), [innerDim, groupDim, groupDim]);
      const heads = toHeads(x, headCount); // [batch, time, heads, head size]
      const delta = toHeads(softplus(add(step, parameters.timeStepBias)), headCount); // [batch, time, heads, 1]
      const { output: held, state } = generalizedDeltaRule({
        q: toHeads(c, groupCount),
        k: toHeads(b, groupCount),
        v: mul(heads, delta),
        logDecay: mul(delta, reshape(neg(exp(parameters.logRates)), [headCount, 1])),
        state: past?.state.hidden,
      });
      const y = fromHeads(add(held, mul(heads, reshape(parameters.skip, [headCount, 1]))));
      const gated = mul(y, silu(z));
      const normed = (gain: Floats): Floats =>
        mul(fromHeads(rmsNorm(toHeads(gated, groupCount), { epsilon: normEpsilon })), gain);
      const read = parameters.norm === undefined ? gated : normed(parameters.norm.weight);
      const output = stackLinear(weights, parameters.output, read);
      return { output, state: { convolution: mixed.state, hidden: state } };
    },
  });
}

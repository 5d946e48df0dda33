// The mixer of Mamba (Gu and Dao 2023, arXiv 2312.00752, section 3.4): a diagonal state space a channel, whose step
// size, input and output depend on the token.
//   x, z = W_in u,  x = SiLU(conv(x)),  r, B, C = W_x x,  delta = softplus(W_dt r + b_dt)
//   h_t = exp(delta_t A) h_{t-1} + delta_t B_t x_t,  y_t = C_t . h_t + D x_t,  o = W_out (y SiLU(z))
// with A = -exp(logRates). Falcon Mamba and Jamba normalise r, B and C (arXiv 2410.05355, 2403.19887).

import { add, exp, mul, neg, rmsNorm, selectiveScan, silu, softplus } from "@fidelity/core";
import type { ParameterSpec, TensorsOf } from "../parameters.ts";
import { channels, gain } from "../parameters.ts";
import type { NormParameters } from "./norm.ts";
import { norm, normParameters } from "./norm.ts";
import type { LinearParameters } from "./linear.ts";
import { linear, linearParameters } from "./linear.ts";
import type { WeightKind } from "./projection.ts";
import type { ShortConvolutionParameters } from "./short_convolution.ts";
import { shortConvolution, shortConvolutionParameters } from "./short_convolution.ts";
import type { StackLinearParameters } from "./stack_linear.ts";
import { stackLinear, stackLinearParameters } from "./stack_linear.ts";
import type { Floats, TokenMixer } from "./token_mixer.ts";
import { defineMixer, splitLast, stateType } from "./token_mixer.ts";

/** Norms of the step size, B and C: none, without gains (Falcon Mamba), with gains (Jamba). */
export type SelectionNorm = "none" | "plain" | "gain";

/** Sizes of a Mamba mixer. */
export interface MambaSizes {
  readonly dim: number;
  /** Channels of the state space. */
  readonly innerDim: number;
  /** Size of the state a channel. */
  readonly stateSize: number;
  /** Rank of the step sizes. */
  readonly timeStepRank: number;
  readonly convolutionSize: number;
  readonly selectionNorm: SelectionNorm;
  readonly normEpsilon: number;
  readonly weights: WeightKind;
}

type MambaParameters = {
  readonly input: StackLinearParameters;
  readonly convolution: ShortConvolutionParameters;
  readonly selection: LinearParameters;
  readonly timeStepNorm?: NormParameters;
  readonly inputNorm?: NormParameters;
  readonly outputNorm?: NormParameters;
  readonly timeStep: LinearParameters & { readonly bias: ParameterSpec<"norm"> };
  readonly logRates: ParameterSpec<"norm">;
  readonly skip: ParameterSpec<"norm">;
  readonly output: StackLinearParameters;
};

/** Logarithms of the first step sizes, 0.001 to 0.1: softplus hardly changes numbers that small. */
export const FIRST_TIME_STEPS = { kind: "uniform", low: Math.log(0.001), high: Math.log(0.1) } as const;

type MambaState = { readonly convolution: Floats; readonly hidden: Floats };

/**
 * The mixer. State: the last inputs of the convolution, and h, [batch, channels, states].
 * @param outputStd standard deviation of the first weights of the projection to the residual stream
 */
export function mambaMixer(sizes: MambaSizes, outputStd: number): TokenMixer {
  const { dim, innerDim, stateSize, timeStepRank, convolutionSize, selectionNorm, normEpsilon, weights } = sizes;
  const selected = (x: Floats, gains: TensorsOf<NormParameters> | undefined): Floats => {
    if (selectionNorm === "none") return x;
    return gains === undefined ? rmsNorm(x, { epsilon: normEpsilon }) : norm(gains, x, normEpsilon);
  };
  return defineMixer<MambaParameters, MambaState>({
    parameters: {
      input: stackLinearParameters(weights, 2 * innerDim, dim),
      convolution: shortConvolutionParameters(innerDim, convolutionSize),
      selection: linearParameters(timeStepRank + 2 * stateSize, innerDim),
      ...(selectionNorm === "gain" && {
        timeStepNorm: normParameters(timeStepRank),
        inputNorm: normParameters(stateSize),
        outputNorm: normParameters(stateSize),
      }),
      timeStep: {
        ...linearParameters(innerDim, timeStepRank, timeStepRank ** -0.5),
        bias: channels([innerDim], FIRST_TIME_STEPS),
      },
      logRates: channels([innerDim, stateSize], { kind: "log-ramp" }),
      skip: gain(innerDim),
      output: stackLinearParameters(weights, dim, innerDim, outputStd),
    },
    stateTypes: ({ batch }) => ({
      convolution: stateType(batch, convolutionSize - 1, innerDim),
      hidden: stateType(batch, innerDim, stateSize),
    }),
    mix(parameters, u, past) {
      const [raw, z] = splitLast(stackLinear(weights, parameters.input, u), [innerDim, innerDim]);
      const mixed = shortConvolution(parameters.convolution, raw, past?.state.convolution);
      const x = silu(mixed.output);
      const [rank, b, c] = splitLast(linear(parameters.selection, x), [timeStepRank, stateSize, stateSize]);
      const { y, state } = selectiveScan({
        delta: softplus(linear(parameters.timeStep, selected(rank, parameters.timeStepNorm))),
        a: neg(exp(parameters.logRates)),
        b: selected(b, parameters.inputNorm),
        c: selected(c, parameters.outputNorm),
        x,
        state: past?.state.hidden,
      });
      const output = stackLinear(weights, parameters.output, mul(add(y, mul(x, parameters.skip)), silu(z)));
      return { output, state: { convolution: mixed.state, hidden: state } };
    },
  });
}

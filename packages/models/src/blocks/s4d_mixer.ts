// The mixer of S4D (Gu et al. 2022, arXiv 2206.11893): for each channel a diagonal state space with complex rates
// A = -exp(logRates) + i frequencies and a step size, made discrete by holding the input (ZOH):
//   h_t = exp(delta A) h_{t-1} + u_t,   y_t = 2 Re sum_n C_n (exp(delta A_n) - 1) / A_n h_t[n] + D u_t
// Each state stands for itself and its conjugate. First rates are those of S4D-Lin, A_n = -1/2 + i pi n.

import { add, cos, div, exp, mul, neg, sin, sub } from "@fidelity/core";
import type { ParameterSpec } from "../parameters.ts";
import { channels, gain } from "../parameters.ts";
import { diagonalConvolution } from "./diagonal_convolution.ts";
import { gatedOutput, gatedOutputParameters } from "./gated_output.ts";
import { FIRST_TIME_STEPS } from "./mamba_mixer.ts";
import type { WeightKind } from "./projection.ts";
import type { StackLinearParameters } from "./stack_linear.ts";
import type { Floats, TokenMixer } from "./token_mixer.ts";
import { defineMixer, stateType } from "./token_mixer.ts";

/** Sizes of an S4D mixer; `stateSize` counts conjugates once. */
export interface S4dSizes {
  readonly dim: number;
  readonly stateSize: number;
  readonly weights: WeightKind;
}

type S4dParameters = {
  /** [dim, states] each. */
  readonly logRates: ParameterSpec<"norm">;
  readonly frequencies: ParameterSpec<"norm">;
  readonly read: ParameterSpec<"norm">;
  readonly readImaginary: ParameterSpec<"norm">;
  readonly logTimeSteps: ParameterSpec<"norm">;
  readonly skip: ParameterSpec<"norm">;
  readonly output: StackLinearParameters;
};

/** First rates: 1/2. */
export const FIRST_LOG_RATES = { kind: "uniform", low: Math.log(0.5), high: Math.log(0.5) } as const;

type S4dState = { readonly hidden: Floats };

/**
 * The mixer. State: real and imaginary parts of h, [batch, dim, 2 states].
 * @param outputStd standard deviation of the first weights of the projection to the residual stream
 */
export function s4dMixer({ dim, stateSize, weights }: S4dSizes, outputStd: number): TokenMixer {
  return defineMixer<S4dParameters, S4dState>({
    parameters: {
      logRates: channels([dim, stateSize], FIRST_LOG_RATES),
      frequencies: channels([dim, stateSize], { kind: "ramp", step: Math.PI }),
      read: channels([dim, stateSize], { kind: "normal", std: Math.SQRT1_2 }),
      readImaginary: channels([dim, stateSize], { kind: "normal", std: Math.SQRT1_2 }),
      logTimeSteps: channels([dim, 1], FIRST_TIME_STEPS),
      skip: gain(dim),
      output: gatedOutputParameters(weights, dim, outputStd),
    },
    stateTypes: ({ batch }) => ({ hidden: stateType(batch, dim, 2 * stateSize) }),
    mix(parameters, u, past) {
      const { read, readImaginary } = parameters;
      const held = holdInput(parameters.logRates, parameters.frequencies, exp(parameters.logTimeSteps));
      const system = {
        logDecay: held.logDecay,
        angle: held.angle,
        read: mul(sub(mul(read, held.factor), mul(readImaginary, held.factorImaginary)), 2),
        readImaginary: mul(add(mul(read, held.factorImaginary), mul(readImaginary, held.factor)), 2),
      };
      const { output, state } = diagonalConvolution(system, u, past?.state.hidden);
      const y = add(output, mul(u, parameters.skip));
      return { output: gatedOutput(parameters.output, y, weights), state: { hidden: state } };
    },
  });
}

/** A diagonal system made discrete: exp(delta A) by its logarithm, and the factor (exp(delta A) - 1) / A of inputs. */
export interface HeldInput {
  readonly logDecay: Floats;
  readonly angle: Floats;
  readonly factor: Floats;
  readonly factorImaginary: Floats;
}

/** The system of rates A = -exp(logRates) + i frequencies, whose input is held for `timeSteps` a step. */
export function holdInput(logRates: Floats, frequencies: Floats, timeSteps: Floats): HeldInput {
  const rates: Floats = neg(exp(logRates));
  const [logDecay, angle] = [mul(rates, timeSteps), mul(frequencies, timeSteps)] as [Floats, Floats];
  const decay: Floats = exp(logDecay);
  const [real, imaginary] = [sub(mul(decay, cos(angle)), 1), mul(decay, sin(angle))] as [Floats, Floats];
  // Divided by A: times its conjugate over its square.
  const square: Floats = add(mul(rates, rates), mul(frequencies, frequencies));
  return {
    logDecay,
    angle,
    factor: div(add(mul(real, rates), mul(imaginary, frequencies)), square),
    factorImaginary: div(sub(mul(imaginary, rates), mul(real, frequencies)), square),
  };
}

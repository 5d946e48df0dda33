// The mixer of S5 (Smith et al. 2022, arXiv 2208.04933): one diagonal complex state space that all channels write to
// and read from, made discrete by holding the input (ZOH), with a step size a state:
//   h_t = exp(delta A) h_{t-1} + (exp(delta A) - 1) / A B u_t,   y_t = 2 Re(C h_t) + D u_t
// Each state stands for itself and its conjugate. First rates are those of S4D-Inv (arXiv 2206.11893, section 4.2),
// which the eigenvalues of HiPPO-LegS come close to; B and C are random. Left out: their eigenvectors as first values.
//
// Seen from a frame that turns with each state, g_t = exp(-i angle t) h_t, the decays are real: two real recurrences.

import {
  add,
  cast,
  cos,
  exp,
  floor,
  iota,
  linearRecurrence,
  mul,
  reshape,
  sin,
  sliceAxis,
  sub,
  concat,
  broadcastTo,
} from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { ParameterSpec } from "../parameters.ts";
import { channels, gain } from "../parameters.ts";
import { gatedOutput, gatedOutputParameters } from "./gated_output.ts";
import type { LinearParameters } from "./linear.ts";
import { linear, linearParameters } from "./linear.ts";
import { FIRST_TIME_STEPS } from "./mamba_mixer.ts";
import type { WeightKind } from "./projection.ts";
import { FIRST_LOG_RATES, holdInput } from "./s4d_mixer.ts";
import type { StackLinearParameters } from "./stack_linear.ts";
import type { Floats, TokenMixer } from "./token_mixer.ts";
import { defineMixer, splitLast, stateType } from "./token_mixer.ts";

/** Sizes of an S5 mixer; `stateSize` counts conjugates once. */
export interface S5Sizes {
  readonly dim: number;
  readonly stateSize: number;
  readonly weights: WeightKind;
}

type S5Parameters = {
  /** [states] each. */
  readonly logRates: ParameterSpec<"norm">;
  readonly frequencies: ParameterSpec<"norm">;
  readonly logTimeSteps: ParameterSpec<"norm">;
  /** Real and imaginary rows of B, [2 states, dim]. */
  readonly input: LinearParameters;
  /** Real columns of 2 C, and the imaginary ones with the other sign, [dim, 2 states]. */
  readonly read: LinearParameters;
  readonly skip: ParameterSpec<"norm">;
  readonly output: StackLinearParameters;
};

/** Both parts of h, [batch, states] each. */
type S5State = { readonly real: Floats; readonly imaginary: Floats };

/**
 * The mixer. State: the parts of h after the last token, [batch, states].
 * @param outputStd standard deviation of the first weights of the projection to the residual stream
 */
export function s5Mixer({ dim, stateSize, weights }: S5Sizes, outputStd: number): TokenMixer {
  return defineMixer<S5Parameters, S5State>({
    parameters: {
      logRates: channels([stateSize], FIRST_LOG_RATES),
      frequencies: channels([stateSize], { kind: "s4d-inverse" }),
      logTimeSteps: channels([stateSize], FIRST_TIME_STEPS),
      input: linearParameters(2 * stateSize, dim, dim ** -0.5),
      read: linearParameters(dim, 2 * stateSize, (2 / stateSize) ** 0.5),
      skip: gain(dim),
      output: gatedOutputParameters(weights, dim, outputStd),
    },
    stateTypes: ({ batch }) => ({ real: stateType(batch, stateSize), imaginary: stateType(batch, stateSize) }),
    mix(parameters, u, past) {
      const [batch, time] = u.shape;
      const held = holdInput(parameters.logRates, parameters.frequencies, exp(parameters.logTimeSteps));
      const written = splitLast(linear(parameters.input, u), [stateSize, stateSize]);
      const inputs = multiply(written, [held.factor, held.factorImaginary]);
      const frame = turningFrame(held.angle, time);
      const decays: Floats = broadcastTo(exp(held.logDecay), [batch, time, stateSize] as readonly number[]);
      const [real, imaginary] = multiply(inputs, [frame[0], mul(frame[1], -1)]);
      const turning: Pair = [
        linearRecurrence(decays, real, past?.state.real),
        linearRecurrence(decays, imaginary, past?.state.imaginary),
      ];
      const states = multiply(turning, frame); // [batch, time, states] each
      const y = add(linear(parameters.read, concat([...states], 2) as Floats), mul(u, parameters.skip));
      const last = (part: Floats): Floats => reshape(sliceAxis(part, 1, time - 1, time), [batch, stateSize]);
      const state = { real: last(states[0]), imaginary: last(states[1]) };
      return { output: gatedOutput(parameters.output, y, weights), state };
    },
  });
}

/** Real and imaginary parts. */
type Pair = readonly [real: Floats, imaginary: Floats];

function multiply([a, b]: Pair, [c, d]: Pair): Pair {
  return [sub(mul(a, c), mul(b, d)), add(mul(a, d), mul(b, c))];
}

/** Fractions of a turn that a number of at most 12 bits can say, so that their product with a time is exact. */
const STEPS_OF_TURN = 4096;

/**
 * exp(i angle t) for t = 1..time, [time, states] each. Turns are counted, and whole ones taken away, before anything is
 * rounded: late times would lose their phase otherwise.
 */
function turningFrame(angle: Floats, time: number): Pair {
  const turns: Floats = mul(angle, 1 / (2 * Math.PI));
  const coarse: Floats = mul(floor(mul(turns, STEPS_OF_TURN)), 1 / STEPS_OF_TURN);
  const whole = sub(coarse, floor(coarse)) as Floats;
  const count: Floats = reshape(cast(add(iota([time]) as Tensor<Shape, "i32">, 1), "f32"), [time, 1]);
  const exact: Floats = mul(count, whole);
  const fraction: Floats = add(sub(exact, floor(exact)), mul(count, sub(turns, coarse)));
  const radians: Floats = mul(fraction, 2 * Math.PI);
  return [cos(radians), sin(radians)];
}

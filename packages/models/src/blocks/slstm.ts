// sLSTM, the scalar memory of xLSTM (Beck et al. 2024, arXiv 2405.04517, section 2.2): an LSTM with an exponential
// input gate and a normaliser, whose gates read the hidden state of their own head.
//   z~, i~, f~, o~ = W x_t + R h_{t-1} + b,  z = tanh(z~),  i = exp(i~),  f = sigmoid(f~),  o = sigmoid(o~)
//   c_t = f c_{t-1} + i z,  n_t = f n_{t-1} + i,  h_t = o c_t / n_t,  y = W_out norm(h)
// c and n are kept divided by exp(m_t), m_t = max(log f + m_{t-1}, i~), which changes no h and needs no gradient. The
// hidden state feeds back, so that a sequence is read token by token: there is no parallel form. The norm is RMSNorm a
// head; W is dense or ternary, R is dense.

import {
  add,
  concat,
  div,
  exp,
  matmul,
  max,
  mul,
  neg,
  reshape,
  scan,
  sigmoid,
  sliceAxis,
  softplus,
  splat,
  stopGradient,
  sub,
  tanh,
  transpose,
} from "@fidelity/core";
import type { ParameterSpec } from "../parameters.ts";
import { channels, INIT_STD } from "../parameters.ts";
import { FIRST_FORGET_BIAS } from "./mlstm.ts";
import type { NormParameters } from "./norm.ts";
import { norm, normParameters } from "./norm.ts";
import type { WeightKind } from "./projection.ts";
import type { StackLinearParameters } from "./stack_linear.ts";
import { stackLinear, stackLinearParameters } from "./stack_linear.ts";
import type { Floats, TokenMixer } from "./token_mixer.ts";
import { defineMixer, fromHeads, splitLast, stateType, toHeads } from "./token_mixer.ts";

/** Sizes of an sLSTM: `headCount` divides `dim`. */
export interface SlstmSizes {
  readonly dim: number;
  readonly headCount: number;
  readonly normEpsilon: number;
  readonly weights: WeightKind;
}

type SlstmParameters = {
  /** z, i, f and o, one after the other. */
  readonly input: StackLinearParameters;
  /** [heads, head size, 4 * head size]: what each gate of a head reads of its hidden state. */
  readonly recurrent: ParameterSpec<"dense">;
  /** Of z, i and o, [3, dim]. */
  readonly bias: ParameterSpec<"norm">;
  readonly forgetBias: ParameterSpec<"norm">;
  readonly norm: NormParameters;
  readonly output: StackLinearParameters;
};

/** Each [heads, batch, head size] between tokens, and [batch, heads, head size] between calls. */
type SlstmState = {
  readonly cell: Floats;
  readonly normaliser: Floats;
  readonly hidden: Floats;
  readonly stabiliser: Floats;
};

/**
 * The mixer. State: c, n, h and m, [batch, heads, head size] each.
 * @param outputStd standard deviation of the first weights of the projection to the residual stream
 */
export function slstmMixer({ dim, headCount, normEpsilon, weights }: SlstmSizes, outputStd: number): TokenMixer {
  const size = dim / headCount;
  return defineMixer<SlstmParameters, SlstmState>({
    parameters: {
      input: stackLinearParameters(weights, 4 * dim, dim),
      recurrent: {
        dtype: "f32",
        shape: [headCount, size, 4 * size],
        init: { kind: "normal", std: INIT_STD },
        role: "dense",
      },
      bias: channels([3, dim]),
      forgetBias: channels([dim], FIRST_FORGET_BIAS),
      norm: normParameters(size),
      output: stackLinearParameters(weights, dim, dim, outputStd),
    },
    stateTypes({ batch }) {
      const type = stateType(batch, headCount, size);
      return { cell: type, normaliser: type, hidden: type, stabiliser: type };
    },
    mix(parameters, x, past) {
      const [batch, time] = x.shape;
      const [z, i, o] = [0, 1, 2].map((row): Floats => sliceRow(parameters.bias, row));
      const biases = concat([z, i, parameters.forgetBias, o], 0) as Floats;
      // Each gate's part of a head side by side: [batch, time, 4 dim] -> [time, heads, batch, 4 head size].
      const gates = reshape(add(stackLinear(weights, parameters.input, x), biases), [batch, time, 4, headCount, size]);
      const steps: Floats = reshape(transpose(gates, [1, 3, 0, 2, 4]), [time, headCount, batch, 4 * size]);
      const zeros: Floats = splat(0, [headCount, batch, size] as readonly number[]);
      const none = { cell: zeros, normaliser: zeros, hidden: zeros, stabiliser: zeros };
      const first = past === undefined ? none : exchanged(past.state);
      const { carry, ys } = scan(
        (state: SlstmState, step: Floats) => {
          const next = slstmStep(state, add(step, matmul(state.hidden, parameters.recurrent) as Floats), size);
          return { carry: next, y: next.hidden };
        },
        first,
        steps,
      );
      const hidden: Floats = reshape(transpose(ys as Floats, [2, 0, 1, 3]), [batch, time, dim]);
      const normed = fromHeads(norm(parameters.norm, toHeads(hidden, headCount), normEpsilon));
      return { output: stackLinear(weights, parameters.output, normed), state: exchanged(carry) };
    },
  });
}

/** The state with heads and sequences exchanged. */
function exchanged({ cell, normaliser, hidden, stabiliser }: SlstmState): SlstmState {
  const swap = (x: Floats): Floats => transpose(x, [1, 0, 2]) as Floats;
  return { cell: swap(cell), normaliser: swap(normaliser), hidden: swap(hidden), stabiliser: swap(stabiliser) };
}

/** The state after a token whose gates have these inputs, [heads, batch, 4 head size]. */
function slstmStep(state: SlstmState, gates: Floats, size: number): SlstmState {
  const [z, i, f, o] = splitLast(gates, [size, size, size, size]);
  const logForget = add(neg(softplus(neg(f))), state.stabiliser);
  const stabiliser = stopGradient(max(logForget, i));
  const [forget, input] = [exp(sub(logForget, stabiliser)), exp(sub(i, stabiliser))];
  const cell = add(mul(forget, state.cell), mul(input, tanh(z)));
  const normaliser = add(mul(forget, state.normaliser), input);
  return { cell, normaliser, hidden: mul(sigmoid(o), div(cell, normaliser)), stabiliser };
}

function sliceRow(x: Floats, row: number): Floats {
  const [, width] = x.shape;
  return reshape(sliceAxis(x, 0, row, row + 1), [width]);
}

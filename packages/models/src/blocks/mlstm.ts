// mLSTM, the matrix memory of xLSTM (Beck et al. 2024, arXiv 2405.04517, section 2.3), with an exponential input gate:
//   C_t = f_t C_{t-1} + i_t v_t k_t^T,  n_t = f_t n_{t-1} + i_t k_t,  h_t = C_t q_t / max(|n_t . q_t|, 1)
//   i_t = exp(i~_t),  f_t = sigmoid(f~_t),  k scaled by 1 / sqrt(key size),  y = W_out (sigmoid(W_o x) norm(h))
// i_t may be as large as it likes, so that C and n are kept divided by exp(m_t), the largest factor so far (equations
// 15 to 17): m_t = max(log f_t + m_{t-1}, i~_t). Then h_t = C'_t q_t / max(|n'_t . q_t|, exp(-m_t)), the same number
// for any m, which therefore needs no gradient. n is one more row of C, written to by a value that is always 1.
//
// The arrangement is that of xLSTM 7B (Beck et al. 2025, arXiv 2503.13427): gates read the residual stream, gate inputs
// are capped at +-15, and there is no convolution. The norm is RMSNorm a head.

import {
  abs,
  add,
  concat,
  div,
  exp,
  generalizedDeltaRule,
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
import { channels } from "../parameters.ts";
import type { LinearParameters } from "./linear.ts";
import { linear, linearParameters } from "./linear.ts";
import type { NormParameters } from "./norm.ts";
import { norm, normParameters } from "./norm.ts";
import type { WeightKind } from "./projection.ts";
import type { StackLinearParameters } from "./stack_linear.ts";
import { stackLinear, stackLinearParameters } from "./stack_linear.ts";
import type { Floats, TokenMixer } from "./token_mixer.ts";
import { defineMixer, fromHeads, splitLast, stateType, toHeads } from "./token_mixer.ts";

/** Sizes of an mLSTM: `headCount` divides `keyDim` and `dim`. */
export interface MlstmSizes {
  readonly dim: number;
  readonly headCount: number;
  readonly keyDim: number;
  readonly normEpsilon: number;
  readonly weights: WeightKind;
}

type MlstmParameters = {
  readonly query: StackLinearParameters;
  readonly key: StackLinearParameters;
  readonly value: StackLinearParameters;
  readonly outputGate: StackLinearParameters;
  /** Inputs of the input gate and of the forget gate, a head each. */
  readonly gates: LinearParameters;
  readonly inputBias: ParameterSpec<"norm">;
  readonly forgetBias: ParameterSpec<"norm">;
  readonly norm: NormParameters;
  readonly output: StackLinearParameters;
};

type MlstmState = { readonly memory: Floats; readonly stabiliser: Floats };

/** The inputs of gates are bounded by this. */
export const GATE_CAP = 15;

/** Where forget gates begin: mostly open. */
export const FIRST_FORGET_BIAS = { kind: "uniform", low: 3, high: 6 } as const;

/**
 * The mixer. State: C and n below it, [batch, heads, head size + 1, key size], and m, [batch, heads].
 * @param outputStd standard deviation of the first weights of the projection to the residual stream
 */
export function mlstmMixer(
  { dim, headCount, keyDim, normEpsilon, weights }: MlstmSizes,
  outputStd: number,
): TokenMixer {
  const [keySize, valueSize] = [keyDim / headCount, dim / headCount];
  return defineMixer<MlstmParameters, MlstmState>({
    parameters: {
      query: stackLinearParameters(weights, keyDim, dim),
      key: stackLinearParameters(weights, keyDim, dim),
      value: stackLinearParameters(weights, dim, dim),
      outputGate: stackLinearParameters(weights, dim, dim),
      gates: linearParameters(2 * headCount, dim),
      inputBias: channels([headCount]),
      forgetBias: channels([headCount], FIRST_FORGET_BIAS),
      norm: normParameters(valueSize),
      output: stackLinearParameters(weights, dim, dim, outputStd),
    },
    stateTypes: ({ batch }) => ({
      memory: stateType(batch, headCount, valueSize + 1, keySize),
      stabiliser: stateType(batch, headCount),
    }),
    mix(parameters, x, past) {
      const [batch, time] = x.shape;
      const heads = (to: "query" | "key" | "value"): Floats =>
        toHeads(stackLinear(weights, parameters[to], x), headCount);
      const [input, forget] = splitLast(linear(parameters.gates, x), [headCount, headCount]);
      const logInput = cap(add(input, parameters.inputBias)); // [batch, time, heads]
      const logForget = neg(softplus(neg(cap(add(forget, parameters.forgetBias)))));
      const before = past?.state.stabiliser ?? splat(0, [batch, headCount] as readonly number[]);
      const m = stabilisers(logForget, logInput, before);
      const step = (values: Floats): Floats => reshape(values, [batch, time, headCount, 1]);
      const one: Floats = splat(1, [batch, time, headCount, 1] as readonly number[]);
      const { output: read, state: memory } = generalizedDeltaRule({
        q: heads("query"),
        k: mul(heads("key"), keySize ** -0.5),
        v: mul(concat([heads("value"), one], 3) as Floats, step(exp(sub(logInput, m.now)))),
        logDecay: step(sub(add(logForget, m.before), m.now)),
        state: past?.state.memory,
      });
      const [sum, weight] = splitLast(read, [valueSize, 1]);
      const hidden = fromHeads(norm(parameters.norm, div(sum, max(abs(weight), step(exp(neg(m.now))))), normEpsilon));
      const gated = mul(hidden, sigmoid(stackLinear(weights, parameters.outputGate, x)));
      return { output: stackLinear(weights, parameters.output, gated), state: { memory, stabiliser: m.last } };
    },
  });
}

/** The input of a gate, bounded softly. */
export function cap(x: Floats): Floats {
  return mul(tanh(mul(x, 1 / GATE_CAP)), GATE_CAP);
}

/** m after each token and before it, [batch, time, heads], and after the last, [batch, heads]. */
function stabilisers(
  logForget: Floats,
  logInput: Floats,
  first: Floats,
): { readonly now: Floats; readonly before: Floats; readonly last: Floats } {
  const steps = { forget: transpose(logForget, [1, 0, 2]) as Floats, input: transpose(logInput, [1, 0, 2]) as Floats };
  const { carry, ys } = scan(
    (m: Floats, { forget, input }: { readonly forget: Floats; readonly input: Floats }) => {
      const next = max(add(forget, m), input);
      return { carry: next, y: next };
    },
    stopGradient(first),
    { forget: stopGradient(steps.forget), input: stopGradient(steps.input) },
  );
  const now = transpose(ys as Floats, [1, 0, 2]) as Floats;
  const [batch, time, heads] = logForget.shape;
  const start: Floats = reshape(stopGradient(first), [batch, 1, heads]);
  const before = time === 1 ? start : (concat([start, sliceAxis(now, 1, 0, time - 1) as Floats], 1) as Floats);
  return { now, before, last: carry };
}

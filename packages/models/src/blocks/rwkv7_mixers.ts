// The two mixers of RWKV-7 (Peng et al. 2025, arXiv 2503.14456, section 4). Both read a mixture of a token and the one
// before it, x + (x_before - x) mu, with other shares mu for each use.
//   time mixer     r, k, v = W x_r, W x_k, W x_v,  log w = -exp(-1/2) sigmoid(w0 + W2 tanh(W1 x_w))
//                  a = sigmoid(a0 + A2 A1 x_a),  g = G2 sigmoid(G1 x_g),  kappa = k * xi, of length 1 a head
//                  v += (v_first - v) sigmoid(v0 + V2 V1 x_v) above layer 0, whose values are v_first
//                  k~ = k (1 + (a - 1) alpha)
//                  S_t = S_{t-1} (diag(w) - kappa (a kappa)^T) + v k~^T,  p = S_t r
//                  y = W_o (g (GroupNorm(p) + (sum_head r k~ rho) v))
//   channel mixer  y = W_v relu(W_k x_k)^2
// exp(-1/2) is 0.606531, as in the released code.

import {
  add,
  concat,
  generalizedDeltaRule,
  layerNorm,
  max,
  mul,
  neg,
  reduceSum,
  relu,
  reshape,
  rsqrt,
  sigmoid,
  sliceAxis,
  splat,
  square,
  sub,
  tanh,
} from "@fidelity/core";
import type { ParameterSpec, TensorsOf } from "../parameters.ts";
import { channels, gain } from "../parameters.ts";
import type { LayerNormParameters } from "./layer_norm.ts";
import { layerNormParameters } from "./layer_norm.ts";
import type { LinearParameters } from "./linear.ts";
import { linear, linearParameters } from "./linear.ts";
import type { WeightKind } from "./projection.ts";
import type { StackLinearParameters } from "./stack_linear.ts";
import { stackLinear, stackLinearParameters } from "./stack_linear.ts";
import type { Floats } from "./token_mixer.ts";
import { fromHeads, toHeads } from "./token_mixer.ts";

/** Sizes of an RWKV-7: `headSize` divides `dim`. */
export interface Rwkv7Sizes {
  readonly dim: number;
  readonly hiddenDim: number;
  readonly headSize: number;
  /** Widths inside the low-rank projections. */
  readonly decayRank: number;
  readonly learningRateRank: number;
  readonly valueRank: number;
  readonly gateRank: number;
  readonly weights: WeightKind;
}

/** offset + up(f(down(x))). */
type LowRankParameters = {
  readonly offset: ParameterSpec<"norm">;
  readonly down: LinearParameters;
  readonly up: LinearParameters;
};

export type TimeMixerParameters = {
  /** Shares of the token before, for r, w, k, v, a and g: [6, dim]. */
  readonly shift: ParameterSpec<"norm">;
  readonly decay: LowRankParameters;
  readonly learningRate: LowRankParameters;
  /** Absent in layer 0. */
  readonly firstValue?: LowRankParameters;
  readonly gate: { readonly down: LinearParameters; readonly up: LinearParameters };
  /** xi, alpha and rho, [dim] each. */
  readonly removal: ParameterSpec<"norm">;
  readonly replacement: ParameterSpec<"norm">;
  readonly bonus: ParameterSpec<"norm">;
  readonly receptance: StackLinearParameters;
  readonly key: StackLinearParameters;
  readonly value: StackLinearParameters;
  readonly norm: LayerNormParameters;
  readonly output: StackLinearParameters;
};

export type ChannelMixerParameters = {
  readonly shift: ParameterSpec<"norm">;
  readonly key: StackLinearParameters;
  readonly value: StackLinearParameters;
};

/** The largest logarithm of a decay, negated: exp(-1/2). */
const DECAY_LIMIT = 0.606531;

/** Epsilon of the norm over each head, as in the released code. */
const HEAD_NORM_EPSILON = 64e-5;

/** Shares of the token before at first. */
const FIRST_SHARES = { kind: "uniform", low: 0, high: 1 } as const;

/** @param outputStd standard deviation of the first weights of the projection to the residual stream */
export function timeMixerParameters(sizes: Rwkv7Sizes, layer: number, outputStd: number): TimeMixerParameters {
  const { dim, decayRank, learningRateRank, valueRank, gateRank, weights } = sizes;
  const down = (rank: number): LinearParameters => linearParameters(rank, dim);
  const up = (rank: number): LinearParameters => linearParameters(dim, rank);
  return {
    shift: channels([6, dim], FIRST_SHARES),
    decay: { offset: channels([dim], { kind: "uniform", low: -6, high: 1 }), down: down(decayRank), up: up(decayRank) },
    learningRate: { offset: channels([dim]), down: down(learningRateRank), up: up(learningRateRank) },
    ...(layer > 0 && { firstValue: { offset: gain(dim), down: down(valueRank), up: up(valueRank) } }),
    gate: { down: down(gateRank), up: up(gateRank) },
    removal: gain(dim),
    replacement: gain(dim),
    bonus: channels([dim]),
    receptance: stackLinearParameters(weights, dim, dim),
    key: stackLinearParameters(weights, dim, dim),
    value: stackLinearParameters(weights, dim, dim),
    norm: layerNormParameters(dim),
    output: stackLinearParameters(weights, dim, dim, outputStd),
  };
}

/** @param outputStd standard deviation of the first weights of the projection to the residual stream */
export function channelMixerParameters(
  { dim, hiddenDim, weights }: Rwkv7Sizes,
  outputStd: number,
): ChannelMixerParameters {
  return {
    shift: channels([dim], FIRST_SHARES),
    key: stackLinearParameters(weights, hiddenDim, dim),
    value: stackLinearParameters(weights, dim, hiddenDim, outputStd),
  };
}

/** What a time mixer gets besides its parameters and its input. */
export interface TimeMixerContext extends Rwkv7Sizes {
  /** The last token of the call before, [batch, dim]; zeros where absent. */
  readonly before: Floats | undefined;
  /** S before the first token, [batch, heads, head size, head size]; zeros where absent. */
  readonly hidden: Floats | undefined;
  /** Values of layer 0, [batch, time, dim]; absent there. */
  readonly firstValues: Floats | undefined;
}

/** `x` [batch, time, dim] mixed along time. `values` are those of this layer before they are mixed with the first. */
export function timeMixer(
  parameters: TensorsOf<TimeMixerParameters>,
  x: Floats,
  { dim, headSize, weights, before, hidden, firstValues }: TimeMixerContext,
): { readonly output: Floats; readonly hidden: Floats; readonly firstValues: Floats } {
  const heads = (channelValues: Floats): Floats => toHeads(channelValues, dim / headSize);
  const step = sub(previous(x, before), x);
  const [xr, xw, xk, xv, xa, xg] = [0, 1, 2, 3, 4, 5].map((use): Floats => {
    const share: Floats = reshape(sliceAxis(parameters.shift, 0, use, use + 1), [dim]);
    return add(x, mul(step, share));
  });
  const r = heads(stackLinear(weights, parameters.receptance, xr));
  const decay = lowRank(parameters.decay, xw, tanh);
  const k = stackLinear(weights, parameters.key, xk);
  const own = stackLinear(weights, parameters.value, xv);
  const v = heads(firstValues === undefined ? own : towards(own, firstValues, parameters.firstValue!, xv));
  const a = sigmoid(lowRank(parameters.learningRate, xa));
  const gate = linear(parameters.gate.up, sigmoid(linear(parameters.gate.down, xg)));
  const kappa = unit(heads(mul(k, parameters.removal)));
  const written = mul(k, parameters.replacement);
  const key = heads(add(k, sub(mul(a, written), written)));
  const { output: read, state } = generalizedDeltaRule({
    q: r,
    k: key,
    v,
    logDecay: heads(mul(sigmoid(decay), -DECAY_LIMIT)),
    a: neg(kappa),
    b: mul(kappa, heads(a)),
    state: hidden,
  });
  const normed = headNorm(parameters.norm, read);
  const rho: Floats = reshape(parameters.bonus, [dim / headSize, headSize]);
  const bonus = mul(reduceSum(mul(mul(key, r), rho), [3], true) as Floats, v);
  const output = stackLinear(weights, parameters.output, mul(add(normed, fromHeads(bonus)), gate));
  return { output, hidden: state, firstValues: firstValues ?? own };
}

/** `x` [batch, time, dim] mixed along its channels; `before` is the last token of the call before, [batch, dim]. */
export function channelMixer(
  { shift, key, value }: TensorsOf<ChannelMixerParameters>,
  x: Floats,
  before: Floats | undefined,
  weights: WeightKind,
): Floats {
  const mixed = add(x, mul(sub(previous(x, before), x), shift));
  return stackLinear(weights, value, square(relu(stackLinear(weights, key, mixed))));
}

/** The last token of `x` [batch, time, dim]: [batch, dim]. */
export function lastToken(x: Floats): Floats {
  const [batch, time, dim] = x.shape;
  return reshape(sliceAxis(x, 1, time - 1, time), [batch, dim]);
}

/** The token before each of `x` [batch, time, dim]. */
function previous(x: Floats, before: Floats | undefined): Floats {
  const [batch, time, dim] = x.shape;
  const first: Floats =
    before === undefined ? splat(0, [batch, 1, dim] as readonly number[]) : reshape(before, [batch, 1, dim]);
  return time === 1 ? first : (concat([first, sliceAxis(x, 1, 0, time - 1) as Floats], 1) as Floats);
}

function lowRank(
  { offset, down, up }: TensorsOf<LowRankParameters>,
  x: Floats,
  between: (x: Floats) => Floats = (inner) => inner,
): Floats {
  return add(linear(up, between(linear(down, x))), offset);
}

/** The values, moved towards those of layer 0 by as much as the token says. */
function towards(own: Floats, first: Floats, share: TensorsOf<LowRankParameters>, xv: Floats): Floats {
  return add(own, mul(sub(first, own), sigmoid(lowRank(share, xv))));
}

/** Heads with vectors of length 1; one that is shorter than 1e-12 stays as short. */
function unit(x: Floats): Floats {
  return mul(x, rsqrt(max(reduceSum(square(x), [3], true) as Floats, 1e-24)));
}

/** LayerNorm of each head, with a gain and a bias a channel: [batch, time, heads, size] to [batch, time, dim]. */
function headNorm({ weight, bias }: TensorsOf<LayerNormParameters>, x: Floats): Floats {
  return add(mul(fromHeads(layerNorm(x, { epsilon: HEAD_NORM_EPSILON })), weight), bias);
}

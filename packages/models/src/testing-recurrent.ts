// What the tests of recurrent architectures share: the pieces of their equations as plain loops over float64 numbers,
// and the two things that all of them must do: decode to the logits of the whole sequence, from a state of one size.

import type { TensorType } from "@fidelity/core";
import { flattenTree, isTensorType } from "@fidelity/core";
import { invariant } from "@fidelity/units";
import type { Model } from "./model.ts";
import type { HostParameters } from "./testing.ts";
import { evaluateModel, largestError, randomParameters, randomTokens, startOf } from "./testing.ts";

export type Vector = number[];

/** Values of parameters below a path. */
export type Values = (name: string) => Float64Array;

export function valuesUnder(parameters: HostParameters, prefix: string): Values {
  return (name) => {
    const found = parameters.get(prefix + name);
    invariant(found !== undefined, `there is no parameter ${prefix}${name}`);
    return found.data;
  };
}

export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

export function silu(x: number): number {
  return x * sigmoid(x);
}

export function softplus(x: number): number {
  return Math.log1p(Math.exp(x));
}

/** The product of a row-major matrix and a vector. */
export function product(matrix: ArrayLike<number>, x: readonly number[]): Vector {
  const rows = matrix.length / x.length;
  return Array.from({ length: rows }, (_, row) =>
    x.reduce((sum, value, i) => sum + matrix[row * x.length + i] * value, 0),
  );
}

export function rms(x: readonly number[], epsilon: number, gain?: ArrayLike<number>): Vector {
  const meanSquare = x.reduce((sum, value) => sum + value * value, 0) / x.length;
  return x.map((value, i) => (value / Math.sqrt(meanSquare + epsilon)) * (gain?.[i] ?? 1));
}

export function layerNormOf(x: readonly number[], epsilon: number, gain?: ArrayLike<number>, bias?: ArrayLike<number>) {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  return rms(
    x.map((value) => value - mean),
    epsilon,
    gain,
  ).map((value, i) => value + (bias?.[i] ?? 0));
}

export function sum(...vectors: readonly (readonly number[])[]): Vector {
  return vectors[0].map((_, i) => vectors.reduce((total, vector) => total + vector[i], 0));
}

/** A causal convolution of each channel over the inputs so far, the newest last. */
export function convolve(inputs: readonly Vector[], weight: ArrayLike<number>, bias?: ArrayLike<number>): Vector {
  const size = weight.length / inputs[0].length;
  return inputs[0].map((_, channel) => {
    let total = bias?.[channel] ?? 0;
    for (let back = 0; back < size; back++) {
      const input = inputs[inputs.length - 1 - back];
      if (input !== undefined) total += input[channel] * weight[channel * size + size - 1 - back];
    }
    return total;
  });
}

/** W_d (SiLU(W_g x) W_u x). */
export function gatedUnit(values: Values, x: Vector): Vector {
  const up = product(values("up.weight"), x);
  return product(
    values("down.weight"),
    product(values("gate.weight"), x).map((gate, i) => silu(gate) * up[i]),
  );
}

/** A mixture of experts, one token. */
function loopExperts(model: Model, values: Values, x: Vector): Vector {
  const { expertCount, expertsPerToken, dim, expertDim } = model.config as Record<string, number>;
  const scores = product(values("routed.router.weight"), x).map(Math.exp);
  const chosen = scores
    .map((_, i) => i)
    .sort((a, b) => scores[b] - scores[a])
    .slice(0, expertsPerToken);
  const among = model.config.normalisedExperts === true ? chosen : Array.from({ length: expertCount }, (_, i) => i);
  const total = among.reduce((sum, i) => sum + scores[i], 0);
  const size = dim * expertDim;
  const outputs = chosen.map((expert) =>
    gatedUnit((name) => values(`routed.${name}`).subarray(expert * size, (expert + 1) * size), x).map(
      (value) => (value * scores[expert]) / total,
    ),
  );
  if (model.config.sharedExpertDim === 0) return sum(...outputs);
  const gate = model.config.sharedExpertGate === true ? sigmoid(product(values("sharedGate.weight"), x)[0]) : 1;
  return sum(
    ...outputs,
    gatedUnit((name) => values(`shared.${name}`), x).map((value) => gate * value),
  );
}

/** A mixer of one layer: called for one token after the other. */
export type LoopMixer = (x: Vector, position: number) => Vector;

/** The logits of a stack (residual_stack.ts) written as loops; `mixerOf` starts the mixer of a layer. */
export function stackLogits(
  model: Model,
  parameters: HostParameters,
  tokens: readonly number[],
  mixerOf: (layer: number, values: Values) => LoopMixer,
): number[] {
  const { dim, layerCount, vocabSize, normEpsilon, hiddenDim, residualScale, embeddingScale, logitScale } =
    model.config as Record<string, number>;
  const all = valuesUnder(parameters, "");
  const layers = Array.from({ length: layerCount }, (_, layer) => layer);
  const mixers = layers.map((layer) => mixerOf(layer, valuesUnder(parameters, `blocks.${layer}.mixer.`)));
  return tokens.flatMap((token, position) => {
    let x: Vector = Array.from(
      all("embedding.weight").subarray(token * dim, (token + 1) * dim),
      (v) => v * embeddingScale,
    );
    for (const layer of layers) {
      const values = valuesUnder(parameters, `blocks.${layer}.`);
      const mixed = mixers[layer](rms(x, normEpsilon, values("mixerNorm.weight")), position);
      x = x.map((value, i) => value + residualScale * mixed[i]);
      if (hiddenDim === 0) continue;
      const normed = rms(x, normEpsilon, values("channelNorm.weight"));
      const isMixture = parameters.has(`blocks.${layer}.experts.routed.router.weight`);
      const changed = isMixture
        ? loopExperts(model, valuesUnder(parameters, `blocks.${layer}.experts.`), normed)
        : gatedUnit(valuesUnder(parameters, `blocks.${layer}.channel.`), normed);
      x = x.map((value, i) => value + residualScale * changed[i]);
    }
    const head = parameters.has("head.weight") ? all("head.weight") : all("embedding.weight");
    const logits = product(head, rms(x, normEpsilon, all("finalNorm.weight")));
    invariant(logits.length === vocabSize, "a logit for each token");
    return logits.map((logit) => logit * logitScale);
  });
}

/** The logits of a model for a few random tokens are those of `expected`. */
export function assertEquations(
  model: Model,
  expected: (parameters: HostParameters, tokens: readonly number[]) => number[],
): void {
  const parameters = randomParameters(model, 3);
  const tokens = randomTokens(model, 2, 7, 1);
  const { logits } = evaluateModel(model, parameters, tokens);
  const error = largestError(
    tokens.flatMap((row) => expected(parameters, row)),
    logits,
  );
  invariant(error < 1e-9, `${error} from the equations`);
}

/** Tokens one by one, and in pieces of 3 and 4, give the logits and the state of the whole sequence. */
export function assertDecodes(model: Model): void {
  const parameters = randomParameters(model, 4);
  const tokens = randomTokens(model, 2, 7, 2);
  const pieces = (lengths: readonly number[]): void => {
    const whole = evaluateModel(model, parameters, tokens, startOf(model, 2, 8));
    let past = startOf(model, 2, 8);
    const decoded: number[][] = [[], []];
    for (const length of lengths) {
      const at = past.position;
      const step = evaluateModel(
        model,
        parameters,
        tokens.map((row) => row.slice(at, at + length)),
        past,
      );
      const size = length * model.vocabSize;
      decoded.forEach((row, i) => row.push(...step.logits.subarray(i * size, (i + 1) * size)));
      past = step.past;
    }
    const agree = (expected: ArrayLike<number>, got: ArrayLike<number>, what: string): void =>
      invariant(largestError(expected, got) < 1e-9, `${what} in pieces of ${lengths.join(", ")}`);
    agree(whole.logits, decoded.flat(), "logits");
    whole.past.state.forEach((tensor, i) => agree(tensor.data, past.state[i].data, `state ${i}`));
    const fresh = evaluateModel(model, parameters, tokens);
    agree(fresh.logits, whole.logits, "logits without a past, which are those of a state of zeros,");
  };
  pieces([1, 1, 1, 1, 1, 1, 1]);
  pieces([3, 4]);
}

/** The state has one size, whatever the capacity. */
export function assertConstantState(model: Model): void {
  const types = (capacity: number): TensorType[] =>
    flattenTree(model.stateTypes({ batch: 2, capacity }), isTensorType).map(({ leaf }) => leaf);
  const same = JSON.stringify(types(1)) === JSON.stringify(types(100_000));
  invariant(same && model.contextLimit === null, "the state does not grow");
}

/** Rotates the pairs (2i, 2i + 1) of the first `size` channels by position / theta^(2i / size). */
export function rotate(x: readonly number[], position: number, theta: number, size: number): Vector {
  const turned = [...x];
  for (let pair = 0; pair < size / 2; pair++) {
    const angle = position * theta ** ((-2 * pair) / size);
    const [a, b] = [x[2 * pair], x[2 * pair + 1]];
    turned[2 * pair] = a * Math.cos(angle) - b * Math.sin(angle);
    turned[2 * pair + 1] = a * Math.sin(angle) + b * Math.cos(angle);
  }
  return turned;
}

/** Attention of the layers of hybrids, for one layer. */
export function loopAttention(model: Model, values: Values): LoopMixer {
  const config = model.config as Record<string, number>;
  const { attentionHeadCount: heads, attentionKeyValueHeadCount: keyHeads, attentionHeadSize: size } = config;
  const { ropeSize, ropeTheta, attentionScale, normEpsilon } = config;
  const cache: { readonly keys: Vector[]; readonly values: Vector[] } = { keys: [], values: [] };
  const head = (x: Vector, index: number): Vector => x.slice(index * size, (index + 1) * size);
  const prepared = (x: Vector, name: string, position: number, count: number): Vector =>
    Array.from({ length: count }, (_, index) => {
      const own = head(x, index);
      const normed = model.config.attentionNorm === true ? rms(own, normEpsilon, values(`${name}Norm.weight`)) : own;
      return rotate(normed, position, ropeTheta, ropeSize);
    }).flat();
  return (x, position) => {
    const asked = product(values("query.weight"), x);
    const isGated = model.config.attentionGate === true;
    const own = isGated ? asked.filter((_, i) => i % (2 * size) < size) : asked;
    const query = prepared(own, "query", position, heads);
    cache.keys.push(prepared(product(values("key.weight"), x), "key", position, keyHeads));
    cache.values.push(product(values("value.weight"), x));
    const attended = Array.from({ length: heads }, (_, index) => {
      const at = Math.floor(index / (heads / keyHeads));
      const q = head(query, index);
      const scores = cache.keys.map((key) => Math.exp(attentionScale * product(head(key, at), q)[0]));
      const total = scores.reduce((a, b) => a + b, 0);
      return q.map((_, i) => scores.reduce((sum, s, t) => sum + (s / total) * head(cache.values[t], at)[i], 0));
    }).flat();
    const gates = isGated ? asked.filter((_, i) => i % (2 * size) >= size).map(sigmoid) : undefined;
    return product(
      values("output.weight"),
      attended.map((value, i) => value * (gates?.[i] ?? 1)),
    );
  };
}

/** A matrix state [values][keys] of zeros. */
export function zeroState(valueSize: number, keySize: number): number[][] {
  return Array.from({ length: valueSize }, () => new Array<number>(keySize).fill(0));
}

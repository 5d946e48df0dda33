import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelConfigError } from "./config.ts";
import type { Model } from "./model.ts";
import { createRwkv7 } from "./rwkv7.ts";
import type { HostParameters } from "./testing.ts";
import type { Values, Vector } from "./testing-recurrent.ts";
import {
  assertConstantState,
  assertDecodes,
  assertEquations,
  layerNormOf,
  product,
  sigmoid,
  sum,
  valuesUnder,
  zeroState,
} from "./testing-recurrent.ts";

const config = {
  architecture: "rwkv7",
  dim: 8,
  hiddenDim: 10,
  layerCount: 3,
  vocabSize: 9,
  headSize: 4,
  decayRank: 2,
  learningRateRank: 3,
  valueRank: 2,
  gateRank: 5,
};

/** Section 4 of arXiv 2503.14456 and its appendix with code, one row of tokens: [time x vocabulary]. */
function reference(model: Model, parameters: HostParameters, tokens: readonly number[]): number[] {
  const { dim, layerCount } = config;
  const all = valuesUnder(parameters, "");
  const layers = Array.from({ length: layerCount }, (_, layer) => {
    const values = valuesUnder(parameters, `blocks.${layer}.`);
    return { values, time: loopTimeMixer(values), channel: loopChannelMixer(values) };
  });
  return tokens.flatMap((token) => {
    const embedded = Array.from(all("embedding.weight").subarray(token * dim, (token + 1) * dim));
    let x = layerNormOf(embedded, 1e-5, all("embeddingNorm.weight"), all("embeddingNorm.bias"));
    let firstValues: Vector | undefined;
    for (const { values, time, channel } of layers) {
      const mixed = time(layerNormOf(x, 1e-5, values("timeNorm.weight"), values("timeNorm.bias")), firstValues);
      firstValues ??= mixed.values;
      x = sum(x, mixed.output);
      x = sum(x, channel(layerNormOf(x, 1e-5, values("channelNorm.weight"), values("channelNorm.bias"))));
    }
    return product(all("head.weight"), layerNormOf(x, 1e-5, all("finalNorm.weight"), all("finalNorm.bias")));
  });
}

type LoopTimeMixer = (x: Vector, first: Vector | undefined) => { readonly output: Vector; readonly values: Vector };

function loopTimeMixer(block: Values): LoopTimeMixer {
  const { dim, headSize } = config;
  const values: Values = (name) => block(`time.${name}`);
  let before: Vector = new Array<number>(dim).fill(0);
  const states = Array.from({ length: dim / headSize }, () => zeroState(headSize, headSize));
  const low = (name: string, x: Vector, between: (v: number) => number = (v) => v): Vector => {
    const inner = product(values(`${name}.down.weight`), x).map(between);
    return product(values(`${name}.up.weight`), inner).map((v, i) => v + values(`${name}.offset`)[i]);
  };
  return (x, first) => {
    const shifted = Array.from({ length: 6 }, (_, use) =>
      x.map((value, i) => value + (before[i] - value) * values("shift")[use * dim + i]),
    );
    before = x;
    const [xr, xw, xk, xv, xa, xg] = shifted;
    const r = product(values("receptance.weight"), xr);
    const w = low("decay", xw, Math.tanh).map((value) => Math.exp(-0.606531 * sigmoid(value)));
    const k = product(values("key.weight"), xk);
    const own = product(values("value.weight"), xv);
    const share = first && low("firstValue", xv).map(sigmoid);
    const v = own.map((value, i) => (first && share ? value + (first[i] - value) * share[i] : value));
    const a = low("learningRate", xa).map(sigmoid);
    const inner = product(values("gate.down.weight"), xg).map(sigmoid);
    const gate = product(values("gate.up.weight"), inner);
    const key = k.map((value, i) => value * (1 + (a[i] - 1) * values("replacement")[i]));
    const y: Vector = [];
    states.forEach((state, head) => {
      const at = head * headSize;
      const of = (vector: Vector): Vector => vector.slice(at, at + headSize);
      const removed = of(k.map((value, i) => value * values("removal")[i]));
      const length = Math.hypot(...removed);
      const kappa = removed.map((value) => value / length);
      const read = state.map((row, i) => {
        const held = product(row, kappa)[0];
        state[i] = row.map((s, j) => s * w[at + j] - held * kappa[j] * a[at + j] + v[at + i] * key[at + j]);
        return product(state[i], of(r))[0];
      });
      const normed = layerNormOf(read, 64e-5, values("norm.weight").subarray(at), values("norm.bias").subarray(at));
      const bonus = of(r).reduce((total, value, j) => total + value * key[at + j] * values("bonus")[at + j], 0);
      y.push(...normed.map((value, i) => (value + bonus * v[at + i]) * gate[at + i]));
    });
    return { output: product(values("output.weight"), y), values: own };
  };
}

function loopChannelMixer(block: Values): (x: Vector) => Vector {
  let before: Vector = new Array<number>(config.dim).fill(0);
  return (x) => {
    const mixed = x.map((value, i) => value + (before[i] - value) * block("channel.shift")[i]);
    before = x;
    const inner = product(block("channel.key.weight"), mixed).map((value) => Math.max(value, 0) ** 2);
    return product(block("channel.value.weight"), inner);
  };
}

test("logits are those of the equations written as loops", () => {
  const model = createRwkv7(config);
  assertEquations(model, (parameters, tokens) => reference(model, parameters, tokens));
});

test("decoding in pieces of any length gives the logits and the state of the whole sequence", () => {
  assertDecodes(createRwkv7(config));
  assertDecodes(createRwkv7({ ...config, weights: "ternary" }));
});

test("the state has one size", () => {
  assertConstantState(createRwkv7(config));
});

test("heads that do not fit are refused, and ranks follow the width", () => {
  assert.throws(() => createRwkv7({ ...config, headSize: 3 }), ModelConfigError);
  const { decayRank, learningRateRank, valueRank, gateRank } = createRwkv7({
    architecture: "rwkv7",
    dim: 768,
    layerCount: 1,
    vocabSize: 9,
  }).config;
  assert.deepEqual([decayRank, learningRateRank, valueRank, gateRank], [64, 64, 32, 128]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { createLlama } from "./llama.ts";
import type { HostParameters } from "./testing.ts";
import { evaluateModel, largestError, randomParameters, randomTokens, startOf } from "./testing.ts";

const config = {
  architecture: "llama",
  dim: 12,
  hiddenDim: 16,
  layerCount: 2,
  headCount: 3,
  keyValueHeadCount: 1,
  vocabSize: 11,
  contextLength: 16,
} as const;

test("logits are those of the transformer's equations written as loops", () => {
  for (const tiedEmbeddings of [false, true]) {
    for (const ropePairing of ["adjacent", "halves"] as const) {
      const model = createLlama({ ...config, tiedEmbeddings, ropePairing, ropeTheta: 300 });
      const parameters = randomParameters(model, 3);
      const tokens = randomTokens(model, 2, 6, 1);
      const { logits } = evaluateModel(model, parameters, tokens);
      const expected = tokens.flatMap((row) => reference(parameters, row, ropePairing));
      assert.ok(largestError(expected, logits) < 1e-9);
    }
  }
});

test("decoding token by token over a cache gives the logits of the whole sequence", () => {
  const model = createLlama(config);
  const parameters = randomParameters(model, 4);
  const tokens = randomTokens(model, 1, 9, 2);
  const whole = evaluateModel(model, parameters, tokens);
  let past = startOf(model, 1, 12);
  const decoded: number[] = [];
  for (const token of tokens[0]) {
    const step = evaluateModel(model, parameters, [[token]], past);
    decoded.push(...step.logits);
    past = step.past;
  }
  assert.ok(largestError(whole.logits, decoded) < 1e-9);
  // The cache holds what the whole sequence gave, and room behind it.
  whole.past.state.forEach((tensor, i) => {
    assert.ok(largestError(tensor.data, past.state[i].data.subarray(0, tensor.data.length)) < 1e-9);
  });
});

test("a prompt in two pieces over a cache gives the logits of the whole sequence", () => {
  const model = createLlama(config);
  const parameters = randomParameters(model, 5);
  const tokens = randomTokens(model, 1, 10, 3);
  const whole = evaluateModel(model, parameters, tokens);
  const first = evaluateModel(model, parameters, [tokens[0].slice(0, 4)], startOf(model, 1, 10));
  const rest = evaluateModel(model, parameters, [tokens[0].slice(4)], first.past);
  assert.ok(largestError(whole.logits, [...first.logits, ...rest.logits]) < 1e-9);
});

test("the cache is one key and one value vector a layer, token and key head", () => {
  const cache = { dtype: "f32", shape: [2, 7, 1, 4] };
  const block = { keys: cache, values: cache };
  assert.deepEqual(createLlama(config).stateTypes({ batch: 2, capacity: 7 }), { blocks: [block, block] });
  assert.equal(createLlama(config).contextLimit, 16);
});

/** One row of tokens through the model of llama2.c's run.c, [time x vocabulary]. */
function reference(parameters: HostParameters, tokens: readonly number[], pairing: "adjacent" | "halves"): number[] {
  const { dim, hiddenDim, layerCount, headCount, keyValueHeadCount, vocabSize } = config;
  const size = dim / headCount;
  const value = (name: string): Float64Array => parameters.get(name)!.data;
  const caches = Array.from({ length: layerCount }, () => ({ keys: [] as number[][], values: [] as number[][] }));
  const logits: number[] = [];
  for (const [position, token] of tokens.entries()) {
    let x = Array.from(value("embedding.weight").subarray(token * dim, (token + 1) * dim));
    for (let layer = 0; layer < layerCount; layer++) {
      const weight = (name: string): Float64Array => value(`blocks.${layer}.${name}.weight`);
      const { keys, values } = caches[layer];
      const normed = rms(x, weight("attentionNorm"));
      const query = turn(product(normed, weight("attention.query"), dim), position, size, pairing);
      keys.push(turn(product(normed, weight("attention.key"), keyValueHeadCount * size), position, size, pairing));
      values.push(product(normed, weight("attention.value"), keyValueHeadCount * size));
      const mixed = new Array<number>(dim).fill(0);
      for (let head = 0; head < headCount; head++) {
        const shared = Math.floor(head / (headCount / keyValueHeadCount)) * size;
        const scores = keys.map((key) => {
          let sum = 0;
          for (let i = 0; i < size; i++) sum += query[head * size + i] * key[shared + i];
          return Math.exp(sum / Math.sqrt(size));
        });
        const total = scores.reduce((sum, score) => sum + score, 0);
        values.forEach((row, t) => {
          for (let i = 0; i < size; i++) mixed[head * size + i] += (scores[t] / total) * row[shared + i];
        });
      }
      const output = product(mixed, weight("attention.output"), dim);
      x = x.map((value, i) => value + output[i]);
      const channels = rms(x, weight("feedForwardNorm"));
      const up = product(channels, weight("feedForward.up"), hiddenDim);
      const gated = product(channels, weight("feedForward.gate"), hiddenDim).map(
        (g, i) => (g / (1 + Math.exp(-g))) * up[i],
      );
      const down = product(gated, weight("feedForward.down"), dim);
      x = x.map((value, i) => value + down[i]);
    }
    const head = parameters.has("head.weight") ? "head.weight" : "embedding.weight";
    logits.push(...product(rms(x, value("finalNorm.weight")), value(head), vocabSize));
  }
  return logits;
}

function product(x: readonly number[], weight: Float64Array, outputs: number): number[] {
  return Array.from({ length: outputs }, (_, o) =>
    x.reduce((sum, value, i) => sum + value * weight[o * x.length + i], 0),
  );
}

function rms(x: readonly number[], gain: Float64Array): number[] {
  const meanSquare = x.reduce((sum, value) => sum + value * value, 0) / x.length;
  return x.map((value, i) => (value / Math.sqrt(meanSquare + 1e-5)) * gain[i]);
}

/** Every head of `x` with its pairs turned for `position`. */
function turn(x: readonly number[], position: number, size: number, pairing: "adjacent" | "halves"): number[] {
  const y = [...x];
  for (let head = 0; head < x.length; head += size) {
    for (let pair = 0; pair < size / 2; pair++) {
      const a = head + (pairing === "adjacent" ? 2 * pair : pair);
      const b = pairing === "adjacent" ? a + 1 : a + size / 2;
      const angle = position / 300 ** ((2 * pair) / size);
      y[a] = x[a] * Math.cos(angle) - x[b] * Math.sin(angle);
      y[b] = x[a] * Math.sin(angle) + x[b] * Math.cos(angle);
    }
  }
  return y;
}

import assert from "node:assert/strict";
import { test } from "node:test";
import { orthogonalDirections } from "./blocks/linear_attention.ts";
import { createLlama } from "./llama.ts";
import { RandomStream } from "./random.ts";
import type { DecoderReference } from "./testing-transformer.node.ts";
import { dot, silu, softmaxSimilarity, testDecoder, usualFrequency } from "./testing-transformer.node.ts";
import { evaluateModel, largestError, randomParameters, randomTokens, startOf } from "./testing.ts";

const sizes = {
  dim: 12,
  hiddenDim: 16,
  layerCount: 2,
  headCount: 3,
  keyValueHeadCount: 1,
  headDim: 4,
  vocabSize: 11,
} as const;
const config = { architecture: "llama", ...sizes, contextLength: 16, ropeTheta: 300 } as const;
const reference: DecoderReference = {
  ...sizes,
  epsilon: 1e-5,
  activation: silu,
  frequency: usualFrequency(300, 4),
  pairing: "adjacent",
  similarity: softmaxSimilarity(0.5),
};

for (const ropePairing of ["adjacent", "halves"] as const) {
  const model = createLlama({ ...config, tiedEmbeddings: ropePairing === "halves", ropePairing });
  testDecoder(`pairs in ${ropePairing}`, model, { ...reference, pairing: ropePairing });
}

testDecoder(
  "biases and heads of their own size",
  createLlama({ ...config, headDim: 6, queryKeyValueBias: true, outputBias: true, feedForwardBias: true }),
  { ...reference, headDim: 6, frequency: usualFrequency(300, 6), similarity: softmaxSimilarity(6 ** -0.5) },
);

testDecoder("Llama 3.1's factors", createLlama({ ...config, ropeFactors: [1, 8] }), {
  ...reference,
  frequency: (layer, pair) => reference.frequency(layer, pair) / [1, 8][pair],
});

testDecoder("linear scaling", createLlama({ ...config, ropeScaling: "linear", ropeScalingFactor: 4 }), {
  ...reference,
  frequency: (layer, pair) => reference.frequency(layer, pair) / 4,
});

// With 3 and 0.5 turns over 100 tokens as limits pair 0 of theta 300 is fast, pairs 2 and up are slow, and 1 is between.
testDecoder(
  "YaRN",
  createLlama({
    ...config,
    headDim: 8,
    ropeScaling: "yarn",
    ropeScalingFactor: 4,
    ropeOriginalContext: 100,
    ropeFastTurns: 3,
    ropeSlowTurns: 0.5,
    ropeMagnitude: 0.7,
  }),
  {
    ...reference,
    headDim: 8,
    frequency(_layer, pair) {
      const pairOf = (turns: number): number => (8 * Math.log(100 / (turns * 2 * Math.PI))) / (2 * Math.log(300));
      const [low, high] = [Math.floor(pairOf(3)), Math.ceil(pairOf(0.5))];
      const slowness = Math.min(1, Math.max(0, (pair - low) / (high - low)));
      return 300 ** ((-2 * pair) / 8) * (1 - slowness + slowness / 4);
    },
    magnitude: 0.7 * (1 + 0.1 * Math.log(4)),
    similarity: softmaxSimilarity(8 ** -0.5),
  },
);

testDecoder("a sliding window", createLlama({ ...config, attention: "window", window: 3 }), {
  ...reference,
  window: () => 3,
});

const elu = (x: readonly number[]): number[] => x.map((value) => (value > 0 ? value + 1 : Math.exp(value)));
testDecoder("linear attention", createLlama({ ...config, attention: "linear" }), {
  ...reference,
  similarity: (query, key) => dot(elu(query), elu(key)),
});

testDecoder("a Performer", createLlama({ ...config, attention: "performer", featureCount: 10, featureSeed: 5 }), {
  ...reference,
  similarity: performerSimilarity(10, 5),
});

/** The products of positive random features: exp(w . x' - |x'|^2 / 2) of query and key, summed over the rows w. */
function performerSimilarity(count: number, seed: number): DecoderReference["similarity"] {
  const rows = orthogonalDirections(4, count, seed);
  const features = (x: readonly number[]): number[] => {
    const scaled = x.map((value) => value / 4 ** 0.25);
    return Array.from({ length: count }, (_, i) =>
      Math.exp(dot(scaled, [...rows.subarray(4 * i, 4 * i + 4)]) - dot(scaled, scaled) / 2),
    );
  };
  return (query, key) => dot(features(query), features(key));
}

test("the mean of many random features comes near to the similarity of softmax", () => {
  const count = 20_000;
  const [similarity, softmax] = [performerSimilarity(count, 3), softmaxSimilarity(0.5)];
  const stream = new RandomStream(2);
  const vector = (): number[] => {
    const values = new Float64Array(4);
    stream.fillNormal(values, 0, 0.7);
    return [...values];
  };
  for (let i = 0; i < 5; i++) {
    const [query, key] = [vector(), vector()];
    const ratio = similarity(query, key) / count / softmax(query, key);
    assert.ok(Math.abs(ratio - 1) < 0.05, `${ratio}`);
  }
});

test("directions are orthogonal in blocks of the head size", () => {
  const [size, count] = [6, 14];
  const rows = orthogonalDirections(size, count, 1);
  const row = (i: number): number[] => [...rows.subarray(i * size, (i + 1) * size)];
  for (let i = 0; i < count; i++) {
    for (let j = i - (i % size); j < i; j++) assert.ok(Math.abs(dot(row(i), row(j))) < 1e-12);
    assert.ok(dot(row(i), row(i)) > 0.1);
  }
});

test("a cache is one key and one value vector a layer, token and key head", () => {
  const cache = { dtype: "f32", shape: [2, 7, 1, 4] };
  const block = { keys: cache, values: cache };
  assert.deepEqual(createLlama(config).stateTypes({ batch: 2, capacity: 7 }), { blocks: [block, block] });
  assert.equal(createLlama(config).contextLimit, 16);
  const model = createLlama(config);
  const parameters = randomParameters(model, 4);
  const tokens = randomTokens(model, 1, 9, 2);
  const whole = evaluateModel(model, parameters, tokens);
  const { past } = evaluateModel(model, parameters, tokens, startOf(model, 1, 12));
  whole.past.state.forEach((tensor, i) => {
    assert.ok(largestError(tensor.data, past.state[i].data.subarray(0, tensor.data.length)) < 1e-9);
  });
});

test("the state of linear attention does not grow, and its context has no limit", () => {
  const model = createLlama({ ...config, attention: "performer", featureCount: 10 });
  const block = { sums: { dtype: "f32", shape: [2, 3, 5, 10] } };
  assert.deepEqual(model.stateTypes({ batch: 2, capacity: 1000 }), { blocks: [block, block] });
  assert.equal(model.contextLimit, null);
});

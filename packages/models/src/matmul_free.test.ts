import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelConfigError } from "./config.ts";
import { createMatmulFree } from "./matmul_free.ts";
import type { HostParameters } from "./testing.ts";
import { evaluateModel, largestError, packedParameters, randomParameters, randomTokens, startOf } from "./testing.ts";

const config = { architecture: "matmul-free", dim: 12, hiddenDim: 20, layerCount: 3, vocabSize: 11 };

test("logits are those of the paper's equations written as loops", () => {
  for (const tiedEmbeddings of [false, true]) {
    const model = createMatmulFree({ ...config, tiedEmbeddings });
    const parameters = randomParameters(model, 3);
    const tokens = randomTokens(model, 2, 6, 1);
    const { logits } = evaluateModel(model, parameters, tokens);
    const expected = tokens.flatMap((row) => reference(parameters, row));
    assert.ok(largestError(expected, logits) < 1e-9);
  }
});

test("the form of the released files has gains in every projection, one matrix for gate and up, and a ternary head", () => {
  const model = createMatmulFree({ ...config, form: "released", projectionEpsilon: 1e-6 });
  const parameters = randomParameters(model, 3);
  assert.ok(parameters.has("blocks.1.channel.gate.norm.weight") && !parameters.has("blocks.1.channel.up.weight"));
  const tokens = randomTokens(model, 2, 6, 1);
  const { logits } = evaluateModel(model, parameters, tokens);
  const expected = tokens.flatMap((row) => reference(parameters, row, 1e-6));
  assert.ok(largestError(expected, logits) < 1e-9);
  const packed = packedParameters(model, parameters);
  assert.equal(packed.get("ternaryHead.weight")!.type.dtype, "ternary");
  assert.deepEqual(evaluateModel(model, packed, tokens).logits, logits);
  assert.throws(() => createMatmulFree({ ...config, form: "released", tiedEmbeddings: true }), ModelConfigError);
});

test("with dense weights it is the same model without norms and quantisation inside the projections", () => {
  const model = createMatmulFree({ ...config, weights: "dense" });
  const parameters = randomParameters(model, 3);
  const tokens = randomTokens(model, 2, 6, 1);
  const { logits } = evaluateModel(model, parameters, tokens);
  const expected = tokens.flatMap((row) => reference(parameters, row, "dense"));
  assert.ok(largestError(expected, logits) < 1e-9);
  assert.equal(packedParameters(model, parameters).get("blocks.0.mixer.forget.weight")!.type.dtype, "f32");
  assert.throws(() => createMatmulFree({ ...config, form: "released", weights: "dense" }), ModelConfigError);
  assert.equal(createMatmulFree(config).config.weights, undefined, "files of older versions stay as they are");
});

test("decoding token by token gives the logits of the whole sequence", () => {
  const model = createMatmulFree(config);
  const parameters = randomParameters(model, 4);
  const tokens = randomTokens(model, 1, 9, 2);
  const whole = evaluateModel(model, parameters, tokens);
  let past = startOf(model, 1, 1);
  const decoded: number[] = [];
  for (const token of tokens[0]) {
    const step = evaluateModel(model, parameters, [[token]], past);
    decoded.push(...step.logits);
    past = step.past;
  }
  assert.ok(largestError(whole.logits, decoded) < 1e-9);
  whole.past.state.forEach((tensor, i) => assert.ok(largestError(tensor.data, past.state[i].data) < 1e-9));
});

test("a sequence in pieces of any length ends in the same state and logits", () => {
  const model = createMatmulFree(config);
  const parameters = randomParameters(model, 5);
  const tokens = randomTokens(model, 2, 8, 3);
  const whole = evaluateModel(model, parameters, tokens);
  const first = evaluateModel(
    model,
    parameters,
    tokens.map((row) => row.slice(0, 5)),
  );
  const rest = evaluateModel(
    model,
    parameters,
    tokens.map((row) => row.slice(5)),
    first.past,
  );
  assert.equal(rest.past.position, 8);
  const vocabSize = model.vocabSize;
  for (const row of [0, 1]) {
    const expected = whole.logits.subarray((row * 8 + 5) * vocabSize, (row + 1) * 8 * vocabSize);
    assert.ok(largestError(expected, rest.logits.subarray(row * 3 * vocabSize, (row + 1) * 3 * vocabSize)) < 1e-9);
  }
});

test("packed weights give the logits of the training graph, bit for bit", () => {
  const model = createMatmulFree(config);
  const parameters = randomParameters(model, 6);
  const tokens = randomTokens(model, 2, 5, 4);
  const packed = packedParameters(model, parameters);
  assert.equal(packed.get("blocks.0.mixer.forget.weight")!.type.dtype, "ternary");
  assert.deepEqual(evaluateModel(model, packed, tokens).logits, evaluateModel(model, parameters, tokens).logits);
});

test("the state is one vector a layer, whatever the capacity", () => {
  const model = createMatmulFree(config);
  const short = model.stateTypes({ batch: 2, capacity: 1 });
  assert.deepEqual(short, model.stateTypes({ batch: 2, capacity: 100_000 }));
  const hidden = { dtype: "f32", shape: [2, 12] };
  assert.deepEqual(short, { blocks: [{ hidden }, { hidden }, { hidden }] });
  assert.equal(model.contextLimit, null);
});

test("the channel mixer's width is 8 dim / 3 rounded up to a multiple of 256", () => {
  const width = (dim: number): unknown => createMatmulFree({ ...config, hiddenDim: undefined, dim }).config.hiddenDim;
  assert.deepEqual([96, 97, 128, 256, 2048].map(width), [256, 512, 512, 768, 5632]);
});

/** arXiv 2406.02528 with the details of its released code: one row of tokens, [time x vocabulary]. */
function reference(parameters: HostParameters, tokens: readonly number[], epsilon: number | "dense" = 1e-8): number[] {
  const { dim, hiddenDim, layerCount, vocabSize } = config;
  const value = (name: string): Float64Array => parameters.get(name)!.data;
  const project = (x: readonly number[], name: string, outputs: number): number[] => {
    const weight = value(`${name}.weight`);
    if (epsilon !== "dense")
      return bitLinear(rms(x, epsilon, parameters.get(`${name}.norm.weight`)?.data), weight, outputs);
    return Array.from({ length: outputs }, (_, row) =>
      x.reduce((sum, v, i) => sum + v * weight[row * x.length + i], 0),
    );
  };
  const hidden = Array.from({ length: layerCount }, () => new Array<number>(dim).fill(0));
  const logits: number[] = [];
  for (const token of tokens) {
    let x = Array.from(value("embedding.weight").subarray(token * dim, (token + 1) * dim));
    for (let layer = 0; layer < layerCount; layer++) {
      const weight = (name: string): Float64Array => value(`blocks.${layer}.${name}.weight`);
      const normed = rms(x, 1e-6, weight("mixerNorm"));
      const block = `blocks.${layer}`;
      const forget = project(normed, `${block}.mixer.forget`, dim).map(sigmoid);
      const candidate = project(normed, `${block}.mixer.candidate`, dim).map(silu);
      const gate = rms(project(normed, `${block}.mixer.gate`, dim), 1e-6, weight("mixer.gateNorm"));
      const mixed: number[] = [];
      for (let channel = 0; channel < dim; channel++) {
        const lower = lowerBound(value("lowerBounds"), layer, channel);
        const f = lower + (1 - lower) * forget[channel];
        hidden[layer][channel] = f * hidden[layer][channel] + (1 - f) * candidate[channel];
        mixed.push(gate[channel] * silu(hidden[layer][channel]));
      }
      const output = project(mixed, `${block}.mixer.output`, dim);
      x = x.map((value, i) => value + output[i]);
      const channels = rms(x, 1e-6, weight("channelNorm"));
      const both = parameters.has(`${block}.channel.up.weight`)
        ? ["gate", "up"].flatMap((name) => project(channels, `${block}.channel.${name}`, hiddenDim))
        : project(channels, `${block}.channel.gate`, 2 * hiddenDim);
      const product = both.slice(0, hiddenDim).map((g, i) => silu(g) * both[hiddenDim + i]);
      const down = project(product, `${block}.channel.down`, dim);
      x = x.map((value, i) => value + down[i]);
    }
    const final = rms(x, 1e-6, value("finalNorm.weight"));
    if (parameters.has("ternaryHead.weight")) {
      logits.push(...project(final, "ternaryHead", vocabSize));
      continue;
    }
    const head = parameters.has("head.weight") ? value("head.weight") : value("embedding.weight");
    for (let v = 0; v < vocabSize; v++) logits.push(final.reduce((sum, x, i) => sum + x * head[v * dim + i], 0));
  }
  return logits;
}

/** cumsum(softmax(bounds, dim=0), dim=0) - softmax(bounds, dim=0)[0], as in modeling_hgrn_bit.py. */
function lowerBound(bounds: Float64Array, layer: number, channel: number): number {
  const weights = Array.from({ length: config.layerCount }, (_, l) => Math.exp(bounds[l * config.dim + channel]));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let sum = 0;
  for (let l = 0; l <= layer; l++) sum += weights[l] / total;
  return sum - weights[0] / total;
}

/** The ternary product of a normalised input. */
function bitLinear(normed: readonly number[], weight: Float64Array, outputs: number): number[] {
  const scale = 127 / Math.max(...normed.map(Math.abs), 1e-5);
  const codes = normed.map((value) => Math.min(127, Math.max(-128, roundHalfEven(value * scale))));
  const weightScale = weight.reduce((sum, value) => sum + Math.abs(value), 0) / weight.length;
  const y: number[] = [];
  for (let o = 0; o < outputs; o++) {
    let sum = 0;
    for (let i = 0; i < normed.length; i++) {
      sum += codes[i] * Math.min(1, Math.max(-1, roundHalfEven(weight[o * normed.length + i] / weightScale)));
    }
    y.push((sum * weightScale) / scale);
  }
  return y;
}

function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

function rms(x: readonly number[], epsilon: number, gain?: Float64Array): number[] {
  const meanSquare = x.reduce((sum, value) => sum + value * value, 0) / x.length;
  return x.map((value, i) => (value / Math.sqrt(meanSquare + epsilon)) * (gain?.[i] ?? 1));
}

function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

function silu(x: number): number {
  return x * sigmoid(x);
}

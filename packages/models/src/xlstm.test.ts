import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelConfigError } from "./config.ts";
import type { Model } from "./model.ts";
import type { LoopMixer, Values, Vector } from "./testing-recurrent.ts";
import {
  assertConstantState,
  assertDecodes,
  assertEquations,
  product,
  rms,
  sigmoid,
  stackLogits,
  zeroState,
} from "./testing-recurrent.ts";
import { evaluateModel, randomParameters, randomTokens } from "./testing.ts";
import { createXlstm } from "./xlstm.ts";

const config = {
  architecture: "xlstm",
  dim: 8,
  hiddenDim: 10,
  layerCount: 2,
  vocabSize: 9,
  headCount: 2,
  keyDim: 6,
  pattern: "MS",
};

function capped(x: number): number {
  return 15 * Math.tanh(x / 15);
}

/** Equations 19 to 27 of arXiv 2405.04517, without a stabiliser: gates as small as these do not need one. */
function loopMlstm(model: Model, values: Values): LoopMixer {
  const { dim, headCount, keyDim, normEpsilon } = model.config as Record<string, number>;
  const [keySize, valueSize] = [keyDim / headCount, dim / headCount];
  const memories = Array.from({ length: headCount }, () => zeroState(valueSize, keySize));
  const normalisers = zeroState(headCount, keySize);
  return (x) => {
    const [query, key, value] = ["query", "key", "value"].map((name) => product(values(`${name}.weight`), x));
    const gates = product(values("gates.weight"), x);
    const outputGate = product(values("outputGate.weight"), x).map(sigmoid);
    const y: Vector = [];
    for (let h = 0; h < headCount; h++) {
      const q = query.slice(h * keySize, (h + 1) * keySize);
      const k = key.slice(h * keySize, (h + 1) * keySize).map((element) => element / Math.sqrt(keySize));
      const input = Math.exp(capped(gates[h] + values("inputBias")[h]));
      const forget = sigmoid(capped(gates[headCount + h] + values("forgetBias")[h]));
      normalisers[h] = normalisers[h].map((n, j) => forget * n + input * k[j]);
      const weight = Math.max(Math.abs(product(normalisers[h], q)[0]), 1);
      const hidden = memories[h].map((row, i) => {
        memories[h][i] = row.map((c, j) => forget * c + input * value[h * valueSize + i] * k[j]);
        return product(memories[h][i], q)[0] / weight;
      });
      y.push(...rms(hidden, normEpsilon, values("norm.weight")).map((v, i) => v * outputGate[h * valueSize + i]));
    }
    return product(values("output.weight"), y);
  };
}

/** Equations 8 to 14 of arXiv 2405.04517, without a stabiliser. */
function loopSlstm(model: Model, values: Values): LoopMixer {
  const { dim, headCount, normEpsilon } = model.config as Record<string, number>;
  const size = dim / headCount;
  let [cell, normaliser, hidden]: Vector[] = [0, 1, 2].map(() => new Array<number>(dim).fill(0));
  return (x) => {
    const projected = product(values("input.weight"), x);
    const gate = (index: number, channel: number): number => {
      const [head, at] = [Math.floor(channel / size), channel % size];
      let total = projected[index * dim + channel];
      for (let j = 0; j < size; j++) {
        total += hidden[head * size + j] * values("recurrent")[(head * size + j) * 4 * size + index * size + at];
      }
      if (index === 2) return total + values("forgetBias")[channel];
      return total + values("bias")[Math.min(index, 2) * dim + channel];
    };
    const gates = [0, 1, 2, 3].map((index) => x.map((_, channel) => gate(index, channel)));
    const [z, i, f, o] = gates;
    cell = cell.map((c, at) => sigmoid(f[at]) * c + Math.exp(i[at]) * Math.tanh(z[at]));
    normaliser = normaliser.map((n, at) => sigmoid(f[at]) * n + Math.exp(i[at]));
    hidden = cell.map((c, at) => (sigmoid(o[at]) * c) / normaliser[at]);
    const normed = Array.from({ length: headCount }, (_, h) =>
      rms(hidden.slice(h * size, (h + 1) * size), normEpsilon, values("norm.weight")),
    ).flat();
    return product(values("output.weight"), normed);
  };
}

test("logits are those of the equations written as loops", () => {
  const model = createXlstm(config);
  assertEquations(model, (parameters, tokens) =>
    stackLogits(model, parameters, tokens, (layer, values) =>
      layer === 0 ? loopMlstm(model, values) : loopSlstm(model, values),
    ),
  );
});

test("input gates as large as e^1000 leave numbers that are finite, and the ones that a lower bias gives", () => {
  const model = createXlstm({ ...config, pattern: "S", layerCount: 1 });
  const parameters = randomParameters(model, 8);
  const tokens = randomTokens(model, 1, 6, 3);
  const before = evaluateModel(model, parameters, tokens).logits;
  const bias = parameters.get("blocks.0.mixer.bias")!;
  // The same factor in c and n leaves h as it is.
  const raised = bias.data.map((value, at) => (at >= 8 && at < 16 ? value + 1000 : value));
  parameters.set("blocks.0.mixer.bias", { type: bias.type, data: raised });
  const after = evaluateModel(model, parameters, tokens).logits;
  for (const [at, logit] of before.entries()) assert.ok(Math.abs(after[at] - logit) < 1e-9);
});

test("decoding in pieces of any length gives the logits and the state of the whole sequence", () => {
  assertDecodes(createXlstm(config));
  assertDecodes(createXlstm({ ...config, weights: "ternary" }));
});

test("the state has one size", () => {
  assertConstantState(createXlstm(config));
});

test("heads that do not fit are refused", () => {
  assert.throws(() => createXlstm({ ...config, headCount: 3 }), ModelConfigError);
});

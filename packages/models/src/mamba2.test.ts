import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelConfigError } from "./config.ts";
import { createMamba2 } from "./mamba2.ts";
import type { Model } from "./model.ts";
import type { LoopMixer, Values, Vector } from "./testing-recurrent.ts";
import {
  assertConstantState,
  assertDecodes,
  assertEquations,
  convolve,
  loopAttention,
  product,
  rms,
  silu,
  softplus,
  stackLogits,
  sum,
  zeroState,
} from "./testing-recurrent.ts";
import { evaluateModel, packedParameters, randomParameters, randomTokens } from "./testing.ts";

const config = {
  architecture: "mamba2",
  dim: 6,
  layerCount: 2,
  vocabSize: 9,
  headCount: 4,
  groupCount: 2,
  stateSize: 3,
};
const hybrid = {
  ...config,
  pattern: "MA",
  hiddenDim: 8,
  attentionHeadCount: 2,
  attentionHeadSize: 6,
  ropeSize: 4,
  attentionGate: true,
  attentionNorm: true,
  attentionScale: 0.3,
  channelPattern: "FE",
  expertCount: 3,
};

/** Section 7 of arXiv 2405.21060 in its recurrent form, for one layer. */
function loopMamba2(model: Model, values: Values): LoopMixer {
  const { innerDim, headCount, groupCount, stateSize, normEpsilon } = model.config as Record<string, number>;
  const size = innerDim / headCount;
  const inputs: Vector[] = [];
  const states = Array.from({ length: headCount }, () => zeroState(size, stateSize));
  return (u) => {
    const projected = product(values("input.weight"), u);
    const z = projected.slice(0, innerDim);
    inputs.push(projected.slice(innerDim, -headCount));
    const mixed = convolve(inputs, values("convolution.weight"), values("convolution.bias")).map(silu);
    const y: Vector = [];
    for (let head = 0; head < headCount; head++) {
      const group = Math.floor(head / (headCount / groupCount));
      const b = mixed.slice(innerDim + group * stateSize, innerDim + (group + 1) * stateSize);
      const c = mixed.slice(innerDim + (groupCount + group) * stateSize).slice(0, stateSize);
      const step = softplus(projected[projected.length - headCount + head] + values("timeStepBias")[head]);
      const decay = Math.exp(-step * Math.exp(values("logRates")[head]));
      for (let p = 0; p < size; p++) {
        const x = mixed[head * size + p];
        states[head][p] = states[head][p].map((s, n) => decay * s + step * x * b[n]);
        y.push(product(states[head][p], c)[0] + values("skip")[head] * x);
      }
    }
    const gated = y.map((value, i) => value * silu(z[i]));
    const width = innerDim / groupCount;
    if (model.config.stateNorm === false) return product(values("output.weight"), gated);
    const normed = Array.from({ length: groupCount }, (_, g) =>
      rms(gated.slice(g * width, (g + 1) * width), normEpsilon, values("norm.weight").subarray(g * width)),
    ).flat();
    return product(values("output.weight"), normed);
  };
}

/** The mixer of a layer by the letter of its pattern. */
function loopMixer(model: Model, layer: number, values: Values): LoopMixer {
  const pattern = String(model.config.pattern);
  switch (pattern[layer % pattern.length]) {
    case "A":
      return loopAttention(model, values);
    case "F":
      return (x) =>
        product(
          values("down.weight"),
          product(values("up.weight"), x).map((value) => Math.max(value, 0) ** 2),
        );
    case "P": {
      const attention = loopAttention(model, (name) => values(`attention.${name}`));
      const recurrent = loopMamba2(model, (name) => values(`recurrent.${name}`));
      return (x, position) => sum(attention(x, position), recurrent(x, position));
    }
    default:
      return loopMamba2(model, values);
  }
}

const parallel = { ...hybrid, pattern: "P", attentionGate: false, stateNorm: false };
const layered = { ...config, layerCount: 4, pattern: "MFAF", attentionHeadCount: 2, networkDim: 7, ropeSize: 0 };

for (const [name, changes] of Object.entries({
  plain: config,
  "in a hybrid": hybrid,
  "with attention beside it": parallel,
  "with layers of squared ReLU": layered,
})) {
  test(`logits are those of the equations written as loops, ${name}`, () => {
    const model = createMamba2(changes);
    assertEquations(model, (parameters, tokens) =>
      stackLogits(model, parameters, tokens, (layer, values) => loopMixer(model, layer, values)),
    );
  });
}

test("decoding in pieces of any length gives the logits and the state of the whole sequence", () => {
  assertDecodes(createMamba2(config));
  assertDecodes(createMamba2(hybrid));
  assertDecodes(createMamba2({ ...hybrid, weights: "ternary" }));
  assertDecodes(createMamba2(parallel));
  assertDecodes(createMamba2(layered));
});

test("packed weights give the logits of the training graph, bit for bit", () => {
  const model = createMamba2({ ...hybrid, weights: "ternary" });
  const parameters = randomParameters(model, 6);
  const tokens = randomTokens(model, 2, 5, 4);
  const packed = packedParameters(model, parameters);
  const ternary = [...packed].filter(([, { type }]) => type.dtype === "ternary").map(([path]) => path);
  assert.ok(ternary.includes("blocks.0.mixer.input.weight") && ternary.includes("blocks.1.mixer.key.weight"));
  assert.deepEqual(evaluateModel(model, packed, tokens).logits, evaluateModel(model, parameters, tokens).logits);
});

test("the state has one size", () => {
  assertConstantState(createMamba2(config));
});

test("heads and groups that do not fit are refused", () => {
  for (const changes of [{ headCount: 5 }, { groupCount: 3 }]) {
    assert.throws(() => createMamba2({ ...config, ...changes }), ModelConfigError);
  }
});

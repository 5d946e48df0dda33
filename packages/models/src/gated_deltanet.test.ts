import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelConfigError } from "./config.ts";
import { createGatedDeltanet } from "./gated_deltanet.ts";
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
  sigmoid,
  silu,
  softplus,
  stackLogits,
  zeroState,
} from "./testing-recurrent.ts";

const config = {
  architecture: "gated-deltanet",
  dim: 8,
  hiddenDim: 10,
  layerCount: 2,
  vocabSize: 9,
  headCount: 4,
  keyHeadCount: 2,
  keySize: 3,
  valueSize: 2,
};
const hybrid = { ...config, layerCount: 3, pattern: "DDA", attentionHeadCount: 2, attentionGate: true };

/** Equation 10 of arXiv 2412.06464, for one layer. */
function loopGatedDelta(model: Model, values: Values): LoopMixer {
  const { headCount, keyHeadCount, keySize, valueSize, normEpsilon } = model.config as Record<string, number>;
  const inputs: Vector[] = [];
  const states = Array.from({ length: headCount }, () => zeroState(valueSize, keySize));
  const unit = (x: Vector): Vector => {
    const length = Math.sqrt(x.reduce((sum, value) => sum + value * value, normEpsilon));
    return x.map((value) => value / length);
  };
  return (x) => {
    inputs.push(product(values("input.weight"), x));
    const mixed = convolve(inputs, values("convolution.weight")).map(silu);
    const beta = product(values("beta.weight"), x).map(sigmoid);
    const steps = product(values("alpha.weight"), x).map((value, i) => softplus(value + values("timeStepBias")[i]));
    const gate = product(values("gate.weight"), x);
    const y: Vector = [];
    for (let head = 0; head < headCount; head++) {
      const isTiled = model.config.keySharing === "tiled";
      const at = (isTiled ? head % keyHeadCount : Math.floor(head / (headCount / keyHeadCount))) * keySize;
      const q = unit(mixed.slice(at, at + keySize));
      const k = unit(mixed.slice(keyHeadCount * keySize + at).slice(0, keySize));
      const v = mixed.slice(2 * keyHeadCount * keySize + head * valueSize).slice(0, valueSize);
      const decay = Math.exp(-Math.exp(values("logRates")[head]) * steps[head]);
      const read = states[head].map((row, i) => {
        const kept = row.map((s) => decay * s);
        const held = product(kept, k)[0];
        states[head][i] = kept.map((s, j) => s + beta[head] * (v[i] - held) * k[j]);
        return product(states[head][i], q)[0] / Math.sqrt(keySize);
      });
      y.push(...rms(read, normEpsilon, values("norm.weight")).map((o, i) => o * silu(gate[head * valueSize + i])));
    }
    return product(values("output.weight"), y);
  };
}

for (const [name, changes] of Object.entries({
  plain: config,
  "with key heads in turns": { ...config, keySharing: "tiled" },
  "in a hybrid": hybrid,
  "with experts": {
    ...config,
    channelPattern: "EF",
    expertCount: 4,
    expertDim: 3,
    sharedExpertDim: 5,
    sharedExpertGate: true,
    normalisedExperts: true,
  },
})) {
  test(`logits are those of the equations written as loops, ${name}`, () => {
    const model = createGatedDeltanet(changes);
    assertEquations(model, (parameters, tokens) =>
      stackLogits(model, parameters, tokens, (layer, values) =>
        layer === 2 ? loopAttention(model, values) : loopGatedDelta(model, values),
      ),
    );
  });
}

test("decoding in pieces of any length gives the logits and the state of the whole sequence", () => {
  assertDecodes(createGatedDeltanet(config));
  assertDecodes(createGatedDeltanet({ ...hybrid, weights: "ternary" }));
});

test("the state has one size", () => {
  assertConstantState(createGatedDeltanet(config));
});

test("heads that do not fit are refused", () => {
  assert.throws(() => createGatedDeltanet({ ...config, keyHeadCount: 3 }), ModelConfigError);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelConfigError } from "./config.ts";
import { createGla } from "./gla.ts";
import type { Model } from "./model.ts";
import { createRetnet } from "./retnet.ts";
import type { LoopMixer, Values, Vector } from "./testing-recurrent.ts";
import {
  assertConstantState,
  assertDecodes,
  assertEquations,
  product,
  rms,
  rotate,
  sigmoid,
  silu,
  stackLogits,
  zeroState,
} from "./testing-recurrent.ts";

const gla = { architecture: "gla", dim: 8, hiddenDim: 10, layerCount: 2, vocabSize: 9, headCount: 2, decayRank: 3 };
const retnet = { architecture: "retnet", dim: 8, hiddenDim: 10, layerCount: 2, vocabSize: 9, headCount: 2 };

/** Linear attention with decays of each key channel [dim of keys], for one layer. */
function loopLinearAttention(
  model: Model,
  values: Values,
  decaysOf: (x: Vector) => Vector,
  turned: (heads: Vector, position: number) => Vector,
): LoopMixer {
  const { headCount, keyDim, valueDim, normEpsilon } = model.config as Record<string, number>;
  const [keySize, valueSize] = [keyDim / headCount, valueDim / headCount];
  const states = Array.from({ length: headCount }, () => zeroState(valueSize, keySize));
  const head = (x: Vector, index: number, size: number): Vector => x.slice(index * size, (index + 1) * size);
  return (x, position) => {
    const [query, key, value, gate] = ["query", "key", "value", "gate"].map((name) =>
      product(values(`${name}.weight`), x),
    );
    const decays = decaysOf(x);
    const y: Vector = [];
    for (let h = 0; h < headCount; h++) {
      const q = turned(head(query, h, keySize), position);
      const k = turned(head(key, h, keySize), position);
      const [v, decay] = [head(value, h, valueSize), head(decays, h, keySize)];
      states[h] = states[h].map((row, i) => row.map((s, j) => decay[j] * s + v[i] * k[j]));
      const read = states[h].map((row) => product(row, q)[0] / Math.sqrt(keySize));
      y.push(...rms(read, normEpsilon, values("norm.weight")).map((o, i) => o * silu(gate[h * valueSize + i])));
    }
    return product(values("output.weight"), y);
  };
}

test("GLA's logits are those of section 4.4 of arXiv 2312.06635 written as loops", () => {
  const model = createGla(gla);
  const mixer = (values: Values): LoopMixer => {
    const decays = (x: Vector): Vector =>
      product(values("decayUp.weight"), product(values("decayDown.weight"), x)).map(
        (value, i) => sigmoid(value + values("decayUp.bias")[i]) ** (1 / 16),
      );
    return loopLinearAttention(model, values, decays, (heads) => heads);
  };
  assertEquations(model, (parameters, tokens) =>
    stackLogits(model, parameters, tokens, (_layer, values) => mixer(values)),
  );
});

test("RetNet's logits are those of the recurrent form of arXiv 2307.08621 written as loops", () => {
  const model = createRetnet(retnet);
  const decays = Array.from({ length: 8 }, (_, channel) => 1 - 2 ** (-5 - Math.floor(channel / 4)));
  assertEquations(model, (parameters, tokens) =>
    stackLogits(model, parameters, tokens, (_layer, values) =>
      loopLinearAttention(
        model,
        values,
        () => decays,
        (heads, position) => rotate(heads, position, 10000, 4),
      ),
    ),
  );
});

test("decoding in pieces of any length gives the logits and the state of the whole sequence", () => {
  assertDecodes(createGla(gla));
  assertDecodes(createGla({ ...gla, pattern: "GA", weights: "ternary", attentionHeadCount: 2 }));
  assertDecodes(createRetnet(retnet));
});

test("the state has one size", () => {
  assertConstantState(createGla(gla));
  assertConstantState(createRetnet(retnet));
});

test("heads that do not fit are refused", () => {
  assert.throws(() => createGla({ ...gla, headCount: 3 }), ModelConfigError);
  assert.throws(() => createRetnet({ ...retnet, headCount: 8 }), ModelConfigError);
});

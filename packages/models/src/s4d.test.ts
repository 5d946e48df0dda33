import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelConfigError } from "./config.ts";
import type { Model } from "./model.ts";
import { createS4d } from "./s4d.ts";
import { createS5 } from "./s5.ts";
import { evaluateModel, largestError, randomParameters, randomTokens } from "./testing.ts";
import type { LoopMixer, Values, Vector } from "./testing-recurrent.ts";
import {
  assertConstantState,
  assertDecodes,
  assertEquations,
  loopAttention,
  product,
  sigmoid,
  stackLogits,
} from "./testing-recurrent.ts";

const s4d = { architecture: "s4d", dim: 6, layerCount: 2, vocabSize: 9, stateSize: 3 };
const s5 = { architecture: "s5", dim: 6, layerCount: 2, vocabSize: 9, stateSize: 4 };

type Complex = readonly [real: number, imaginary: number];

const times = ([a, b]: Complex, [c, d]: Complex): Complex => [a * c - b * d, a * d + b * c];
const plus = ([a, b]: Complex, [c, d]: Complex): Complex => [a + c, b + d];
const over = (x: Complex, [c, d]: Complex): Complex => times(x, [c / (c * c + d * d), -d / (c * c + d * d)]);
const exponential = ([a, b]: Complex): Complex => [Math.exp(a) * Math.cos(b), Math.exp(a) * Math.sin(b)];

/** The decay and the factor of inputs of a rate held for a step. */
function held(rate: Complex, step: number): { readonly decay: Complex; readonly factor: Complex } {
  const decay = exponential([rate[0] * step, rate[1] * step]);
  return { decay, factor: over([decay[0] - 1, decay[1]], rate) };
}

/** GELU by its tanh form, and the gated linear unit. */
function gated(values: Values, y: Vector): Vector {
  const bent = y.map((x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))));
  const both = product(values("output.weight"), bent);
  return y.map((_, i) => both[i] * sigmoid(both[y.length + i]));
}

/** Sections 3 and 4 of arXiv 2206.11893, for one layer. */
function loopS4d(model: Model, values: Values): LoopMixer {
  const { dim, stateSize } = model.config as Record<string, number>;
  const hidden = Array.from({ length: dim * stateSize }, (): Complex => [0, 0]);
  return (u) => {
    const y = u.map((input, channel) => {
      let total = values("skip")[channel] * input;
      for (let n = 0; n < stateSize; n++) {
        const at = channel * stateSize + n;
        const rate: Complex = [-Math.exp(values("logRates")[at]), values("frequencies")[at]];
        const { decay, factor } = held(rate, Math.exp(values("logTimeSteps")[channel]));
        hidden[at] = plus(times(decay, hidden[at]), times(factor, [input, 0]));
        total += 2 * times([values("read")[at], values("readImaginary")[at]], hidden[at])[0];
      }
      return total;
    });
    return gated(values, y);
  };
}

/** Section 3 of arXiv 2208.04933, for one layer. */
function loopS5(model: Model, values: Values): LoopMixer {
  const { stateSize } = model.config as Record<string, number>;
  const hidden = Array.from({ length: stateSize }, (): Complex => [0, 0]);
  return (u) => {
    const written = product(values("input.weight"), u);
    for (let p = 0; p < stateSize; p++) {
      const rate: Complex = [-Math.exp(values("logRates")[p]), values("frequencies")[p]];
      const { decay, factor } = held(rate, Math.exp(values("logTimeSteps")[p]));
      hidden[p] = plus(times(decay, hidden[p]), times(factor, [written[p], written[stateSize + p]]));
    }
    const states = [...hidden.map(([real]) => real), ...hidden.map(([, imaginary]) => imaginary)];
    const read = product(values("read.weight"), states);
    return gated(
      values,
      read.map((value, i) => value + values("skip")[i] * u[i]),
    );
  };
}

for (const [name, model, mixer] of [
  ["S4D", createS4d(s4d), loopS4d],
  ["S5", createS5(s5), loopS5],
  ["S4D in a hybrid", createS4d({ ...s4d, pattern: "SA", hiddenDim: 8, attentionHeadCount: 2 }), loopS4d],
  ["S5 with a channel mixer", createS5({ ...s5, hiddenDim: 8 }), loopS5],
] as const) {
  test(`${name}: logits are those of the equations written as loops`, () => {
    assertEquations(model, (parameters, tokens) =>
      stackLogits(model, parameters, tokens, (layer, values) =>
        name.includes("hybrid") && layer === 1 ? loopAttention(model, values) : mixer(model, values),
      ),
    );
  });

  test(`${name}: decoding in pieces of any length gives the logits and the state of the whole sequence`, () => {
    assertDecodes(model);
  });
}

test("a sequence of two blocks and a half is that of the loops", () => {
  const model = createS4d({ ...s4d, layerCount: 1 });
  const parameters = randomParameters(model, 5);
  const [tokens] = randomTokens(model, 1, 160, 6);
  const expected = stackLogits(model, parameters, tokens, (_layer, values) => loopS4d(model, values));
  assert.ok(largestError(expected, evaluateModel(model, parameters, [tokens]).logits) < 1e-9);
});

test("the state has one size", () => {
  assertConstantState(createS4d(s4d));
  assertConstantState(createS5(s5));
});

test("impossible configurations are refused by name", () => {
  assert.throws(() => createS4d({ ...s4d, stateSize: 0 }), ModelConfigError);
  assert.throws(() => createS5({ ...s5, pattern: "X" }), ModelConfigError);
});

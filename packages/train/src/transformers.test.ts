// Every transformer learns a short text by heart, from its first values: dense, and ternary where its projections may
// be; and BERT words that are hidden from it.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { add, crossEntropy, isTensor, mapTree, mean, mul, rsqrt, trace } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { valueAndGrad } from "@fidelity/furnace";
import { CharacterTokenizer, createModel, fillParameter, namedParameters, parameterTypes } from "@fidelity/models";
import { trainSettings, TrainStep } from "./index.ts";

const device = createDevice({ threads: 2 });
after(() => device.close());

const TEXT = "how much wood would a woodchuck chuck if a woodchuck could chuck wood?";
const tokenizer = CharacterTokenizer.fromTexts([TEXT]);
const tokens = Int32Array.from(tokenizer.encode(TEXT));
const { vocabSize } = tokenizer;
const time = tokens.length - 1;

const sizes = { dim: 32, hiddenDim: 48, layerCount: 2, headCount: 2, vocabSize, contextLength: 80 };
const decoder = { ...sizes, keyValueHeadCount: 1 };
const llama = { architecture: "llama", ...decoder };
const gemma = { ...decoder, window: 4, windowPeriod: 2 };

const models: Readonly<Record<string, object>> = {
  "Llama with linear attention": { ...llama, attention: "linear" },
  "Llama with a Performer": { ...llama, attention: "performer", featureCount: 32 },
  "Qwen 2": { architecture: "qwen2", ...decoder },
  "Qwen 3": { architecture: "qwen3", ...decoder },
  "Gemma 2": { architecture: "gemma2", ...gemma },
  "Gemma 3": { architecture: "gemma3", ...gemma },
  "BitNet, ternary": { architecture: "bitnet", ...decoder },
  "BitNet, dense": { architecture: "bitnet", ...decoder, weights: "dense", activation: "silu" },
};

for (const [title, config] of Object.entries(models)) {
  test(`${title} learns a text by heart`, async () => {
    const model = createModel(config);
    const steps = 60;
    const settings = trainSettings({ steps, batchSize: 1, contextLength: time, seed: 3, learningRate: 0.01 });
    const step = await TrainStep.compile(device, model, settings);
    for (const { path, leaf } of namedParameters(model.parameters)) {
      fillParameter(leaf, path, 3, step.parameters.get(path)!.f32());
    }
    step.tokens.i32().set(tokens.subarray(0, time));
    step.targets.i32().set(tokens.subarray(1));
    const losses: number[] = [];
    for (let i = 1; i <= steps; i++) {
      await step.run(i, settings.learningRate);
      losses.push(step.loss);
    }
    step.free();
    for (const tensor of step.parameters.values()) tensor.free();
    assert.ok(Math.abs(losses[0] - Math.log(vocabSize)) < 0.5, `starts at ${losses[0]}`);
    assert.ok(losses.at(-1)! < 0.7, `ends at ${losses.at(-1)}`);
  });
}

test("BERT learns which words are hidden in a text", async () => {
  const model = createModel({ architecture: "bert", ...sizes, vocabSize: vocabSize + 1, maskedLanguageModel: true });
  const types: unknown = parameterTypes(model.parameters, { packed: false });
  const text = { dtype: "i32", shape: [1, tokens.length] } as const;
  const { graph } = trace(
    "masked",
    (parameters, hidden, whole) => {
      const lossOf = (at: Record<string, Tensor>): Tensor<readonly [], "f32"> => {
        const vectors = model.forward(at, hidden as Text).logits;
        return mean(crossEntropy(model.encoder!.head("maskedLanguageModel", at, vectors), whole as Text));
      };
      const { value, grad } = valueAndGrad(lossOf)(parameters as Record<string, Tensor>);
      return [value, mapTree(grad, isTensor, (slope) => normalised(slope as Tensor<readonly number[], "f32">))];
    },
    [types, text, text],
  );
  const program = await device.compile(graph);
  const inputs = graph.parameters.map(({ type }) => device.tensor(type));
  const results = graph.results.map(({ type }) => device.tensor(type));
  const leaves = namedParameters(model.parameters);
  leaves.forEach(({ path, leaf }, i) => fillParameter(leaf, path, 3, inputs[i].f32()));
  const [hidden, whole] = inputs.slice(leaves.length).map((tensor) => tensor.i32());
  whole.set(tokens);
  hidden.set(tokens.map((token, i) => (i % 4 === 1 ? vocabSize : token)));
  program.bind(inputs, results);
  const losses: number[] = [];
  for (let i = 0; i < 60; i++) {
    program.run();
    losses.push(results[0].f32()[0]);
    leaves.forEach((_leaf, p) => {
      const [values, slopes] = [inputs[p].f32(), results[p + 1].f32()];
      for (let at = 0; at < values.length; at++) values[at] -= 0.01 * slopes[at];
    });
  }
  for (const one of [program, ...inputs, ...results]) one.free();
  assert.ok(Math.abs(losses[0] - Math.log(vocabSize + 1)) < 0.5, `starts at ${losses[0]}`);
  assert.ok(losses.at(-1)! < 0.3, `ends at ${losses.at(-1)}`);
});

type Text = Tensor<readonly [number, number], "i32">;

/** A gradient with a mean square of 1, so that every parameter moves by as much. */
function normalised(slope: Tensor<readonly number[], "f32">): Tensor<readonly number[], "f32"> {
  return mul(slope, rsqrt(add(mean(mul(slope, slope)), 1e-12)));
}

// BERT learns which words are hidden from it in a short text.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { add, crossEntropy, isTensor, mapTree, mean, mul, rsqrt, trace } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { valueAndGrad } from "@fidelity/furnace";
import { CharacterTokenizer, createModel, fillParameter, namedParameters, parameterTypes } from "@fidelity/models";

const device = createDevice({ threads: 2 });
after(() => device.close());

const TEXT = "how much wood would a woodchuck chuck if a woodchuck could chuck wood?";
const tokenizer = CharacterTokenizer.fromTexts([TEXT]);
const tokens = Int32Array.from(tokenizer.encode(TEXT));
const { vocabSize } = tokenizer;
const sizes = { dim: 32, hiddenDim: 48, layerCount: 2, headCount: 2, vocabSize, contextLength: 80 };

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

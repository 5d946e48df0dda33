import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostTensor, Tensor, Tree } from "@fidelity/core";
import { interpret, trace } from "@fidelity/core";
import { createModel } from "./architectures.ts";
import { languageModelLoss, NO_TARGET } from "./loss.ts";
import type { Model } from "./model.ts";
import { namedParameters, parameterTypes } from "./parameters.ts";
import { evaluateModel, randomParameters, randomTokens } from "./testing.ts";

test("the loss is the mean negative log-probability of the targets", () => {
  const models: readonly Model[] = [
    createModel({ architecture: "matmul-free", dim: 8, hiddenDim: 12, layerCount: 2, vocabSize: 7 }),
    createModel({
      architecture: "llama",
      dim: 8,
      hiddenDim: 12,
      layerCount: 1,
      headCount: 2,
      vocabSize: 7,
      contextLength: 9,
    }),
  ];
  for (const model of models) {
    const parameters = randomParameters(model, 1);
    const [tokens, targets] = [randomTokens(model, 2, 4, 2), randomTokens(model, 2, 4, 3)];
    const loss = languageModelLoss(model);
    const types: unknown = parameterTypes(model.parameters, { packed: false });
    const ids = { dtype: "i32", shape: [2, 4] } as const;
    const { graph } = trace(
      "loss",
      (p, x, y) =>
        loss(p as Tree<Tensor>, x as Tensor<readonly number[], "i32">, y as Tensor<readonly number[], "i32">),
      [types, ids, ids],
    );
    const asInput = (rows: number[][]): HostTensor => ({ type: ids, data: Float64Array.from(rows.flat()) });
    const values = namedParameters(model.parameters).map(({ path }) => parameters.get(path)!);
    const [result] = interpret(graph, [...values, asInput(tokens), asInput(targets)]);
    assert.deepEqual(result.type, { dtype: "f32", shape: [] });
    const { logits } = evaluateModel(model, parameters, tokens);
    const losses = targets.flat().map((target, row) => {
      const scores = logits.subarray(row * 7, (row + 1) * 7);
      return Math.log(scores.reduce((sum, score) => sum + Math.exp(score), 0)) - scores[target];
    });
    const expected = losses.reduce((sum, value) => sum + value, 0) / losses.length;
    assert.ok(Math.abs(result.data[0] - expected) < 1e-9 * expected);
  }
});

test("targets that are NO_TARGET do not count", () => {
  const model = createModel({ architecture: "matmul-free", dim: 8, hiddenDim: 12, layerCount: 1, vocabSize: 7 });
  const parameters = randomParameters(model, 1);
  const tokens = randomTokens(model, 1, 5, 2);
  const values = namedParameters(model.parameters).map(({ path }) => parameters.get(path)!);
  const types: unknown = parameterTypes(model.parameters, { packed: false });
  const ids = { dtype: "i32", shape: [1, 5] } as const;
  const asInput = (row: number[]): HostTensor => ({ type: ids, data: Float64Array.from(row) });
  const loss = languageModelLoss(model, { hasGaps: true });
  const { graph } = trace(
    "loss",
    (p, x, y) => loss(p as Tree<Tensor>, x as Tensor<readonly number[], "i32">, y as Tensor<readonly number[], "i32">),
    [types, ids, ids],
  );
  const lossOf = (targets: number[]): number =>
    interpret(graph, [...values, asInput(tokens[0]), asInput(targets)])[0].data[0];
  const [first, last] = [lossOf([3, -1, -1, -1, -1]), lossOf([-1, -1, -1, -1, 4])];
  assert.ok(Math.abs(lossOf([3, NO_TARGET, NO_TARGET, NO_TARGET, 4]) - (first + last) / 2) < 1e-12);
  assert.notEqual(first, last);
  assert.equal(lossOf([-1, -1, -1, -1, -1]), 0);
});

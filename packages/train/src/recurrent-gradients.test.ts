// Gradients of every recurrent architecture, in float64 beside central differences of the loss.

import assert from "node:assert/strict";
import { test } from "node:test";
import { interpret, trace } from "@fidelity/core";
import type { HostTensor, Tensor } from "@fidelity/core";
import { valueAndGrad } from "@fidelity/furnace";
import { createModel, fillParameter, languageModelLoss, namedParameters, parameterTypes } from "@fidelity/models";
import type { Model } from "@fidelity/models";

const sizes = { dim: 16, hiddenDim: 24, layerCount: 1, vocabSize: 7 };
const attention = { attentionHeadCount: 2, attentionGate: true, attentionNorm: true };
const ranks = { decayRank: 4, learningRateRank: 4, valueRank: 4, gateRank: 4 };

const architectures: Readonly<Record<string, object>> = {
  mamba: { architecture: "mamba", stateSize: 4, hiddenDim: 0 },
  "mamba2 with attention": {
    architecture: "mamba2",
    headCount: 4,
    stateSize: 8,
    pattern: "MA",
    layerCount: 2,
    ...attention,
  },
  rwkv7: { architecture: "rwkv7", headSize: 8, layerCount: 2, ...ranks },
  "gated-deltanet": { architecture: "gated-deltanet", headCount: 2, keySize: 8 },
  xlstm: { architecture: "xlstm", headCount: 2, pattern: "MS", layerCount: 2 },
  gla: { architecture: "gla", headCount: 2, decayRank: 4 },
  retnet: { architecture: "retnet", headCount: 2 },
};

for (const [name, own] of Object.entries(architectures)) {
  test(`${name}: the derivative of the loss along a direction is its central difference`, () => {
    const model = createModel({ ...sizes, ...own });
    const lossAt = lossAndSlopes(model);
    const start = namedParameters(model.parameters).map(({ path, leaf }): Float64Array => {
      const values = new Float32Array(leaf.shape.reduce((count, extent) => count * extent, 1));
      fillParameter(leaf, path, 5, values);
      // Larger than the first values of training, so that no term is too small to be seen.
      return Float64Array.from(values, (value, i) => value + 0.1 * Math.sin(1 + i * 1.7 + path.length));
    });
    const direction = start.map((values, p) => values.map((_, i) => Math.cos(i * 2.3 + p)));
    const moved = (by: number): number =>
      lossAt(start.map((values, p) => values.map((value, i) => value + by * direction[p][i]))).loss;
    const { slopes } = lossAt(start);
    const slope = slopes.reduce(
      (sum, values, p) => values.reduce((s, value, i) => s + value * direction[p][i], sum),
      0,
    );
    const difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
    assert.ok(Math.abs(slope - difference) < 1e-6 * Math.max(1, Math.abs(difference)), `${slope}, ${difference}`);
    assert.ok(
      slopes.every((values) => values.some((value) => value !== 0)),
      "a parameter has no gradient",
    );
  });
}

/** The loss of a model for two short rows of tokens, and its gradient, on the interpreter. */
function lossAndSlopes(model: Model): (values: readonly Float64Array[]) => { loss: number; slopes: Float64Array[] } {
  const types: unknown = parameterTypes(model.parameters, { packed: false });
  const ids = { dtype: "i32", shape: [2, 5] } as const;
  const { graph } = trace(
    "loss",
    (parameters, tokens, targets) => {
      const loss = languageModelLoss(model);
      const of = valueAndGrad((at: Record<string, Tensor>) => loss(at, tokens as never, targets as never));
      const { value, grad } = of(parameters as Record<string, Tensor>);
      return [value, grad];
    },
    [types, ids, ids],
  );
  const tokenInput = (step: number): HostTensor => ({
    type: ids,
    data: Float64Array.from({ length: 10 }, (_, i) => (i * step + 2) % 7),
  });
  const leaves = namedParameters(model.parameters);
  return (values) => {
    const inputs = leaves.map(({ leaf }, p): HostTensor => ({
      type: { dtype: "f32", shape: leaf.shape },
      data: values[p],
    }));
    const [loss, ...slopes] = interpret(graph, [...inputs, tokenInput(3), tokenInput(5)]);
    return { loss: loss.data[0], slopes: slopes.map(({ data }) => data) };
  };
}

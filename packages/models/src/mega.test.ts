import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelConfigError } from "./config.ts";
import { createMega } from "./mega.ts";
import type { Model } from "./model.ts";
import type { HostParameters } from "./testing.ts";
import type { Values, Vector } from "./testing-recurrent.ts";
import {
  assertDecodes,
  assertEquations,
  layerNormOf,
  product,
  rotate,
  sigmoid,
  silu,
  sum,
  valuesUnder,
} from "./testing-recurrent.ts";

const config = {
  architecture: "mega",
  dim: 6,
  layerCount: 2,
  vocabSize: 9,
  averageSize: 3,
  keyDim: 4,
  valueDim: 5,
  hiddenDim: 7,
};

const normed = (values: Values, name: string, x: Vector): Vector =>
  layerNormOf(x, 1e-5, values(`${name}.weight`), values(`${name}.bias`));

const affine = (values: Values, name: string, x: Vector): Vector =>
  sum(product(values(`${name}.weight`), x), [...values(`${name}.bias`)]);

/** Sections 3.1 to 3.3 of arXiv 2209.10655, and the feed-forward layer, for one layer. */
function loopLayer(model: Model, values: Values): (x: Vector, position: number) => Vector {
  const { dim, averageSize, keyDim, ropeTheta } = model.config as Record<string, number>;
  const averages = new Float64Array(dim * averageSize);
  const keys: Vector[] = [];
  const memory: Vector[] = [];
  return (x, position) => {
    const u = normed(values, "norm", x);
    const e = u.map((input, d) => {
      let total = values("average.skip")[d] * input;
      for (let n = d * averageSize; n < (d + 1) * averageSize; n++) {
        const alpha = sigmoid(values("average.input")[n]);
        const decay = 1 - alpha * sigmoid(values("average.damping")[n]);
        averages[n] = alpha * values("average.expand")[n] * input + decay * averages[n];
        total += values("average.read")[n] * averages[n];
      }
      return silu(total);
    });
    const shared = affine(values, "shared", e).map(silu);
    const part = (name: string): Vector =>
      shared.map((z, i) => values(`${name}Gain`)[i] * z + values(`${name}Bias`)[i]);
    keys.push(part("key"));
    memory.push(affine(values, "value", u).map(silu));
    const turned = (name: string, at: number): Vector => rotate([...values(name)], at, ropeTheta, keyDim);
    const scores = keys.map((key, at) => {
      const bias = product(turned("queryPlace", position), turned("keyPlace", at))[0];
      return Math.exp(product(part("query"), key)[0] / Math.sqrt(keyDim) + bias);
    });
    const total = scores.reduce((a, b) => a + b, 0);
    const attended = memory[0].map((_, i) => scores.reduce((so, s, at) => so + (s / total) * memory[at][i], 0));
    const reset = affine(values, "reset", e).map(silu);
    const read = product(
      values("attended.weight"),
      attended.map((o, i) => o * reset[i]),
    );
    const candidate = sum(affine(values, "candidate", e), read).map(silu);
    const update = affine(values, "update", e).map(sigmoid);
    const after = x.map((value, i) => value + update[i] * (candidate[i] - value));
    const hidden = affine(values, "up", normed(values, "channelNorm", after)).map(silu);
    return sum(after, affine(values, "down", hidden));
  };
}

function loopLogits(model: Model, parameters: HostParameters, tokens: readonly number[]): number[] {
  const { dim, layerCount } = model.config as Record<string, number>;
  const all = valuesUnder(parameters, "");
  const layers = Array.from({ length: layerCount }, (_, i) =>
    loopLayer(model, valuesUnder(parameters, `blocks.${i}.`)),
  );
  return tokens.flatMap((token, position) => {
    let x: Vector = [...all("embedding.weight").subarray(token * dim, (token + 1) * dim)];
    for (const layer of layers) x = layer(x, position);
    const head = parameters.has("head.weight") ? all("head.weight") : all("embedding.weight");
    return product(head, normed(all, "finalNorm", x));
  });
}

test("logits are those of the equations written as loops", () => {
  for (const model of [createMega(config), createMega({ ...config, tiedEmbeddings: true, averageSize: 1 })]) {
    assertEquations(model, (parameters, tokens) => loopLogits(model, parameters, tokens));
  }
});

test("decoding in pieces of any length gives the logits and the state of the whole sequence", () => {
  assertDecodes(createMega(config));
});

test("the averages have one size, keys and values grow with the context", () => {
  const model = createMega({ ...config, contextLength: 77 });
  assert.equal(model.contextLimit, 77);
  const { blocks } = model.stateTypes({ batch: 2, capacity: 5 }) as { readonly blocks: readonly unknown[] };
  assert.deepEqual(blocks[0], {
    average: { dtype: "f32", shape: [2, 6, 3] },
    keys: { dtype: "f32", shape: [2, 5, 1, 8] },
    values: { dtype: "f32", shape: [2, 5, 1, 5] },
  });
});

test("impossible configurations are refused by name", () => {
  assert.throws(
    () => createMega({ ...config, keyDim: 3 }),
    (error) => error instanceof ModelConfigError && /an even keyDim/.test(error.message),
  );
  assert.throws(() => createMega({ ...config, averageSize: 0 }), ModelConfigError);
});

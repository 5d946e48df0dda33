import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostTensor, Tensor, Tree } from "@fidelity/core";
import { createInterpreter, interpret, trace } from "@fidelity/core";
import { createModel } from "./architectures.ts";
import { createBert } from "./bert.ts";
import { pool } from "./blocks/pooling.ts";
import { createParameters, freeParameters } from "./device_parameters.ts";
import { encode } from "./encode.ts";
import { logitsOf } from "./logits.ts";
import { languageModelLoss } from "./loss.ts";
import type { EncoderHead } from "./model.ts";
import { ModelKindError } from "./model.ts";
import { mapParameters, namedParameters, parameterTypes } from "./parameters.ts";
import { ContextLimitError, openSession, TokenRangeError } from "./session.ts";
import { dot, geluTanh, matrixProduct, softmaxSimilarity } from "./testing-transformer.node.ts";
import type { HostParameters } from "./testing.ts";
import { evaluateModel, largestError, randomParameters, randomTokens } from "./testing.ts";

const sizes = { dim: 8, hiddenDim: 12, layerCount: 2, headCount: 2, vocabSize: 11, contextLength: 10 };
const heads = { pooler: true, classCount: 3, maskedLanguageModel: true };
const config = { architecture: "bert", ...sizes, ...heads, activation: "gelu-tanh" };
const EPSILON = 1e-12;

test("vectors are those of the encoder's equations written as loops", () => {
  const model = createBert(config);
  const parameters = randomParameters(model, 3);
  const tokens = randomTokens(model, 2, 6, 1);
  const expected = tokens.flatMap((row) => vectorsOf(parameters, row)).flat();
  assert.ok(largestError(expected, evaluateModel(model, parameters, tokens).logits) < 1e-9);
});

test("GELU is exact unless the configuration says otherwise", () => {
  const parameters = randomParameters(createBert(config), 3);
  const { activation: _tanh, ...exact } = config;
  const tokens = randomTokens(createBert(config), 1, 6, 1);
  const [a, b] = [config, exact].map((one) => evaluateModel(createBert(one), parameters, tokens).logits);
  const difference = largestError(a, b);
  assert.ok(difference > 1e-5 && difference < 1e-2, String(difference));
});

test("heads are those of the equations", () => {
  const model = createBert(config);
  const parameters = randomParameters(model, 4);
  const [tokens] = randomTokens(model, 1, 5, 2);
  const vectors = vectorsOf(parameters, tokens);
  const layer = (name: string, x: readonly number[]): number[] => dense(parameters, name, x);
  const pooled = layer("pooler", vectors[0]).map(Math.tanh);
  const words = vectors.flatMap((vector) => {
    const hidden = layerNorm(parameters, "masked.norm", layer("masked.transform", vector).map(geluTanh));
    const bias = parameters.get("masked.bias")!.data;
    return matrixProduct(hidden, parameters.get("embedding.weight")!.data).map((y, i) => y + bias[i]);
  });
  assert.ok(largestError(pooled, headResult("pooler")) < 1e-9);
  assert.ok(largestError(layer("classifier", pooled), headResult("classifier")) < 1e-9);
  assert.ok(largestError(words, headResult("maskedLanguageModel")) < 1e-9);

  function headResult(head: EncoderHead): Float64Array {
    const types: unknown = mapParameters(model.parameters, (_spec, path) => parameters.get(path)!.type);
    const text: HostTensor = { type: { dtype: "i32", shape: [1, 5] }, data: Float64Array.from(tokens) };
    const { graph } = trace(
      head,
      (tree, ids) => {
        const { logits } = model.forward(tree as Tree<Tensor>, ids as Tensor<readonly number[], "i32">);
        return model.encoder!.head(head, tree as Tree<Tensor>, logits);
      },
      [types, text.type],
    );
    const values = namedParameters(model.parameters).map(({ path }) => parameters.get(path)!);
    return interpret(graph, [...values, text])[0].data;
  }
});

test("a head that the model has not is refused by name", () => {
  const model = createBert({ ...config, classCount: 0 });
  assert.deepEqual(model.encoder!.heads, ["pooler", "maskedLanguageModel"]);
  assert.throws(() => model.encoder!.head("classifier", {}, undefined as never), /has no classifier head/);
  assert.throws(() => createBert({ ...config, headCount: 3 }), /sizes do not fit(.|\n)*dim 8, headCount 3/);
});

test("pooling is the mean of the vectors, or the first", () => {
  const vectors: HostTensor = { type: { dtype: "f32", shape: [1, 2, 3] }, data: Float64Array.of(1, 2, 3, 5, 8, 13) };
  const pooled = (["mean", "first"] as const).map((pooling) => {
    const { graph } = trace("pool", (x) => pool(x as Tensor<readonly number[], "f32">, pooling), [vectors.type]);
    return [...interpret(graph, [vectors])[0].data];
  });
  assert.deepEqual(pooled, [
    [3, 5, 8],
    [1, 2, 3],
  ]);
});

test("on a device: vectors, pooled and by heads; what needs a next token refuses an encoder", async () => {
  const model = createBert(config);
  const host = randomParameters(model, 5);
  const device = createInterpreter();
  const parameters = createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) =>
    tensor.f32().set(host.get(path)!.data),
  );
  const tokens = [3, 1, 4, 1, 5];
  const expected = vectorsOf(host, tokens).flat();
  const vectors = await encode(model, parameters, device, tokens);
  assert.ok(largestError(expected, vectors) < 1e-5);
  assert.deepEqual(await encode(model, parameters, device, tokens, "first"), vectors.slice(0, 8));
  assert.equal((await encode(model, parameters, device, tokens, "classifier")).length, 3);
  for await (const rows of logitsOf(model, parameters, device, [tokens])) assert.deepEqual(rows, vectors);
  await assert.rejects(encode(model, parameters, device, []), TokenRangeError);
  await assert.rejects(encode(model, parameters, device, [11]), TokenRangeError);
  await assert.rejects(encode(model, parameters, device, new Array<number>(11).fill(0)), ContextLimitError);
  await assert.rejects(openSession(model, parameters, device), ModelKindError);
  assert.throws(() => languageModelLoss(model), /bert model is an encoder(.|\n)*a causal language model/);
  const causal = createModel({
    architecture: "llama",
    dim: 4,
    layerCount: 1,
    headCount: 1,
    vocabSize: 3,
    contextLength: 4,
  });
  await assert.rejects(encode(causal, parameters, device, tokens), ModelKindError);
  freeParameters(parameters);
});

/** The vectors of one row of tokens, [time][dim]. */
function vectorsOf(parameters: HostParameters, tokens: readonly number[]): number[][] {
  const { dim, headCount } = sizes;
  const row = (name: string, at: number): number[] => [
    ...parameters.get(`${name}.weight`)!.data.subarray(at * dim, (at + 1) * dim),
  ];
  let xs = tokens.map((token, at) => {
    const [type, position] = [row("tokenTypes", 0), row("positions", at)];
    const sum = row("embedding", token).map((value, i) => value + type[i] + position[i]);
    return layerNorm(parameters, "embeddingNorm", sum);
  });
  for (let layer = 0; layer < sizes.layerCount; layer++) {
    const name = (part: string): string => `blocks.${layer}.${part}`;
    const [queries, keys, values] = ["query", "key", "value"].map((part) =>
      xs.map((x) => dense(parameters, name(`attention.${part}`), x)),
    );
    const size = dim / headCount;
    const similarity = softmaxSimilarity(1 / Math.sqrt(size));
    xs = xs.map((x, t) => {
      const mixed = Array.from({ length: dim }, (_, i) => {
        const at = i - (i % size);
        const weights = keys.map((key) => similarity(queries[t].slice(at, at + size), key.slice(at, at + size)));
        const total = weights.reduce((a, b) => a + b, 0);
        return (
          dot(
            weights,
            values.map((value) => value[i]),
          ) / total
        );
      });
      const attended = dense(parameters, name("attention.output"), mixed);
      const y = layerNorm(
        parameters,
        name("attentionNorm"),
        x.map((value, i) => value + attended[i]),
      );
      const hidden = dense(parameters, name("feedForward.up"), y).map(geluTanh);
      const fed = dense(parameters, name("feedForward.down"), hidden);
      return layerNorm(
        parameters,
        name("feedForwardNorm"),
        y.map((value, i) => value + fed[i]),
      );
    });
  }
  return xs;
}

function dense(parameters: HostParameters, name: string, x: readonly number[]): number[] {
  const bias = parameters.get(`${name}.bias`)!.data;
  return matrixProduct(x, parameters.get(`${name}.weight`)!.data).map((value, i) => value + bias[i]);
}

function layerNorm(parameters: HostParameters, name: string, x: readonly number[]): number[] {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  const [gain, bias] = ["weight", "bias"].map((part) => parameters.get(`${name}.${part}`)!.data);
  return x.map((value, i) => ((value - mean) / Math.sqrt(variance + EPSILON)) * gain[i] + bias[i]);
}

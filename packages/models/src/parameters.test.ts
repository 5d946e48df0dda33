import assert from "node:assert/strict";
import { test } from "node:test";
import { elementCount, flattenTree } from "@fidelity/core";
import type { HostTensor } from "@fidelity/core";
import { createModel } from "./architectures.ts";
import type { Model } from "./model.ts";
import { countParameters, initialise, namedParameters, parameterTypes, residualStd } from "./parameters.ts";
import { SeedError } from "./random.ts";

const matmulFree = { architecture: "matmul-free", dim: 64, layerCount: 2, vocabSize: 65 };
const llama = {
  architecture: "llama",
  dim: 64,
  hiddenDim: 172,
  layerCount: 5,
  headCount: 8,
  keyValueHeadCount: 4,
  vocabSize: 512,
  contextLength: 512,
};

function values(model: Model, seed: number): Map<string, HostTensor> {
  const isHost = (value: unknown): value is HostTensor =>
    typeof value === "object" && value !== null && "data" in value;
  return new Map(flattenTree(initialise(model.parameters, seed), isHost).map(({ path, leaf }) => [path, leaf]));
}

function moments(data: Float64Array): { readonly mean: number; readonly std: number } {
  const mean = data.reduce((sum, value) => sum + value, 0) / data.length;
  return { mean, std: Math.sqrt(data.reduce((sum, value) => sum + (value - mean) ** 2, 0) / data.length) };
}

test("names are those of the model files", () => {
  const names = (config: object): string[] => namedParameters(createModel(config).parameters).map(({ path }) => path);
  assert.deepEqual(names({ ...llama, layerCount: 1 }), [
    "embedding.weight",
    "blocks.0.attentionNorm.weight",
    "blocks.0.attention.query.weight",
    "blocks.0.attention.key.weight",
    "blocks.0.attention.value.weight",
    "blocks.0.attention.output.weight",
    "blocks.0.feedForwardNorm.weight",
    "blocks.0.feedForward.gate.weight",
    "blocks.0.feedForward.up.weight",
    "blocks.0.feedForward.down.weight",
    "finalNorm.weight",
  ]);
  assert.deepEqual(names({ ...matmulFree, layerCount: 1 }), [
    "embedding.weight",
    "lowerBounds",
    "blocks.0.mixerNorm.weight",
    "blocks.0.mixer.forget.weight",
    "blocks.0.mixer.candidate.weight",
    "blocks.0.mixer.gate.weight",
    "blocks.0.mixer.gateNorm.weight",
    "blocks.0.mixer.output.weight",
    "blocks.0.channelNorm.weight",
    "blocks.0.channel.gate.weight",
    "blocks.0.channel.up.weight",
    "blocks.0.channel.down.weight",
    "finalNorm.weight",
    "head.weight",
  ]);
});

test("counts and bytes are those of the shapes", () => {
  // The size of llama2.c's stories260K without its 28 bytes of header and its two rotary tables [512, 4].
  const { parameters, float32Bytes, packedBytes, ternaryParameters } = countParameters(createModel(llama).parameters);
  assert.equal(float32Bytes, 1_056_540 - 28 - 2 * 512 * 4 * 4);
  assert.deepEqual([parameters, packedBytes, ternaryParameters], [float32Bytes / 4, float32Bytes, 0]);

  // Per layer: 4 d^2 of the mixer, 3 x 256 d of the channel mixer, 3 gains of d. Besides: two tables, bounds, one gain.
  const recurrent = countParameters(createModel(matmulFree).parameters);
  const ternary = 2 * (4 * 64 ** 2 + 3 * 256 * 64);
  const dense = 2 * 3 * 64 + 2 * 65 * 64 + 2 * 64 + 64;
  assert.equal(recurrent.ternaryParameters, ternary);
  assert.equal(recurrent.parameters, ternary + dense);
  // Two bits a weight and a scale of 64 bytes for each of 7 matrices a layer; these shapes need no padding.
  assert.equal(recurrent.packedBytes, 4 * dense + ternary / 4 + 2 * 7 * 64);
});

test("packed types make ternary weights 2-bit and leave the rest", () => {
  const types = parameterTypes(createModel(matmulFree).parameters, { packed: true });
  assert.deepEqual(types, parameterTypesExpected());
});

function parameterTypesExpected(): unknown {
  const f32 = (...shape: number[]): unknown => ({ dtype: "f32", shape });
  const ternary = (...shape: number[]): unknown => ({ weight: { dtype: "ternary", shape } });
  const block = {
    mixerNorm: { weight: f32(64) },
    mixer: {
      forget: ternary(64, 64),
      candidate: ternary(64, 64),
      gate: ternary(64, 64),
      gateNorm: { weight: f32(64) },
      output: ternary(64, 64),
    },
    channelNorm: { weight: f32(64) },
    channel: { gate: ternary(256, 64), up: ternary(256, 64), down: ternary(64, 256) },
  };
  return {
    embedding: { weight: f32(65, 64) },
    lowerBounds: f32(2, 64),
    blocks: [block, block],
    finalNorm: { weight: f32(64) },
    head: { weight: f32(65, 64) },
  };
}

test("first values depend on seed and path alone, and have the documented spread", () => {
  const model = createModel(matmulFree);
  const first = values(model, 7);
  assert.deepEqual(values(model, 7), first);
  const deeper = values(createModel({ ...matmulFree, layerCount: 4 }), 7);
  assert.deepEqual(deeper.get("blocks.1.mixer.forget.weight"), first.get("blocks.1.mixer.forget.weight"));
  const other = values(model, 8);
  for (const [path, { data, type }] of first) {
    assert.equal(data.length, elementCount(type.shape));
    assert.ok(
      data.every((value) => Math.fround(value) === value),
      `${path} is not float32`,
    );
    if (path === "lowerBounds") assert.ok(data.every((value) => value === 0));
    else if (type.shape.length === 1)
      assert.ok(
        data.every((value) => value === 1),
        path,
      );
    else {
      const { mean, std } = moments(data);
      const expected = /mixer\.output|channel\.down/.test(path) ? residualStd(2) : 0.02;
      // Five standard errors.
      assert.ok(Math.abs(std - expected) < (5 * expected) / Math.sqrt(2 * data.length), `${path}: ${std}`);
      assert.ok(Math.abs(mean) < (5 * expected) / Math.sqrt(data.length), `${path}: ${mean}`);
      assert.notDeepEqual(other.get(path)!.data, data);
    }
  }
  assert.notDeepEqual(first.get("blocks.0.mixer.gate.weight"), first.get("blocks.0.mixer.forget.weight"));
  assert.throws(() => values(model, -1), SeedError);
});

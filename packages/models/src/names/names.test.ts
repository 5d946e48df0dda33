// What files of other programs say, and the models that they describe.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createModel } from "../architectures.ts";
import { ModelConfigError } from "../config.ts";
import { namedParameters } from "../parameters.ts";
import { importModel, knownForeignNames, namings } from "./index.ts";
import type { ForeignFormat } from "./index.ts";
import type { ForeignModel } from "./naming.ts";
import { ForeignModelError } from "./naming.ts";

interface FakeTensor {
  readonly shape: readonly number[];
  readonly dtype?: string;
  readonly values?: Float32Array;
}

function fileOf(
  fields: Readonly<Record<string, unknown>>,
  tensors: Readonly<Record<string, FakeTensor>>,
): ForeignModel {
  return {
    where: "a file",
    get: (key) => fields[key],
    shape: (name) => tensors[name]?.shape,
    dtype: (name) => (name in tensors ? (tensors[name].dtype ?? "f32") : undefined),
    values: (name) => tensors[name].values!,
  };
}

/** The file that a model is written as. */
function written(config: unknown, format: ForeignFormat = "gguf"): ForeignModel {
  const model = createModel(config);
  const naming = namings[model.architecture][format]!;
  const fields = Object.fromEntries(naming.metadata!(model.config).map(({ key, value }) => [key, value]));
  const tensors: Record<string, FakeTensor> = {};
  for (const { path, leaf } of namedParameters(model.parameters)) {
    for (const name of naming.origin(path, model.config)!.names) tensors[name] = { shape: leaf.shape };
  }
  for (const [name, values] of naming.constants?.(model.config) ?? [])
    tensors[name] = { shape: [values.length], values };
  return fileOf(fields, tensors);
}

const sizes = { dim: 12, hiddenDim: 20, layerCount: 3, headCount: 2, vocabSize: 7, contextLength: 32 };
const decoder = { ...sizes, keyValueHeadCount: 1, headDim: 4, normEpsilon: 1e-3, tiedEmbeddings: false, ropeTheta: 77 };

test("what is written as GGUF is read as the same model", () => {
  const yarn = { ropeScaling: "yarn", ropeScalingFactor: 4, ropeOriginalContext: 8, ropeMagnitude: 1.5 };
  const configs = [
    { architecture: "llama", ...decoder },
    { architecture: "llama", ...decoder, ...yarn, ropeFastTurns: 16, ropeSlowTurns: 2, queryKeyValueBias: true },
    { architecture: "llama", ...decoder, ropeFactors: [1, 8], outputBias: true, feedForwardBias: true },
    { architecture: "qwen2", ...decoder, tiedEmbeddings: true },
    { architecture: "qwen3", ...decoder, ropeScaling: "linear", ropeScalingFactor: 2 },
    { architecture: "gemma2", ...decoder, window: 5, windowPeriod: 3, attentionSoftcap: 9, logitSoftcap: 8 },
    { architecture: "gemma3", ...decoder, window: 5, localRopeTheta: 55, logitSoftcap: 8 },
    { architecture: "gemma3", ...decoder, windowPeriod: 1 },
    { architecture: "bitnet", ...decoder, tiedEmbeddings: true, activation: "silu", weights: "dense" },
    { architecture: "bitnet", ...decoder, tiedEmbeddings: true, activation: "relu2", weights: "dense" },
    { architecture: "bert", ...sizes, activation: "gelu-tanh", pooling: "first", pooler: true, classCount: 2 },
  ];
  for (const config of configs) {
    assert.deepEqual(importModel("gguf", written(config)).model.config, createModel(config).config);
  }
});

test("what is written for Hugging Face is read as the same model", () => {
  const llama = { architecture: "llama", ...decoder, ropePairing: "halves" };
  const gemma = { ...decoder, window: 5, attentionScale: 0.25 };
  const configs = [
    llama,
    { ...llama, attention: "window", window: 3, queryKeyValueBias: true, outputBias: true, feedForwardBias: true },
    { architecture: "qwen2", ...decoder, tiedEmbeddings: true },
    { architecture: "qwen3", ...decoder },
    { architecture: "gemma2", ...gemma, attentionSoftcap: 9, logitSoftcap: 8 },
    { architecture: "gemma3", ...gemma, windowPeriod: 3, localRopeTheta: 55, logitSoftcap: 8 },
    { architecture: "bitnet", ...decoder, activation: "silu" },
    { architecture: "bert", ...sizes, pooler: true, classCount: 2, maskedLanguageModel: true },
  ];
  for (const config of configs) {
    assert.deepEqual(
      importModel("huggingFace", written(config, "huggingFace")).model.config,
      createModel(config).config,
    );
  }
  for (const config of [
    { ...llama, ropeFactors: [1, 8] },
    { ...llama, outputBias: true },
    { architecture: "bitnet", ...decoder, weights: "dense" },
  ]) {
    assert.throws(() => written(config, "huggingFace"), ForeignModelError);
  }
  for (const format of ["gguf", "huggingFace"] as const) {
    assert.throws(() => written({ ...llama, attention: "linear" }, format), /Fidelity's own format only/);
  }
});

test("queries and keys are permuted on their way to files with the other pairs", () => {
  const write = (format: ForeignFormat, ropePairing: string, path: string, values: Float32Array): Float32Array =>
    namings["llama"][format]!.origin(path, { dim: 2, headDim: 4, ropePairing })!.write!(values)[0];
  // Two heads of four channels: rows of two columns, and biases.
  const rows = Float32Array.from({ length: 16 }, (_, i) => i);
  const query = "blocks.0.attention.query.weight";
  const adjacent = write("gguf", "halves", query, rows);
  assert.deepEqual([...adjacent], [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
  assert.deepEqual(write("huggingFace", "adjacent", query, adjacent), rows);
  const bias = write("gguf", "halves", "blocks.0.attention.key.bias", Float32Array.of(0, 1, 2, 3));
  assert.deepEqual([...bias], [0, 2, 1, 3]);
  for (const [format, ropePairing] of [
    ["gguf", "adjacent"],
    ["huggingFace", "halves"],
  ] as const) {
    assert.equal(namings["llama"][format]!.origin(query, { dim: 2, headDim: 4, ropePairing })!.write, undefined);
  }
  const value = namings["llama"].gguf!.origin("blocks.0.attention.value.weight", { ropePairing: "halves" });
  assert.equal(value!.write, undefined);
});

test("the larger Gemmas scale scores by the width of a head's share of the model", () => {
  const scaleOf = (architecture: string, layerCount: number): unknown =>
    importModel("gguf", written({ architecture, ...decoder, layerCount })).model.config["attentionScale"];
  assert.deepEqual([scaleOf("gemma2", 46), scaleOf("gemma2", 45)], [1 / Math.sqrt(6), 0.5]);
  assert.deepEqual([scaleOf("gemma3", 62), scaleOf("gemma3", 46)], [1 / Math.sqrt(6), 0.5]);
});

test("GGUF's ternary types are used as such, with the scale that a tensor of its own holds", () => {
  const plain = written({ architecture: "bitnet", ...decoder, tiedEmbeddings: true, activation: "silu" });
  const ternary: ForeignModel = {
    ...plain,
    dtype: (name) => (/attn_q\.weight|ffn_/.test(name) ? "tq2_0" : "f32"),
    shape: (name) => (name === "blk.1.ffn_up.scale" ? [1] : plain.shape(name)),
  };
  const { model, origins } = importModel("gguf", ternary);
  assert.equal(model.config["weights"], "ternary");
  const scaled = origins.get("blocks.1.feedForward.up.weight")!;
  assert.deepEqual(scaled.names, ["blk.1.ffn_up.weight", "blk.1.ffn_up.scale"]);
  assert.deepEqual(scaled.read!([Float32Array.of(1, -1, 0), Float32Array.of(3)]), Float32Array.of(3, -3, 0));
  assert.equal(origins.get("blocks.0.feedForward.up.weight")!.read, undefined);
  const { write } = namings["bitnet"].gguf!.origin("blocks.0.attention.key.weight", model.config)!;
  assert.deepEqual(write!(Float32Array.of(3, -1, 0.5, -3.5)), [Float32Array.of(2, 0, 0, -2)]);
  assert.deepEqual(write!(Float32Array.of(3, 0, 0, -3)), [Float32Array.of(3, 0, 0, -3)]);
});

const huggingFaceDecoder = {
  hidden_size: 12,
  intermediate_size: 20,
  num_hidden_layers: 3,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 4,
  vocab_size: 7,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-3,
  rope_theta: 77,
};

/** The model of a Hugging Face folder that has every tensor. */
function huggingFace(fields: Readonly<Record<string, unknown>>, missing = /^$/): Readonly<Record<string, unknown>> {
  const all = fileOf(fields, {});
  return importModel("huggingFace", { ...all, shape: (name) => (missing.test(name) ? undefined : [1]) }).model.config;
}

test("Hugging Face's configurations", () => {
  const expected = { architecture: "llama", ...decoder, ropePairing: "halves" };
  assert.deepEqual(huggingFace({ model_type: "llama", ...huggingFaceDecoder }), createModel(expected).config);
  assert.deepEqual(
    huggingFace({ model_type: "mistral", ...huggingFaceDecoder, sliding_window: 9, attention_bias: true }),
    createModel({ ...expected, attention: "window", window: 9, queryKeyValueBias: true, outputBias: true }).config,
  );
  assert.deepEqual(
    huggingFace({ model_type: "qwen3", ...huggingFaceDecoder, tie_word_embeddings: true }),
    createModel({ architecture: "qwen3", ...decoder, tiedEmbeddings: true }).config,
  );
  const gemma = { ...huggingFaceDecoder, sliding_window: 5, query_pre_attn_scalar: 16, tie_word_embeddings: false };
  assert.deepEqual(
    huggingFace({ model_type: "gemma2", ...gemma, attn_logit_softcapping: null }),
    createModel({ architecture: "gemma2", ...decoder, window: 5, attentionScale: 0.25, attentionSoftcap: 1e6 }).config,
  );
  const layers = ["sliding_attention", "sliding_attention", "full_attention"];
  assert.deepEqual(
    huggingFace({ model_type: "gemma3_text", ...gemma, layer_types: layers }),
    createModel({ architecture: "gemma3", ...decoder, window: 5, windowPeriod: 3, attentionScale: 0.25 }).config,
  );
  assert.throws(
    () => huggingFace({ model_type: "gemma2", ...gemma, layer_types: layers.toReversed() }),
    ForeignModelError,
  );
  assert.throws(
    () => huggingFace({ model_type: "qwen2", ...huggingFaceDecoder, use_sliding_window: true }),
    /sliding windows are not supported/,
  );
});

test("Gemma 3 beside an encoder of images", () => {
  const scaling = { rope_type: "linear", factor: 8 };
  const text = { hidden_size: 2560, intermediate_size: 10_240, num_hidden_layers: 34, sliding_window: 1024 };
  const nested = Object.entries({
    ...text,
    rope_scaling: scaling,
    "rope_scaling.rope_type": "linear",
    "rope_scaling.factor": 8,
  });
  const fields = {
    model_type: "gemma3",
    text_config: text,
    ...Object.fromEntries(nested.map(([k, v]) => [`text_config.${k}`, v])),
  };
  const file = fileOf(fields, {});
  const { model, origins } = importModel("huggingFace", {
    ...file,
    shape: (name) => (name.startsWith("language_model.model.") ? [1] : undefined),
  });
  // google/gemma-3-4b-it.
  const sizesOf4B = { dim: 2560, hiddenDim: 10_240, layerCount: 34, headCount: 8, keyValueHeadCount: 4, headDim: 256 };
  const rest = {
    vocabSize: 262_208,
    contextLength: 131_072,
    ropeScaling: "linear",
    ropeScalingFactor: 8,
    window: 1024,
  };
  assert.deepEqual(model.config, createModel({ architecture: "gemma3", ...sizesOf4B, ...rest }).config);
  const names = origins.get("blocks.3.attention.queryNorm.weight")!.names;
  assert.deepEqual(names, ["language_model.model.layers.3.self_attn.q_norm.weight"]);
});

test("rotary scaling in config.json", () => {
  const rotation = (fields: object): object => {
    const { ropeTheta: _theta, ...rest } = huggingFace({ model_type: "llama", ...huggingFaceDecoder, ...fields });
    return Object.fromEntries(Object.entries(rest).filter(([name]) => /^rope(?!Pairing)/.test(name)));
  };
  const scaling = (values: Record<string, unknown>): Record<string, unknown> =>
    Object.fromEntries([
      ["rope_scaling", values],
      ...Object.entries(values).map(([name, value]) => [`rope_scaling.${name}`, value]),
    ]);
  assert.deepEqual(rotation({ rope_scaling: null }), {});
  assert.deepEqual(rotation(scaling({ type: "linear", factor: 4 })), { ropeScaling: "linear", ropeScalingFactor: 4 });
  assert.deepEqual(
    rotation(scaling({ rope_type: "yarn", factor: 4, original_max_position_embeddings: 8, attention_factor: 1 })),
    {
      ropeScaling: "yarn",
      ropeScalingFactor: 4,
      ropeOriginalContext: 8,
      ropeMagnitude: 1 / (1 + 0.1 * Math.log(4)),
    },
  );
  // Pair 0 turns 1.27 times within 8 tokens, pair 1 0.145 times.
  const llama3 = { factor: 8, low_freq_factor: 1, high_freq_factor: 2, original_max_position_embeddings: 8 };
  const { ropeFactors } = rotation(scaling({ rope_type: "llama3", ...llama3 })) as { ropeFactors: number[] };
  const kept = (8 / (2 * Math.PI) - 1) / (2 - 1);
  assert.ok(Math.abs(ropeFactors[0] - 1 / ((1 - kept) / 8 + kept)) < 1e-12);
  assert.equal(ropeFactors[1], 8);
  assert.throws(() => rotation(scaling({ rope_type: "dynamic", factor: 2 })), /"dynamic" are not supported/);
});

test("Gemma's gains are kept less 1 by Hugging Face, and nothing else is", () => {
  const naming = namings["gemma2"].huggingFace!;
  const gains = naming.origin("blocks.2.feedForwardNorm.weight", {})!;
  assert.deepEqual(gains.names, ["model.layers.2.pre_feedforward_layernorm.weight"]);
  assert.deepEqual(gains.read!([Float32Array.of(-0.5, 0, 2)]), Float32Array.of(0.5, 1, 3));
  assert.deepEqual(gains.write!(Float32Array.of(0.5, 1, 3)), [Float32Array.of(-0.5, 0, 2)]);
  assert.equal(naming.origin("blocks.2.attention.query.weight", {})!.read, undefined);
});

test("BitNet's packed rows are four to a byte, with a scale", () => {
  const naming = namings["bitnet"].huggingFace!;
  const linearClass = (name: string): ForeignModel =>
    fileOf({ "quantization_config.linear_class": name }, { "model.layers.0.mlp.up_proj.weight_scale": { shape: [1] } });
  // Rows 0 to 3 of one column: codes 2, 0, 1, 2.
  const packed = [Float32Array.of(2 + (0 << 2) + (1 << 4) + (2 << 6)), Float32Array.of(4)];
  const read = (name: string): Float32Array =>
    naming.origin("blocks.0.feedForward.up.weight", {}, linearClass(name))!.read!(packed);
  assert.deepEqual(read("autobitlinear"), Float32Array.of(4, -4, 0, 4));
  assert.deepEqual(read("bitlinear"), Float32Array.of(0.25, -0.25, 0, 0.25));
});

test("what cannot be read is refused by name", () => {
  const llama = written({ architecture: "llama", ...decoder });
  const refuses = (changes: Partial<ForeignModel>, message: RegExp): void => {
    assert.throws(
      () => importModel("gguf", { ...llama, ...changes }),
      (error) => {
        assert.ok(error instanceof ForeignModelError || error instanceof ModelConfigError, String(error));
        assert.match(error.message, message);
        return true;
      },
    );
  };
  const says = (key: string, value: unknown): Partial<ForeignModel> => ({
    get: (asked) => (asked === key ? value : llama.get(asked)),
  });
  refuses(says("llama.expert_count", 8), /mixtures of experts(.|\n)*llama\.expert_count/);
  refuses(says("llama.rope.dimension_count", 2), /heads of this file(.|\n)*rope\.dimension_count(.|\n)*got: +2/);
  refuses(says("llama.rope.scaling.type", "longrope"), /"longrope" are not supported/);
  refuses(says("llama.embedding_length", -3), /dim is impossible/);
  refuses(says("llama.block_count", "many"), /"llama\.block_count" is impossible/);
  refuses(says("general.architecture", "lama"), /"lama" is not known(.|\n)*nearest is "llama"/);
  const without = /blk\.1\.ffn_up/;
  refuses({ shape: (name) => (without.test(name) ? undefined : llama.shape(name)) }, /lacks a tensor(.|\n)*ffn_up/);
});

test("every name that files may give belongs to one architecture", () => {
  for (const format of ["gguf", "huggingFace"] satisfies ForeignFormat[]) {
    const names = Object.values(namings).flatMap((naming) => naming[format]?.names ?? []);
    assert.equal(new Set(names).size, names.length);
    assert.equal(knownForeignNames(format).size, names.length);
  }
});

// DeepSeek's files: what is written is read as the same model, and the ways in which others keep the same matrices.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createModel } from "../architectures.ts";
import { namedParameters } from "../parameters.ts";
import { deepseek2Naming } from "./deepseek2.ts";
import { importModel } from "./index.ts";
import type { ForeignModel } from "./naming.ts";
import { ForeignModelError } from "./naming.ts";

const config = {
  architecture: "deepseek2",
  dim: 10,
  hiddenDim: 14,
  layerCount: 3,
  denseLayerCount: 1,
  headCount: 3,
  latentRank: 8,
  keyDim: 3,
  ropeDim: 4,
  valueDim: 2,
  expertCount: 6,
  expertsPerToken: 2,
  expertHiddenDim: 5,
  vocabSize: 11,
  contextLength: 32,
} as const;

const yarn = { ropeScaling: "yarn", ropeScalingFactor: 40, ropeOriginalContext: 16 } as const;
const growth = 1 + 0.1 * Math.log(40);

function fileOf(fields: Readonly<Record<string, unknown>>, shape: ForeignModel["shape"]): ForeignModel {
  return { where: "a file", get: (key) => fields[key], shape, dtype: () => "f32", values: () => new Float32Array() };
}

/** The GGUF file that a model is written as. */
function written(value: unknown): ForeignModel {
  const model = createModel(value);
  const { gguf } = deepseek2Naming;
  const fields = Object.fromEntries(gguf!.metadata!(model.config).map((entry) => [entry.key, entry.value]));
  const shapes = new Map(
    namedParameters(model.parameters).map(({ path, leaf }) => [gguf!.origin(path, model.config)!.names[0], leaf.shape]),
  );
  return fileOf(fields, (name) => shapes.get(name));
}

test("what is written as GGUF is read as the same model", () => {
  const configs = [
    config,
    { ...config, queryRank: 6, sharedExpertCount: 0, tiedEmbeddings: true, normEpsilon: 1e-5 },
    { ...config, expertScore: "sigmoid", selectionBias: true, normalisedWeights: true, expertScale: 2.5 },
    { ...config, expertGroupCount: 3, groupsPerToken: 2 },
    // As DeepSeek-V2 has it: scores grow with the context, turned vectors do not; then both; then neither.
    { ...config, ...yarn, ropeMagnitude: 1 / growth, attentionScale: growth ** 1.5 / Math.sqrt(7) },
    { ...config, ...yarn, ropeMagnitude: 1, attentionScale: growth ** 2 / Math.sqrt(7) },
    { ...config, ...yarn, ropeMagnitude: 1 / growth, attentionScale: 1 / Math.sqrt(7) },
  ];
  for (const one of configs) {
    const expected = createModel(one).config;
    const got = importModel("gguf", written(one)).model.config;
    assert.deepEqual(Object.keys(got), Object.keys(expected));
    for (const [field, value] of Object.entries(expected)) {
      const read = got[field];
      if (typeof value === "number")
        assert.ok(Math.abs(Number(read) - value) < 1e-9, `${field}: ${Number(read)}, not ${value}`);
      else assert.equal(read, value);
    }
  }
});

test("scores and turned vectors grow as llama.cpp has it, with a multiplier and without", () => {
  const fields = (more: object): Readonly<Record<string, unknown>> => {
    const file = written({ ...config, ...yarn });
    const own: Readonly<Record<string, unknown>> = { "deepseek2.rope.scaling.attn_factor": undefined, ...more };
    const changed = { ...file, get: (key: string) => (key in own ? own[key] : file.get(key)) };
    return importModel("gguf", changed).model.config;
  };
  const key = "deepseek2.rope.scaling.yarn_log_multiplier";
  const lite = fields({ [key]: 0.0707 });
  assert.ok(Math.abs(Number(lite["ropeMagnitude"]) * growth - 1) < 1e-12);
  const scores = (1 + 0.0707 * Math.log(40)) ** 2 / Math.sqrt(7);
  assert.ok(Math.abs(Number(lite["attentionScale"]) - scores) < 1e-12);
  const plain = fields({ [key]: undefined });
  assert.equal(plain["ropeMagnitude"], 1);
  assert.ok(Math.abs(Number(plain["attentionScale"]) - growth ** 2 / Math.sqrt(7)) < 1e-12);
});

test("matrices of keys and values that a file has joined are taken apart", () => {
  const file = written(config);
  const heads = { "deepseek2.attention.key_length": 7, "deepseek2.attention.value_length": 2 };
  const older: ForeignModel = {
    ...file,
    get: (key) => (key.endsWith("_mla") ? undefined : ((heads as Record<string, unknown>)[key] ?? file.get(key))),
    shape: (name) => (name.includes("attn_kv_b") ? [15, 8] : /attn_[kv]_b/.test(name) ? undefined : file.shape(name)),
  };
  const { model, origins } = importModel("gguf", older);
  assert.deepEqual(model.config, createModel(config).config);
  // Row r of head h, three of keys and then two of values, holds 1000 h + 100 r + i.
  const joined = Float32Array.from({ length: 3 * 5 * 8 }, (_, at) => {
    const [h, r, i] = [Math.floor(at / 40), Math.floor(at / 8) % 5, at % 8];
    return 1000 * h + 100 * r + i;
  });
  const read = (path: string): Float32Array => {
    const origin = origins.get(path)!;
    assert.deepEqual(origin.names, ["blk.1.attn_kv_b.weight"]);
    return origin.read!([joined]);
  };
  const keys = read("blocks.1.attention.keyUp.weight"); // [3, 8, 3]
  const values = read("blocks.1.attention.valueUp.weight"); // [3, 2, 8]
  assert.deepEqual([keys.length, keys[0], keys[1], keys[3], keys[2 * 24 + 5 * 3 + 2]], [72, 0, 100, 1, 2205]);
  assert.deepEqual([values.length, values[0], values[1], values[8], values[16 + 8 + 3]], [48, 300, 301, 400, 1403]);
});

const huggingFaceFields = {
  hidden_size: 10,
  intermediate_size: 14,
  num_hidden_layers: 3,
  first_k_dense_replace: 1,
  num_attention_heads: 3,
  q_lora_rank: null,
  kv_lora_rank: 8,
  qk_nope_head_dim: 3,
  qk_rope_head_dim: 4,
  v_head_dim: 2,
  n_routed_experts: 6,
  num_experts_per_tok: 2,
  moe_intermediate_size: 5,
  n_shared_experts: 1,
  vocab_size: 11,
  max_position_embeddings: 32,
};

test("Hugging Face's configurations of both generations", () => {
  const read = (fields: object): object =>
    importModel(
      "huggingFace",
      fileOf({ ...huggingFaceFields, ...fields }, () => [1]),
    ).model.config;
  const second = { model_type: "deepseek_v2", topk_method: "group_limited_greedy", n_group: 3, topk_group: 2 };
  const groups = { expertGroupCount: 3, groupsPerToken: 2 };
  assert.deepEqual(
    read({ ...second, routed_scaling_factor: 16 }),
    createModel({ ...config, ...groups, groupScore: "max", expertScale: 16 }).config,
  );
  assert.deepEqual(
    read({ ...second, topk_method: "greedy", routed_scaling_factor: 16, norm_topk_prob: true }),
    createModel({ ...config, normalisedWeights: true }).config,
  );
  const scaling = { type: "yarn", factor: 40, mscale: 1, mscale_all_dim: 1, original_max_position_embeddings: 16 };
  const scaled = Object.fromEntries(Object.entries(scaling).map(([name, value]) => [`rope_scaling.${name}`, value]));
  assert.deepEqual(
    read({
      model_type: "deepseek_v3",
      q_lora_rank: 6,
      n_group: 3,
      topk_group: 2,
      routed_scaling_factor: 2.5,
      rope_scaling: scaling,
      ...scaled,
    }),
    createModel({
      ...config,
      ...yarn,
      ...groups,
      queryRank: 6,
      expertScore: "sigmoid",
      selectionBias: true,
      normalisedWeights: true,
      expertScale: 2.5,
      ropeMagnitude: 1 / growth,
      attentionScale: growth ** 2 / Math.sqrt(7),
    }).config,
  );
  assert.throws(() => read({ ...second, topk_method: "random" }), ForeignModelError);
});

test("Hugging Face keeps a tensor for each matrix of each expert", () => {
  const origin = deepseek2Naming.huggingFace!.origin("blocks.2.experts.down.weight", { expertCount: 2 })!;
  const name = (expert: number): string => `model.layers.2.mlp.experts.${expert}.down_proj.weight`;
  assert.deepEqual(origin.names, [name(0), name(1)]);
  assert.deepEqual(origin.read!([Float32Array.of(1, 2), Float32Array.of(3, 4)]), Float32Array.of(1, 2, 3, 4));
});

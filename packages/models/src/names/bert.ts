// BERT in files. GGUF: the pooler and classifier are `cls` and `cls.output`; llama.cpp computes GELU in its tanh form.
// Hugging Face: state dictionaries of BertModel, or of a model with a head, whose names begin with "bert.".

import type { FileNaming, ForeignModel, Naming, ParameterOrigin } from "./naming.ts";
import { ForeignModelError, integerOf, numberOf, originsByPattern, textOf } from "./naming.ts";

/** llama.cpp's numbers for ways to pool. */
const POOLING = { mean: 1, first: 2 } as const;

const ggufOrigin = originsByPattern({
  "embedding.weight": "token_embd.weight",
  "tokenTypes.weight": "token_types.weight",
  "positions.weight": "position_embd.weight",
  "embeddingNorm.weight": "token_embd_norm.weight",
  "embeddingNorm.bias": "token_embd_norm.bias",
  "blocks.{i}.attention.query.weight": "blk.{i}.attn_q.weight",
  "blocks.{i}.attention.query.bias": "blk.{i}.attn_q.bias",
  "blocks.{i}.attention.key.weight": "blk.{i}.attn_k.weight",
  "blocks.{i}.attention.key.bias": "blk.{i}.attn_k.bias",
  "blocks.{i}.attention.value.weight": "blk.{i}.attn_v.weight",
  "blocks.{i}.attention.value.bias": "blk.{i}.attn_v.bias",
  "blocks.{i}.attention.output.weight": "blk.{i}.attn_output.weight",
  "blocks.{i}.attention.output.bias": "blk.{i}.attn_output.bias",
  "blocks.{i}.attentionNorm.weight": "blk.{i}.attn_output_norm.weight",
  "blocks.{i}.attentionNorm.bias": "blk.{i}.attn_output_norm.bias",
  "blocks.{i}.feedForward.up.weight": "blk.{i}.ffn_up.weight",
  "blocks.{i}.feedForward.up.bias": "blk.{i}.ffn_up.bias",
  "blocks.{i}.feedForward.down.weight": "blk.{i}.ffn_down.weight",
  "blocks.{i}.feedForward.down.bias": "blk.{i}.ffn_down.bias",
  "blocks.{i}.feedForwardNorm.weight": "blk.{i}.layer_output_norm.weight",
  "blocks.{i}.feedForwardNorm.bias": "blk.{i}.layer_output_norm.bias",
  "pooler.weight": "cls.weight",
  "pooler.bias": "cls.bias",
  "classifier.weight": "cls.output.weight",
  "classifier.bias": "cls.output.bias",
});

const gguf: FileNaming = {
  names: ["bert"],
  config(file) {
    const pooling = integerOf(file, "bert.pooling_type", POOLING.mean);
    return {
      architecture: "bert",
      dim: integerOf(file, "bert.embedding_length"),
      hiddenDim: integerOf(file, "bert.feed_forward_length"),
      layerCount: integerOf(file, "bert.block_count"),
      headCount: integerOf(file, "bert.attention.head_count"),
      vocabSize: file.shape("token_embd.weight")?.[0] ?? integerOf(file, "bert.vocab_size"),
      contextLength: integerOf(file, "bert.context_length"),
      tokenTypeCount: integerOf(file, "tokenizer.ggml.token_type_count", 1),
      normEpsilon: numberOf(file, "bert.attention.layer_norm_epsilon"),
      activation: "gelu-tanh",
      pooling: pooling === POOLING.first ? "first" : "mean",
      pooler: file.shape("cls.weight") !== undefined,
      classCount: file.shape("cls.output.weight")?.[0] ?? 0,
    };
  },
  origin: ggufOrigin,
  metadata(config) {
    const entry = (name: string, type: "u32" | "f32", field: string) => ({
      key: `bert.${name}`,
      type,
      value: config[field],
    });
    return [
      { key: "general.architecture", type: "string", value: "bert" },
      entry("vocab_size", "u32", "vocabSize"),
      entry("context_length", "u32", "contextLength"),
      entry("embedding_length", "u32", "dim"),
      entry("block_count", "u32", "layerCount"),
      entry("feed_forward_length", "u32", "hiddenDim"),
      entry("attention.head_count", "u32", "headCount"),
      entry("attention.layer_norm_epsilon", "f32", "normEpsilon"),
      { key: "bert.attention.causal", type: "bool", value: false },
      { key: "bert.pooling_type", type: "u32", value: config["pooling"] === "first" ? POOLING.first : POOLING.mean },
      { key: "tokenizer.ggml.token_type_count", type: "u32", value: config["tokenTypeCount"] },
    ];
  },
};

const layer = "encoder.layer.{i}";
const bodyOrigin = originsByPattern({
  "embedding.weight": "embeddings.word_embeddings.weight",
  "tokenTypes.weight": "embeddings.token_type_embeddings.weight",
  "positions.weight": "embeddings.position_embeddings.weight",
  "embeddingNorm.weight": "embeddings.LayerNorm.weight",
  "embeddingNorm.bias": "embeddings.LayerNorm.bias",
  "blocks.{i}.attention.query.weight": `${layer}.attention.self.query.weight`,
  "blocks.{i}.attention.query.bias": `${layer}.attention.self.query.bias`,
  "blocks.{i}.attention.key.weight": `${layer}.attention.self.key.weight`,
  "blocks.{i}.attention.key.bias": `${layer}.attention.self.key.bias`,
  "blocks.{i}.attention.value.weight": `${layer}.attention.self.value.weight`,
  "blocks.{i}.attention.value.bias": `${layer}.attention.self.value.bias`,
  "blocks.{i}.attention.output.weight": `${layer}.attention.output.dense.weight`,
  "blocks.{i}.attention.output.bias": `${layer}.attention.output.dense.bias`,
  "blocks.{i}.attentionNorm.weight": `${layer}.attention.output.LayerNorm.weight`,
  "blocks.{i}.attentionNorm.bias": `${layer}.attention.output.LayerNorm.bias`,
  "blocks.{i}.feedForward.up.weight": `${layer}.intermediate.dense.weight`,
  "blocks.{i}.feedForward.up.bias": `${layer}.intermediate.dense.bias`,
  "blocks.{i}.feedForward.down.weight": `${layer}.output.dense.weight`,
  "blocks.{i}.feedForward.down.bias": `${layer}.output.dense.bias`,
  "blocks.{i}.feedForwardNorm.weight": `${layer}.output.LayerNorm.weight`,
  "blocks.{i}.feedForwardNorm.bias": `${layer}.output.LayerNorm.bias`,
  "pooler.weight": "pooler.dense.weight",
  "pooler.bias": "pooler.dense.bias",
});
const headOrigin = originsByPattern({
  "classifier.weight": "classifier.weight",
  "classifier.bias": "classifier.bias",
  "masked.transform.weight": "cls.predictions.transform.dense.weight",
  "masked.transform.bias": "cls.predictions.transform.dense.bias",
  "masked.norm.weight": "cls.predictions.transform.LayerNorm.weight",
  "masked.norm.bias": "cls.predictions.transform.LayerNorm.bias",
  "masked.bias": "cls.predictions.bias",
});

/** What the names of the body begin with. */
function bodyPrefix(file: ForeignModel | undefined): string {
  return file?.shape("bert.embeddings.word_embeddings.weight") === undefined ? "" : "bert.";
}

function activationOf(file: ForeignModel): string {
  const name = textOf(file, "hidden_act", "gelu");
  if (name === "gelu") return "gelu";
  if (name === "gelu_new" || name === "gelu_pytorch_tanh") return "gelu-tanh";
  throw new ForeignModelError(`BERT models with ${name} are not supported`, {
    where: `${file.where}, hidden_act`,
    expected: "gelu, gelu_new or gelu_pytorch_tanh",
    got: name,
    hint: "use another model",
  });
}

const huggingFace: FileNaming = {
  names: ["bert"],
  config(file) {
    return {
      architecture: "bert",
      dim: integerOf(file, "hidden_size"),
      hiddenDim: integerOf(file, "intermediate_size"),
      layerCount: integerOf(file, "num_hidden_layers"),
      headCount: integerOf(file, "num_attention_heads"),
      vocabSize: integerOf(file, "vocab_size"),
      contextLength: integerOf(file, "max_position_embeddings"),
      tokenTypeCount: integerOf(file, "type_vocab_size", 2),
      normEpsilon: numberOf(file, "layer_norm_eps", 1e-12),
      activation: activationOf(file),
      pooler: file.shape(`${bodyPrefix(file)}pooler.dense.weight`) !== undefined,
      classCount: file.shape("classifier.weight")?.[0] ?? 0,
      maskedLanguageModel: file.shape("cls.predictions.transform.dense.weight") !== undefined,
    };
  },
  metadata: ({ activation, ...config }) => [
    { key: "model_type", type: "string", value: "bert" },
    { key: "hidden_size", type: "u32", value: config["dim"] },
    { key: "intermediate_size", type: "u32", value: config["hiddenDim"] },
    { key: "num_hidden_layers", type: "u32", value: config["layerCount"] },
    { key: "num_attention_heads", type: "u32", value: config["headCount"] },
    { key: "vocab_size", type: "u32", value: config["vocabSize"] },
    { key: "max_position_embeddings", type: "u32", value: config["contextLength"] },
    { key: "type_vocab_size", type: "u32", value: config["tokenTypeCount"] },
    { key: "layer_norm_eps", type: "f32", value: config["normEpsilon"] },
    { key: "hidden_act", type: "string", value: activation === "gelu" ? "gelu" : "gelu_new" },
  ],
  origin(path, _config, file): ParameterOrigin | undefined {
    const body = bodyOrigin(path);
    return body === undefined ? headOrigin(path) : { names: body.names.map((name) => bodyPrefix(file) + name) };
  },
};

export const bertNaming: Naming = { gguf, huggingFace };

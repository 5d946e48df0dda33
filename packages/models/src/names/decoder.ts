// What the files of Llama, Qwen, Gemma and BitNet have in common: sizes, and the names of the tensors of a decoder.

import type { PlainConfig } from "../config.ts";
import type { FileNaming, ForeignModel, MetadataEntry, ParameterOrigin } from "./naming.ts";
import { ForeignModelError, flagOf, integerOf, numberOf, originsByPattern } from "./naming.ts";
import { rotationConstants, rotationFromGguf, rotationFromHuggingFace, rotationMetadata } from "./rotation.ts";

type Fields = Record<string, unknown>;

/** The fields of sizes and rotation from GGUF's metadata. Throws `ForeignModelError`. */
export function decoderFromGguf(file: ForeignModel, architecture: string): Fields & { headDim: number; dim: number } {
  const key = (name: string): string => `${architecture}.${name}`;
  if (integerOf(file, key("expert_count"), 0) > 0) {
    throw new ForeignModelError("mixtures of experts of this architecture are not supported", {
      where: `${file.where}, ${key("expert_count")}`,
      expected: "0 experts",
      got: String(file.get(key("expert_count"))),
      hint: "use a dense variant of the model",
    });
  }
  const dim = integerOf(file, key("embedding_length"));
  const headCount = integerOf(file, key("attention.head_count"));
  const headDim = integerOf(file, key("attention.key_length"), Math.floor(dim / headCount));
  requireWholeHeads(file, key, headDim);
  return {
    dim,
    hiddenDim: integerOf(file, key("feed_forward_length")),
    layerCount: integerOf(file, key("block_count")),
    headCount,
    keyValueHeadCount: integerOf(file, key("attention.head_count_kv"), headCount),
    headDim,
    vocabSize: file.shape("token_embd.weight")?.[0] ?? integerOf(file, key("vocab_size")),
    contextLength: integerOf(file, key("context_length")),
    tiedEmbeddings: file.shape("output.weight") === undefined,
    normEpsilon: numberOf(file, key("attention.layer_norm_rms_epsilon")),
    ...rotationFromGguf(file, architecture),
  };
}

/** Heads whose values have another size, or that are turned in part, are other architectures'. */
function requireWholeHeads(file: ForeignModel, key: (name: string) => string, headDim: number): void {
  for (const name of ["attention.value_length", "rope.dimension_count"]) {
    const size = integerOf(file, key(name), headDim);
    if (size === headDim) continue;
    throw new ForeignModelError("the heads of this file are not supported", {
      where: `${file.where}, ${key(name)}`,
      expected: String(headDim),
      got: String(size),
      hint: "the file is damaged, or a variant of the architecture that is not supported",
    });
  }
}

/** The metadata of sizes and rotation. */
export function decoderMetadata(architecture: string, config: PlainConfig): MetadataEntry[] {
  const entry = (name: string, type: "u32" | "f32", field: string): MetadataEntry => ({
    key: `${architecture}.${name}`,
    type,
    value: config[field],
  });
  return [
    { key: "general.architecture", type: "string", value: architecture },
    entry("vocab_size", "u32", "vocabSize"),
    entry("context_length", "u32", "contextLength"),
    entry("embedding_length", "u32", "dim"),
    entry("block_count", "u32", "layerCount"),
    entry("feed_forward_length", "u32", "hiddenDim"),
    entry("attention.head_count", "u32", "headCount"),
    entry("attention.head_count_kv", "u32", "keyValueHeadCount"),
    entry("attention.key_length", "u32", "headDim"),
    entry("attention.value_length", "u32", "headDim"),
    entry("attention.layer_norm_rms_epsilon", "f32", "normEpsilon"),
    entry("rope.dimension_count", "u32", "headDim"),
    ...rotationMetadata(architecture, config),
  ];
}

/** The tensors of any decoder in GGUF. */
export const ggufOrigin = originsByPattern({
  "embedding.weight": "token_embd.weight",
  "blocks.{i}.attentionNorm.weight": "blk.{i}.attn_norm.weight",
  "blocks.{i}.attention.query.weight": "blk.{i}.attn_q.weight",
  "blocks.{i}.attention.query.bias": "blk.{i}.attn_q.bias",
  "blocks.{i}.attention.queryNorm.weight": "blk.{i}.attn_q_norm.weight",
  "blocks.{i}.attention.key.weight": "blk.{i}.attn_k.weight",
  "blocks.{i}.attention.key.bias": "blk.{i}.attn_k.bias",
  "blocks.{i}.attention.keyNorm.weight": "blk.{i}.attn_k_norm.weight",
  "blocks.{i}.attention.value.weight": "blk.{i}.attn_v.weight",
  "blocks.{i}.attention.value.bias": "blk.{i}.attn_v.bias",
  "blocks.{i}.attention.subNorm.weight": "blk.{i}.attn_sub_norm.weight",
  "blocks.{i}.attention.output.weight": "blk.{i}.attn_output.weight",
  "blocks.{i}.attention.output.bias": "blk.{i}.attn_output.bias",
  "blocks.{i}.attentionPostNorm.weight": "blk.{i}.post_attention_norm.weight",
  "blocks.{i}.feedForwardNorm.weight": "blk.{i}.ffn_norm.weight",
  "blocks.{i}.feedForward.gate.weight": "blk.{i}.ffn_gate.weight",
  "blocks.{i}.feedForward.gate.bias": "blk.{i}.ffn_gate.bias",
  "blocks.{i}.feedForward.up.weight": "blk.{i}.ffn_up.weight",
  "blocks.{i}.feedForward.up.bias": "blk.{i}.ffn_up.bias",
  "blocks.{i}.feedForward.subNorm.weight": "blk.{i}.ffn_sub_norm.weight",
  "blocks.{i}.feedForward.down.weight": "blk.{i}.ffn_down.weight",
  "blocks.{i}.feedForward.down.bias": "blk.{i}.ffn_down.bias",
  "blocks.{i}.feedForwardPostNorm.weight": "blk.{i}.post_ffw_norm.weight",
  "finalNorm.weight": "output_norm.weight",
  "head.weight": "output.weight",
});

/** A naming of GGUF files for a decoder with fields of its own. */
export function ggufDecoder(
  names: readonly string[],
  own: (file: ForeignModel, architecture: string, shared: Fields) => Fields,
  ownMetadata: (config: PlainConfig) => readonly MetadataEntry[] = () => [],
): FileNaming {
  return {
    names,
    config(file) {
      const name = String(file.get("general.architecture"));
      const shared = decoderFromGguf(file, name);
      return { ...shared, ...own(file, name, shared) };
    },
    origin: ggufOrigin,
    metadata: (config) => [...decoderMetadata(names[0], config), ...ownMetadata(config)],
    constants: rotationConstants,
  };
}

/** Defaults of Hugging Face's configurations that differ between architectures. */
export interface HuggingFaceDefaults {
  /** Path of the part of config.json that describes the decoder, with a dot at its end. */
  readonly prefix?: string;
  readonly tiedEmbeddings: boolean;
  readonly theta?: number;
  readonly headDim?: number;
  /** What fields are where config.json leaves them out. */
  readonly usual?: Readonly<Record<string, number>>;
}

/** The fields of sizes and rotation from config.json. Throws `ForeignModelError`. */
export function decoderFromHuggingFace(
  file: ForeignModel,
  { prefix = "", tiedEmbeddings, theta, headDim: usualHeadDim, usual = {} }: HuggingFaceDefaults,
): Fields & { headDim: number; dim: number } {
  const key = (name: string): string => prefix + name;
  const integer = (name: string, fallback?: number): number => integerOf(file, key(name), usual[name] ?? fallback);
  const dim = integer("hidden_size");
  const headCount = integer("num_attention_heads");
  const headDim = integerOf(file, key("head_dim"), usualHeadDim ?? Math.floor(dim / headCount));
  return {
    dim,
    hiddenDim: integer("intermediate_size"),
    layerCount: integer("num_hidden_layers"),
    headCount,
    keyValueHeadCount: integer("num_key_value_heads", headCount),
    headDim,
    vocabSize: integer("vocab_size"),
    contextLength: integer("max_position_embeddings"),
    tiedEmbeddings: flagOf(file, key("tie_word_embeddings"), flagOf(file, "tie_word_embeddings", tiedEmbeddings)),
    normEpsilon: numberOf(file, key("rms_norm_eps"), 1e-6),
    ...rotationFromHuggingFace(file, { prefix, headDim, theta }),
  };
}

/**
 * The fields of config.json for sizes and rotation. Throws `ForeignModelError` for rotations that are scaled: factors
 * do not say what they follow from.
 */
export function huggingFaceMetadata(modelType: string, config: PlainConfig): MetadataEntry[] {
  const scaled = ["ropeFactors", "ropeScaling"].find((name) => config[name] !== undefined);
  if (scaled !== undefined) {
    throw new ForeignModelError("scaled rotary positions are not written as config.json", {
      where: `a ${modelType} model`,
      expected: "no ropeFactors and no ropeScaling",
      got: scaled,
      hint: "write GGUF, or Fidelity's own format",
    });
  }
  const entry = (key: string, type: "u32" | "f32" | "bool", field: string): MetadataEntry => ({
    key,
    type,
    value: config[field],
  });
  return [
    { key: "model_type", type: "string", value: modelType },
    entry("hidden_size", "u32", "dim"),
    entry("intermediate_size", "u32", "hiddenDim"),
    entry("num_hidden_layers", "u32", "layerCount"),
    entry("num_attention_heads", "u32", "headCount"),
    entry("num_key_value_heads", "u32", "keyValueHeadCount"),
    entry("head_dim", "u32", "headDim"),
    entry("vocab_size", "u32", "vocabSize"),
    entry("max_position_embeddings", "u32", "contextLength"),
    entry("tie_word_embeddings", "bool", "tiedEmbeddings"),
    entry("rms_norm_eps", "f32", "normEpsilon"),
    entry("rope_theta", "f32", "ropeTheta"),
  ];
}

/** The tensors of a decoder in Hugging Face's state dictionaries, norms of the layers aside. */
const huggingFaceParts = {
  "embedding.weight": "model.embed_tokens.weight",
  "blocks.{i}.attentionNorm.weight": "model.layers.{i}.input_layernorm.weight",
  "blocks.{i}.attention.query.weight": "model.layers.{i}.self_attn.q_proj.weight",
  "blocks.{i}.attention.query.bias": "model.layers.{i}.self_attn.q_proj.bias",
  "blocks.{i}.attention.queryNorm.weight": "model.layers.{i}.self_attn.q_norm.weight",
  "blocks.{i}.attention.key.weight": "model.layers.{i}.self_attn.k_proj.weight",
  "blocks.{i}.attention.key.bias": "model.layers.{i}.self_attn.k_proj.bias",
  "blocks.{i}.attention.keyNorm.weight": "model.layers.{i}.self_attn.k_norm.weight",
  "blocks.{i}.attention.value.weight": "model.layers.{i}.self_attn.v_proj.weight",
  "blocks.{i}.attention.value.bias": "model.layers.{i}.self_attn.v_proj.bias",
  "blocks.{i}.attention.subNorm.weight": "model.layers.{i}.self_attn.attn_sub_norm.weight",
  "blocks.{i}.attention.output.weight": "model.layers.{i}.self_attn.o_proj.weight",
  "blocks.{i}.attention.output.bias": "model.layers.{i}.self_attn.o_proj.bias",
  "blocks.{i}.feedForward.gate.weight": "model.layers.{i}.mlp.gate_proj.weight",
  "blocks.{i}.feedForward.gate.bias": "model.layers.{i}.mlp.gate_proj.bias",
  "blocks.{i}.feedForward.up.weight": "model.layers.{i}.mlp.up_proj.weight",
  "blocks.{i}.feedForward.up.bias": "model.layers.{i}.mlp.up_proj.bias",
  "blocks.{i}.feedForward.subNorm.weight": "model.layers.{i}.mlp.ffn_sub_norm.weight",
  "blocks.{i}.feedForward.down.weight": "model.layers.{i}.mlp.down_proj.weight",
  "blocks.{i}.feedForward.down.bias": "model.layers.{i}.mlp.down_proj.bias",
  "finalNorm.weight": "model.norm.weight",
  "head.weight": "lm_head.weight",
};

/** The tensors of Llama, Qwen and BitNet in Hugging Face's state dictionaries. */
export const huggingFaceOrigin = originsByPattern({
  ...huggingFaceParts,
  "blocks.{i}.feedForwardNorm.weight": "model.layers.{i}.post_attention_layernorm.weight",
});

const gemmaNames = originsByPattern({
  ...huggingFaceParts,
  "blocks.{i}.attentionPostNorm.weight": "model.layers.{i}.post_attention_layernorm.weight",
  "blocks.{i}.feedForwardNorm.weight": "model.layers.{i}.pre_feedforward_layernorm.weight",
  "blocks.{i}.feedForwardPostNorm.weight": "model.layers.{i}.post_feedforward_layernorm.weight",
});

/** What the names of the decoder begin with, where there is an encoder of images beside it. */
const INSIDE = ["language_model.model.", "model.language_model."];

/** The tensors of Gemma in Hugging Face's state dictionaries, where gains are less 1. */
export function gemmaOrigin(path: string, _config: PlainConfig, file?: ForeignModel): ParameterOrigin | undefined {
  const inside = INSIDE.find((prefix) => file?.shape(`${prefix}embed_tokens.weight`) !== undefined);
  const plain = gemmaNames(path);
  const origin = plain && { names: plain.names.map((name) => name.replace(/^model\./, inside ?? "model.")) };
  if (origin === undefined || !/norm\.weight$/i.test(path)) return origin;
  return {
    ...origin,
    read: ([gains]) => gains.map((value) => value + 1),
    write: (gains) => [gains.map((value) => value - 1)],
  };
}

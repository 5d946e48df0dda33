// Llama and Mistral in files. GGUF: architecture "llama", whose query and key rows are permuted so that rotary pairs
// are adjacent. Hugging Face: model types "llama" and "mistral", with pairs in halves.

import type { FileNaming, ForeignModel, Naming } from "./naming.ts";
import { flagOf, integerOf, numberOf, originsByPattern } from "./naming.ts";

const gguf: FileNaming = {
  names: ["llama"],
  config(file: ForeignModel) {
    const of = (key: string): string => `llama.${key}`;
    const headCount = integerOf(file, of("attention.head_count"));
    return {
      architecture: "llama",
      dim: integerOf(file, of("embedding_length")),
      hiddenDim: integerOf(file, of("feed_forward_length")),
      layerCount: integerOf(file, of("block_count")),
      headCount,
      keyValueHeadCount: integerOf(file, of("attention.head_count_kv"), headCount),
      vocabSize: file.shape("token_embd.weight")?.[0] ?? integerOf(file, of("vocab_size")),
      contextLength: integerOf(file, of("context_length")),
      tiedEmbeddings: file.shape("output.weight") === undefined,
      normEpsilon: numberOf(file, of("attention.layer_norm_rms_epsilon")),
      ropeTheta: numberOf(file, of("rope.freq_base"), 10000),
      ropePairing: "adjacent",
    };
  },
  origin: originsByPattern({
    "embedding.weight": "token_embd.weight",
    "blocks.{i}.attentionNorm.weight": "blk.{i}.attn_norm.weight",
    "blocks.{i}.attention.query.weight": "blk.{i}.attn_q.weight",
    "blocks.{i}.attention.key.weight": "blk.{i}.attn_k.weight",
    "blocks.{i}.attention.value.weight": "blk.{i}.attn_v.weight",
    "blocks.{i}.attention.output.weight": "blk.{i}.attn_output.weight",
    "blocks.{i}.feedForwardNorm.weight": "blk.{i}.ffn_norm.weight",
    "blocks.{i}.feedForward.gate.weight": "blk.{i}.ffn_gate.weight",
    "blocks.{i}.feedForward.up.weight": "blk.{i}.ffn_up.weight",
    "blocks.{i}.feedForward.down.weight": "blk.{i}.ffn_down.weight",
    "finalNorm.weight": "output_norm.weight",
    "head.weight": "output.weight",
  }),
};

const huggingFace: FileNaming = {
  names: ["llama", "mistral"],
  config(file: ForeignModel) {
    const headCount = integerOf(file, "num_attention_heads");
    return {
      architecture: "llama",
      dim: integerOf(file, "hidden_size"),
      hiddenDim: integerOf(file, "intermediate_size"),
      layerCount: integerOf(file, "num_hidden_layers"),
      headCount,
      keyValueHeadCount: integerOf(file, "num_key_value_heads", headCount),
      vocabSize: integerOf(file, "vocab_size"),
      contextLength: integerOf(file, "max_position_embeddings"),
      tiedEmbeddings: flagOf(file, "tie_word_embeddings", false),
      normEpsilon: numberOf(file, "rms_norm_eps", 1e-6),
      ropeTheta: numberOf(file, "rope_theta", 10000),
      ropePairing: "halves",
    };
  },
  origin: originsByPattern({
    "embedding.weight": "model.embed_tokens.weight",
    "blocks.{i}.attentionNorm.weight": "model.layers.{i}.input_layernorm.weight",
    "blocks.{i}.attention.query.weight": "model.layers.{i}.self_attn.q_proj.weight",
    "blocks.{i}.attention.key.weight": "model.layers.{i}.self_attn.k_proj.weight",
    "blocks.{i}.attention.value.weight": "model.layers.{i}.self_attn.v_proj.weight",
    "blocks.{i}.attention.output.weight": "model.layers.{i}.self_attn.o_proj.weight",
    "blocks.{i}.feedForwardNorm.weight": "model.layers.{i}.post_attention_layernorm.weight",
    "blocks.{i}.feedForward.gate.weight": "model.layers.{i}.mlp.gate_proj.weight",
    "blocks.{i}.feedForward.up.weight": "model.layers.{i}.mlp.up_proj.weight",
    "blocks.{i}.feedForward.down.weight": "model.layers.{i}.mlp.down_proj.weight",
    "finalNorm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
  }),
};

export const llamaNaming: Naming = { gguf, huggingFace };

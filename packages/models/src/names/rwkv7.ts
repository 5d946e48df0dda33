// RWKV-7 in files. GGUF: architecture "rwkv7". Layer 0 mixes no values with those of a layer before it; files have
// tensors for that all the same, which nobody reads, and which are written as copies of the learning rate's.

import type { FileNaming, ForeignModel, MetadataEntry, Naming, ParameterOrigin } from "./naming.ts";
import { ForeignModelError, integerOf, numberOf, originsByPattern } from "./naming.ts";

const origins = originsByPattern({
  "embedding.weight": "token_embd.weight",
  "embeddingNorm.weight": "token_embd_norm.weight",
  "embeddingNorm.bias": "token_embd_norm.bias",
  "blocks.{i}.timeNorm.weight": "blk.{i}.attn_norm.weight",
  "blocks.{i}.timeNorm.bias": "blk.{i}.attn_norm.bias",
  "blocks.{i}.time.shift": "blk.{i}.time_mix_lerp_fused.weight",
  "blocks.{i}.time.decay.offset": "blk.{i}.time_mix_w0.weight",
  "blocks.{i}.time.decay.down.weight": "blk.{i}.time_mix_w1.weight",
  "blocks.{i}.time.decay.up.weight": "blk.{i}.time_mix_w2.weight",
  "blocks.{i}.time.learningRate.offset": "blk.{i}.time_mix_a0.weight",
  "blocks.{i}.time.learningRate.down.weight": "blk.{i}.time_mix_a1.weight",
  "blocks.{i}.time.learningRate.up.weight": "blk.{i}.time_mix_a2.weight",
  "blocks.{i}.time.firstValue.offset": "blk.{i}.time_mix_v0.weight",
  "blocks.{i}.time.firstValue.down.weight": "blk.{i}.time_mix_v1.weight",
  "blocks.{i}.time.firstValue.up.weight": "blk.{i}.time_mix_v2.weight",
  "blocks.{i}.time.gate.down.weight": "blk.{i}.time_mix_g1.weight",
  "blocks.{i}.time.gate.up.weight": "blk.{i}.time_mix_g2.weight",
  "blocks.{i}.time.removal": "blk.{i}.time_mix_k_k.weight",
  "blocks.{i}.time.replacement": "blk.{i}.time_mix_k_a.weight",
  "blocks.{i}.time.bonus": "blk.{i}.time_mix_r_k.weight",
  "blocks.{i}.time.receptance.weight": "blk.{i}.time_mix_receptance.weight",
  "blocks.{i}.time.key.weight": "blk.{i}.time_mix_key.weight",
  "blocks.{i}.time.value.weight": "blk.{i}.time_mix_value.weight",
  "blocks.{i}.time.norm.weight": "blk.{i}.time_mix_ln.weight",
  "blocks.{i}.time.norm.bias": "blk.{i}.time_mix_ln.bias",
  "blocks.{i}.time.output.weight": "blk.{i}.time_mix_output.weight",
  "blocks.{i}.channelNorm.weight": "blk.{i}.attn_norm_2.weight",
  "blocks.{i}.channelNorm.bias": "blk.{i}.attn_norm_2.bias",
  "blocks.{i}.channel.shift": "blk.{i}.channel_mix_lerp_k.weight",
  "blocks.{i}.channel.key.weight": "blk.{i}.channel_mix_key.weight",
  "blocks.{i}.channel.value.weight": "blk.{i}.channel_mix_value.weight",
  "finalNorm.weight": "output_norm.weight",
  "finalNorm.bias": "output_norm.bias",
  "head.weight": "output.weight",
});

const gguf: FileNaming = {
  names: ["rwkv7"],
  config(file: ForeignModel) {
    const shifts = integerOf(file, "rwkv7.token_shift_count", 2);
    if (shifts !== 2) {
      throw new ForeignModelError("this variant of RWKV-7 is not supported", {
        where: `${file.where}, rwkv7.token_shift_count`,
        expected: "2",
        got: String(shifts),
      });
    }
    return {
      architecture: "rwkv7",
      dim: integerOf(file, "rwkv7.embedding_length"),
      hiddenDim: integerOf(file, "rwkv7.feed_forward_length"),
      layerCount: integerOf(file, "rwkv7.block_count"),
      vocabSize: file.shape("token_embd.weight")?.[0] ?? integerOf(file, "rwkv7.vocab_size"),
      headSize: integerOf(file, "rwkv7.wkv.head_size"),
      decayRank: integerOf(file, "rwkv7.attention.decay_lora_rank"),
      learningRateRank: integerOf(file, "rwkv7.attention.iclr_lora_rank"),
      valueRank: integerOf(file, "rwkv7.attention.value_residual_mix_lora_rank"),
      gateRank: integerOf(file, "rwkv7.attention.gate_lora_rank"),
      normEpsilon: numberOf(file, "rwkv7.attention.layer_norm_epsilon", 1e-5),
    };
  },
  origin(path, config): ParameterOrigin | undefined {
    const found = origins(path);
    if (found === undefined) return undefined;
    const [name] = found.names;
    if (path.endsWith(".time.shift")) {
      const shape = [6, 1, 1, Number(config.dim)];
      return { names: [name], read: ([values]) => values, write: (values) => [values], shapes: [shape] };
    }
    if (!path.startsWith("blocks.0.time.learningRate.")) return found;
    const unread = name.replace("time_mix_a", "time_mix_v");
    return { names: [name, unread], read: ([values]) => values, write: (values) => [values, values] };
  },
  metadata: (config) => [
    { key: "general.architecture", type: "string", value: "rwkv7" },
    { key: "rwkv7.context_length", type: "u32", value: 2 ** 20 },
    { key: "rwkv7.attention.head_count", type: "u32", value: 0 },
    entry("vocab_size", config.vocabSize),
    entry("embedding_length", config.dim),
    entry("feed_forward_length", config.hiddenDim),
    entry("block_count", config.layerCount),
    entry("wkv.head_size", config.headSize),
    entry("attention.decay_lora_rank", config.decayRank),
    entry("attention.iclr_lora_rank", config.learningRateRank),
    entry("attention.value_residual_mix_lora_rank", config.valueRank),
    entry("attention.gate_lora_rank", config.gateRank),
    { key: "rwkv7.attention.layer_norm_epsilon", type: "f32", value: config.normEpsilon },
  ],
};

function entry(name: string, value: MetadataEntry["value"]): MetadataEntry {
  return { key: `rwkv7.${name}`, type: "u32", value };
}

export const rwkv7Naming: Naming = { gguf };

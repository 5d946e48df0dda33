// Mamba-2 in files. GGUF: architecture "mamba2", and its hybrids (mamba2_hybrids.ts). Hugging Face: model type
// "mamba2".

import type { PlainConfig } from "../config.ts";
import { hybridOf, mamba2Hybrids } from "./mamba2_hybrids.ts";
import type { FileNaming, ForeignModel, MetadataEntry, Naming, ParameterOrigin } from "./naming.ts";
import { flagOf, ForeignModelError, integerOf, numberOf, originsByPattern } from "./naming.ts";
import {
  ggufArchitecture,
  ggufStack,
  hasAttention,
  isAttentionLayer,
  isUnscaled,
  ratesOrigin,
  reshapedOrigin,
  stackFromGguf,
  stackMetadata,
} from "./stack.ts";

const ggufAttention = originsByPattern({ "blocks.{i}.mixer.output.weight": "blk.{i}.attn_output.weight" });

/** Layers of a mixer and attention side by side, and layers of squared ReLU. */
const ggufHybrids = {
  "blocks.{i}.mixer.attention.query.weight": "blk.{i}.attn_q.weight",
  "blocks.{i}.mixer.attention.key.weight": "blk.{i}.attn_k.weight",
  "blocks.{i}.mixer.attention.value.weight": "blk.{i}.attn_v.weight",
  "blocks.{i}.mixer.attention.output.weight": "blk.{i}.attn_output.weight",
  "blocks.{i}.mixer.up.weight": "blk.{i}.ffn_up.weight",
  "blocks.{i}.mixer.down.weight": "blk.{i}.ffn_down.weight",
};

/** Shapes of a written file depend on the configuration. */
function ggufMixer(path: string, config: PlainConfig): ParameterOrigin | undefined {
  const [innerDim, headCount, groupCount] = [config.innerDim, config.headCount, config.groupCount].map(Number);
  return originsByPattern({
    ...ggufStack,
    ...ggufHybrids,
    "blocks.{i}.mixer.input.weight": "blk.{i}.ssm_in.weight",
    "blocks.{i}.mixer.convolution.weight": "blk.{i}.ssm_conv1d.weight",
    "blocks.{i}.mixer.convolution.bias": "blk.{i}.ssm_conv1d.bias",
    "blocks.{i}.mixer.timeStepBias": "blk.{i}.ssm_dt.bias",
    "blocks.{i}.mixer.logRates": ratesOrigin("blk.{i}.ssm_a", [headCount, 1]),
    "blocks.{i}.mixer.skip": reshapedOrigin("blk.{i}.ssm_d", [headCount, 1]),
    "blocks.{i}.mixer.norm.weight": reshapedOrigin("blk.{i}.ssm_norm.weight", [groupCount, innerDim / groupCount]),
    "blocks.{i}.mixer.output.weight": "blk.{i}.ssm_out.weight",
    // llama.cpp looks for this norm of Falcon-H1 without the end that all others have.
    ...(hybridOf(config)?.name === "falcon-h1" && { "blocks.{i}.channelNorm.weight": "blk.{i}.ffn_norm" }),
  })(path.replace(".mixer.recurrent.", ".mixer."));
}

const gguf: FileNaming = {
  names: ["mamba2", ...mamba2Hybrids.map(({ name }) => name)],
  config(file: ForeignModel) {
    const architecture = ggufArchitecture(file);
    const key = (name: string): string => `${architecture}.${name}`;
    const hybrid = mamba2Hybrids.find(({ name }) => name === architecture);
    return {
      ...stackFromGguf(file),
      ...(hybrid === undefined ? { hiddenDim: 0 } : hybrid.fields(file)),
      architecture: "mamba2",
      innerDim: integerOf(file, key("ssm.inner_size")),
      headCount: integerOf(file, key("ssm.time_step_rank")),
      groupCount: integerOf(file, key("ssm.group_count")),
      stateSize: integerOf(file, key("ssm.state_size")),
      convolutionSize: integerOf(file, key("ssm.conv_kernel")),
    };
  },
  origin(path, config, file) {
    if (file === undefined && !isWritable(config)) return undefined;
    return (isAttentionLayer(path, config) ? ggufAttention(path) : undefined) ?? ggufMixer(path, config);
  },
  metadata(config) {
    const hybrid = hybridOf(config);
    const architecture = hybrid?.name ?? "mamba2";
    const entry = (name: string, field: string): MetadataEntry => ({
      key: `${architecture}.${name}`,
      type: "u32",
      value: config[field],
    });
    return [
      ...stackMetadata(architecture, config),
      entry("ssm.inner_size", "innerDim"),
      entry("ssm.time_step_rank", "headCount"),
      entry("ssm.group_count", "groupCount"),
      entry("ssm.state_size", "stateSize"),
      entry("ssm.conv_kernel", "convolutionSize"),
      ...(hybrid?.metadata(config) ?? []),
    ];
  },
};

/** Whether a file can say all of a configuration: Mamba-2 is a stack of mixers alone. */
function isWritable(config: PlainConfig): boolean {
  if (hybridOf(config) !== undefined) return true;
  const isPlain = config.hiddenDim === 0 && config.stateNorm === true && !String(config.pattern).includes("F");
  return isPlain && !hasAttention(config) && isUnscaled(config);
}

const huggingFace: FileNaming = {
  names: ["mamba2"],
  config(file: ForeignModel) {
    if (flagOf(file, "use_bias", false) || !flagOf(file, "use_conv_bias", true)) {
      throw new ForeignModelError("this variant of Mamba-2 is not supported", {
        where: file.where,
        expected: "use_bias false and use_conv_bias true",
        got: `use_bias ${String(file.get("use_bias"))}, use_conv_bias ${String(file.get("use_conv_bias"))}`,
      });
    }
    const dim = integerOf(file, "hidden_size");
    return {
      architecture: "mamba2",
      dim,
      layerCount: integerOf(file, "num_hidden_layers"),
      vocabSize: integerOf(file, "vocab_size"),
      hiddenDim: 0,
      tiedEmbeddings: flagOf(file, "tie_word_embeddings", false),
      normEpsilon: numberOf(file, "layer_norm_epsilon", 1e-5),
      innerDim: integerOf(file, "expand", 2) * dim,
      headCount: integerOf(file, "num_heads"),
      groupCount: integerOf(file, "n_groups", 8),
      stateSize: integerOf(file, "state_size", 128),
      convolutionSize: integerOf(file, "conv_kernel", 4),
    };
  },
  origin: originsByPattern({
    "embedding.weight": "backbone.embeddings.weight",
    "blocks.{i}.mixerNorm.weight": "backbone.layers.{i}.norm.weight",
    "blocks.{i}.mixer.input.weight": "backbone.layers.{i}.mixer.in_proj.weight",
    "blocks.{i}.mixer.convolution.weight": "backbone.layers.{i}.mixer.conv1d.weight",
    "blocks.{i}.mixer.convolution.bias": "backbone.layers.{i}.mixer.conv1d.bias",
    "blocks.{i}.mixer.timeStepBias": "backbone.layers.{i}.mixer.dt_bias",
    "blocks.{i}.mixer.logRates": "backbone.layers.{i}.mixer.A_log",
    "blocks.{i}.mixer.skip": "backbone.layers.{i}.mixer.D",
    "blocks.{i}.mixer.norm.weight": "backbone.layers.{i}.mixer.norm.weight",
    "blocks.{i}.mixer.output.weight": "backbone.layers.{i}.mixer.out_proj.weight",
    "finalNorm.weight": "backbone.norm_f.weight",
    "head.weight": "lm_head.weight",
  }),
};

export const mamba2Naming: Naming = { gguf, huggingFace };

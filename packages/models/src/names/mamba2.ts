// Mamba-2 in files. GGUF: architectures "mamba2" and "granitehybrid", its hybrid with attention and scales. Hugging
// Face: model type "mamba2".

import type { PlainConfig } from "../config.ts";
import type { FileNaming, ForeignModel, MetadataEntry, Naming, ParameterOrigin } from "./naming.ts";
import { flagOf, ForeignModelError, integerOf, numberOf, originsByPattern } from "./naming.ts";
import {
  expertsFromGguf,
  expertsMetadata,
  ggufArchitecture,
  ggufStack,
  hasAttention,
  hybridFromGguf,
  isAttentionLayer,
  isUnscaled,
  ratesOrigin,
  reshapedOrigin,
  stackFromGguf,
  stackMetadata,
} from "./stack.ts";

const ggufAttention = originsByPattern({ "blocks.{i}.mixer.output.weight": "blk.{i}.attn_output.weight" });

/** Shapes of a written file depend on the configuration. */
function ggufMixer(path: string, config: PlainConfig): ParameterOrigin | undefined {
  const [innerDim, headCount, groupCount] = [config.innerDim, config.headCount, config.groupCount].map(Number);
  return originsByPattern({
    ...ggufStack,
    "blocks.{i}.mixer.input.weight": "blk.{i}.ssm_in.weight",
    "blocks.{i}.mixer.convolution.weight": "blk.{i}.ssm_conv1d.weight",
    "blocks.{i}.mixer.convolution.bias": "blk.{i}.ssm_conv1d.bias",
    "blocks.{i}.mixer.timeStepBias": "blk.{i}.ssm_dt.bias",
    "blocks.{i}.mixer.logRates": ratesOrigin("blk.{i}.ssm_a", [headCount, 1]),
    "blocks.{i}.mixer.skip": reshapedOrigin("blk.{i}.ssm_d", [headCount, 1]),
    "blocks.{i}.mixer.norm.weight": reshapedOrigin("blk.{i}.ssm_norm.weight", [groupCount, innerDim / groupCount]),
    "blocks.{i}.mixer.output.weight": "blk.{i}.ssm_out.weight",
  })(path);
}

const gguf: FileNaming = {
  names: ["mamba2", "granitehybrid"],
  config(file: ForeignModel) {
    const architecture = ggufArchitecture(file);
    const key = (name: string): string => `${architecture}.${name}`;
    const stack = stackFromGguf(file);
    return {
      ...stack,
      ...(architecture === "granitehybrid" ? graniteFields(file, key) : { hiddenDim: 0 }),
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
    const architecture = config.hiddenDim === 0 ? "mamba2" : "granitehybrid";
    const entry = (name: string, type: MetadataEntry["type"], value: MetadataEntry["value"]): MetadataEntry => ({
      key: `${architecture}.${name}`,
      type,
      value,
    });
    const granite = [
      entry("rope.scaling.finetuned", "bool", config.ropeSize !== 0),
      entry("rope.dimension_count", "u32", config.ropeSize === 0 ? config.attentionHeadSize : config.ropeSize),
      entry("rope.freq_base", "f32", config.ropeTheta),
      entry("attention.scale", "f32", config.attentionScale),
      entry("embedding_scale", "f32", config.embeddingScale),
      entry("residual_scale", "f32", config.residualScale),
      entry("logit_scale", "f32", 1 / Number(config.logitScale)),
    ];
    return [
      ...stackMetadata(architecture, config),
      entry("ssm.inner_size", "u32", config.innerDim),
      entry("ssm.time_step_rank", "u32", config.headCount),
      entry("ssm.group_count", "u32", config.groupCount),
      entry("ssm.state_size", "u32", config.stateSize),
      entry("ssm.conv_kernel", "u32", config.convolutionSize),
      ...(architecture === "granitehybrid" ? granite : []),
      ...(String(config.channelPattern).includes("E") ? expertsMetadata(architecture, config) : []),
    ];
  },
};

/** Whether a file can say all of a configuration: Mamba-2 is a stack of mixers alone, Granite has attention besides. */
function isWritable(config: PlainConfig): boolean {
  if (config.hiddenDim === 0) return !hasAttention(config) && isUnscaled(config);
  const areExperts =
    config.expertDim === config.hiddenDim && config.normalisedExperts === true && config.sharedExpertGate === false;
  const kinds = [...new Set(String(config.channelPattern))].join("");
  if (kinds !== "F" && !(kinds === "E" && areExperts)) return false;
  return hasAttention(config) && config.ropePairing === "adjacent";
}

/** Granite's attention, and its scales: one that is missing or 0 is none. */
function graniteFields(file: ForeignModel, key: (name: string) => string): Record<string, unknown> {
  const hybrid = hybridFromGguf(file, "M");
  const scale = (name: string): number | undefined => {
    const value = numberOf(file, key(name), 0);
    return value === 0 ? undefined : value;
  };
  const logitScale = scale("logit_scale");
  const headSize = Number(hybrid.attentionHeadSize ?? 0);
  return {
    ...hybrid,
    ...expertsFromGguf(file, integerOf(file, key("block_count")), { normalisedExperts: true }),
    ropeSize: flagOf(file, key("rope.scaling.finetuned"), true)
      ? integerOf(file, key("rope.dimension_count"), headSize)
      : 0,
    ropeTheta: numberOf(file, key("rope.freq_base"), 10000),
    ropePairing: "adjacent",
    attentionScale: scale("attention.scale"),
    embeddingScale: scale("embedding_scale"),
    residualScale: scale("residual_scale"),
    logitScale: logitScale === undefined ? undefined : 1 / logitScale,
  };
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

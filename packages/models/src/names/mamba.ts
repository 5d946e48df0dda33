// Mamba in files. GGUF: architectures "mamba", Falcon Mamba included, and "jamba", its hybrid with attention. Hugging
// Face: model type "mamba".

import type { PlainConfig } from "../config.ts";
import type { FileNaming, ForeignModel, MetadataEntry, Naming } from "./naming.ts";
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
  refuseBiases,
  stackFromGguf,
  stackMetadata,
} from "./stack.ts";

const ggufMixer = originsByPattern({
  ...ggufStack,
  "blocks.{i}.mixer.input.weight": "blk.{i}.ssm_in.weight",
  "blocks.{i}.mixer.convolution.weight": "blk.{i}.ssm_conv1d.weight",
  "blocks.{i}.mixer.convolution.bias": "blk.{i}.ssm_conv1d.bias",
  "blocks.{i}.mixer.selection.weight": "blk.{i}.ssm_x.weight",
  "blocks.{i}.mixer.timeStepNorm.weight": "blk.{i}.ssm_dt_norm.weight",
  "blocks.{i}.mixer.inputNorm.weight": "blk.{i}.ssm_b_norm.weight",
  "blocks.{i}.mixer.outputNorm.weight": "blk.{i}.ssm_c_norm.weight",
  "blocks.{i}.mixer.timeStep.weight": "blk.{i}.ssm_dt.weight",
  "blocks.{i}.mixer.timeStep.bias": "blk.{i}.ssm_dt.bias",
  "blocks.{i}.mixer.logRates": ratesOrigin("blk.{i}.ssm_a"),
  "blocks.{i}.mixer.skip": "blk.{i}.ssm_d",
  "blocks.{i}.mixer.output.weight": "blk.{i}.ssm_out.weight",
});

const ggufAttention = originsByPattern({ "blocks.{i}.mixer.output.weight": "blk.{i}.attn_output.weight" });

const gguf: FileNaming = {
  names: ["mamba", "jamba"],
  config(file: ForeignModel) {
    const architecture = ggufArchitecture(file);
    const key = (name: string): string => `${architecture}.${name}`;
    const stack = stackFromGguf(file);
    const isHybrid = architecture === "jamba";
    if (isHybrid) refuseBiases(file, stack.layerCount);
    const plainNorm = !isHybrid && flagOf(file, key("ssm.dt_b_c_rms"), false);
    return {
      ...stack,
      // Jamba's attention leaves positions to the recurrent layers.
      ...(isHybrid
        ? { ...hybridFromGguf(file, "M"), ...expertsFromGguf(file, stack.layerCount), ropeSize: 0 }
        : { hiddenDim: 0 }),
      architecture: "mamba",
      innerDim: integerOf(file, key("ssm.inner_size")),
      stateSize: integerOf(file, key("ssm.state_size")),
      timeStepRank: integerOf(file, key("ssm.time_step_rank")),
      convolutionSize: integerOf(file, key("ssm.conv_kernel")),
      selectionNorm: isHybrid ? "gain" : plainNorm ? "plain" : "none",
    };
  },
  origin(path, config, file) {
    if (file === undefined && !isWritable(config)) return undefined;
    return (isAttentionLayer(path, config) ? ggufAttention(path) : undefined) ?? ggufMixer(path);
  },
  metadata(config) {
    const architecture = config.hiddenDim === 0 ? "mamba" : "jamba";
    const entry = (name: string, field: string): MetadataEntry => ({
      key: `${architecture}.${name}`,
      type: "u32",
      value: config[field],
    });
    return [
      ...stackMetadata(architecture, config),
      entry("ssm.inner_size", "innerDim"),
      entry("ssm.state_size", "stateSize"),
      entry("ssm.time_step_rank", "timeStepRank"),
      entry("ssm.conv_kernel", "convolutionSize"),
      { key: `${architecture}.ssm.dt_b_c_rms`, type: "bool", value: config.selectionNorm !== "none" },
      ...(String(config.channelPattern).includes("E") ? expertsMetadata(architecture, config) : []),
    ];
  },
};

/** Whether a file can say all of a configuration: Mamba is a stack of mixers alone, Jamba has attention besides. */
function isWritable(config: PlainConfig): boolean {
  if (!isUnscaled(config)) return false;
  if (config.hiddenDim === 0) return !hasAttention(config) && config.selectionNorm !== "gain";
  const scale = Number(config.attentionHeadSize) ** -0.5;
  const isJamba = hasAttention(config) && config.selectionNorm === "gain" && config.ropeSize === 0;
  const areExperts = config.expertDim === config.hiddenDim && !config.normalisedExperts && config.sharedExpertDim === 0;
  if (String(config.channelPattern).includes("E") && !areExperts) return false;
  return isJamba && Math.abs(Number(config.attentionScale) - scale) < 1e-6 * scale;
}

const huggingFace: FileNaming = {
  names: ["mamba"],
  config(file: ForeignModel) {
    if (flagOf(file, "use_bias", false) || !flagOf(file, "use_conv_bias", true)) {
      throw new ForeignModelError("this variant of Mamba is not supported", {
        where: file.where,
        expected: "use_bias false and use_conv_bias true",
        got: `use_bias ${String(file.get("use_bias"))}, use_conv_bias ${String(file.get("use_conv_bias"))}`,
      });
    }
    const dim = integerOf(file, "hidden_size");
    const rank = file.get("time_step_rank");
    return {
      architecture: "mamba",
      dim,
      layerCount: integerOf(file, "num_hidden_layers"),
      vocabSize: integerOf(file, "vocab_size"),
      hiddenDim: 0,
      tiedEmbeddings: flagOf(file, "tie_word_embeddings", true),
      normEpsilon: numberOf(file, "layer_norm_epsilon", 1e-5),
      innerDim: integerOf(file, "intermediate_size", integerOf(file, "expand", 2) * dim),
      stateSize: integerOf(file, "state_size", 16),
      timeStepRank: typeof rank === "number" ? integerOf(file, "time_step_rank") : Math.ceil(dim / 16),
      convolutionSize: integerOf(file, "conv_kernel", 4),
    };
  },
  origin: originsByPattern({
    "embedding.weight": "backbone.embeddings.weight",
    "blocks.{i}.mixerNorm.weight": "backbone.layers.{i}.norm.weight",
    "blocks.{i}.mixer.input.weight": "backbone.layers.{i}.mixer.in_proj.weight",
    "blocks.{i}.mixer.convolution.weight": "backbone.layers.{i}.mixer.conv1d.weight",
    "blocks.{i}.mixer.convolution.bias": "backbone.layers.{i}.mixer.conv1d.bias",
    "blocks.{i}.mixer.selection.weight": "backbone.layers.{i}.mixer.x_proj.weight",
    "blocks.{i}.mixer.timeStep.weight": "backbone.layers.{i}.mixer.dt_proj.weight",
    "blocks.{i}.mixer.timeStep.bias": "backbone.layers.{i}.mixer.dt_proj.bias",
    "blocks.{i}.mixer.logRates": "backbone.layers.{i}.mixer.A_log",
    "blocks.{i}.mixer.skip": "backbone.layers.{i}.mixer.D",
    "blocks.{i}.mixer.output.weight": "backbone.layers.{i}.mixer.out_proj.weight",
    "finalNorm.weight": "backbone.norm_f.weight",
    "head.weight": "lm_head.weight",
  }),
};

export const mambaNaming: Naming = { gguf, huggingFace };

// DeepSeek-V2 and V3 in files. GGUF: "deepseek2", with the matrices of keys and values apart, as attention absorbs
// them, or joined in files made before llama.cpp could do that; matrices of experts are one tensor. Hugging Face: model
// types "deepseek_v2" and "deepseek_v3", with a tensor for each matrix of each expert. Rotary pairs are adjacent in
// both.

import type { PlainConfig } from "../config.ts";
import type { FileNaming, ForeignModel, MetadataEntry, Naming, ParameterOrigin } from "./naming.ts";
import { ForeignModelError, flagOf, integerOf, numberOf, originsByPattern, textOf } from "./naming.ts";
import { rotationConstants, rotationFromGguf, rotationFromHuggingFace, rotationMetadata } from "./rotation.ts";

type Fields = Record<string, unknown>;

/** llama.cpp's numbers for how experts are scored; it takes none for a softmax. */
const [SOFTMAX, SIGMOID] = [1, 2];

const key = (name: string): string => `deepseek2.${name}`;

/** What YaRN grows scores by for a context so many times longer: the logarithm's factor is `multiplier` / 10. */
const yarnGrowth = (factor: number, multiplier: number): number => 1 + 0.1 * multiplier * Math.log(Math.max(1, factor));

/**
 * Fields of the rotation and the scale of attention as llama.cpp computes them: with a multiplier, turned vectors are
 * not grown, but scores are, twice by it; without one, turned vectors are grown by YaRN, and scores twice by the same.
 */
function ggufRotation(file: ForeignModel, headDim: number): Fields {
  const rotation = rotationFromGguf(file, "deepseek2");
  const factor = Number(rotation["ropeScalingFactor"] ?? 1);
  // Files keep a tenth of the multiplier.
  const multiplier = 10 * numberOf(file, key("rope.scaling.yarn_log_multiplier"), 0);
  const given = numberOf(file, key("rope.scaling.attn_factor"), 1);
  const isYarn = rotation["ropeScaling"] === "yarn";
  const magnitude = isYarn && multiplier !== 0 ? given / yarnGrowth(factor, 1) : given;
  const scoreGrowth = magnitude * yarnGrowth(factor, 1) * yarnGrowth(factor, multiplier);
  return {
    ...rotation,
    ...(isYarn && { ropeMagnitude: magnitude }),
    attentionScale: scoreGrowth ** 2 / Math.sqrt(headDim),
  };
}

/** Whether the file has the matrices of keys and values joined. */
const isJoined = (file: ForeignModel): boolean => file.shape("blk.0.attn_kv_b.weight") !== undefined;

function ggufConfig(file: ForeignModel): Fields {
  const joined = isJoined(file);
  const headDim = integerOf(file, key(joined ? "attention.key_length" : "attention.key_length_mla"));
  const ropeDim = integerOf(file, key("rope.dimension_count"));
  const layerCount = integerOf(file, key("block_count"));
  const denseLayerCount = integerOf(file, key("leading_dense_block_count"), 0);
  const expertLayer = `blk.${Math.min(denseLayerCount, layerCount - 1)}`;
  const groups = integerOf(file, key("expert_group_count"), 0);
  const scale = numberOf(file, key("expert_weights_scale"), 0);
  return {
    architecture: "deepseek2",
    dim: integerOf(file, key("embedding_length")),
    hiddenDim: integerOf(file, key("feed_forward_length")),
    layerCount,
    denseLayerCount,
    headCount: integerOf(file, key("attention.head_count")),
    queryRank: file.shape("blk.0.attn_q.weight") === undefined ? integerOf(file, key("attention.q_lora_rank")) : 0,
    latentRank: integerOf(file, key("attention.kv_lora_rank")),
    keyDim: headDim - ropeDim,
    ropeDim,
    valueDim: integerOf(file, key(joined ? "attention.value_length" : "attention.value_length_mla")),
    expertCount: integerOf(file, key("expert_count")),
    expertsPerToken: integerOf(file, key("expert_used_count")),
    expertHiddenDim: integerOf(file, key("expert_feed_forward_length")),
    sharedExpertCount: integerOf(file, key("expert_shared_count"), 0),
    expertScore: integerOf(file, key("expert_gating_func"), SOFTMAX) === SIGMOID ? "sigmoid" : "softmax",
    selectionBias: file.shape(`${expertLayer}.exp_probs_b.bias`) !== undefined,
    ...(groups > 1 && {
      expertGroupCount: groups,
      groupsPerToken: integerOf(file, key("expert_group_used_count")),
    }),
    normalisedWeights: flagOf(file, key("expert_weights_norm"), false),
    ...(scale !== 0 && { expertScale: scale }),
    vocabSize: file.shape("token_embd.weight")?.[0] ?? integerOf(file, key("vocab_size")),
    contextLength: integerOf(file, key("context_length")),
    tiedEmbeddings: file.shape("output.weight") === undefined,
    normEpsilon: numberOf(file, key("attention.layer_norm_rms_epsilon")),
    ...ggufRotation(file, headDim),
  };
}

const ggufNames = originsByPattern({
  "embedding.weight": "token_embd.weight",
  "blocks.{i}.attentionNorm.weight": "blk.{i}.attn_norm.weight",
  "blocks.{i}.attention.queryDown.weight": "blk.{i}.attn_q_a.weight",
  "blocks.{i}.attention.queryNorm.weight": "blk.{i}.attn_q_a_norm.weight",
  "blocks.{i}.attention.latent.weight": "blk.{i}.attn_kv_a_mqa.weight",
  "blocks.{i}.attention.latentNorm.weight": "blk.{i}.attn_kv_a_norm.weight",
  "blocks.{i}.attention.keyUp.weight": "blk.{i}.attn_k_b.weight",
  "blocks.{i}.attention.valueUp.weight": "blk.{i}.attn_v_b.weight",
  "blocks.{i}.attention.output.weight": "blk.{i}.attn_output.weight",
  "blocks.{i}.feedForwardNorm.weight": "blk.{i}.ffn_norm.weight",
  "blocks.{i}.feedForward.gate.weight": "blk.{i}.ffn_gate.weight",
  "blocks.{i}.feedForward.up.weight": "blk.{i}.ffn_up.weight",
  "blocks.{i}.feedForward.down.weight": "blk.{i}.ffn_down.weight",
  "blocks.{i}.experts.router.weight": "blk.{i}.ffn_gate_inp.weight",
  "blocks.{i}.experts.selectionBias": "blk.{i}.exp_probs_b.bias",
  "blocks.{i}.experts.gate.weight": "blk.{i}.ffn_gate_exps.weight",
  "blocks.{i}.experts.up.weight": "blk.{i}.ffn_up_exps.weight",
  "blocks.{i}.experts.down.weight": "blk.{i}.ffn_down_exps.weight",
  "blocks.{i}.experts.shared.gate.weight": "blk.{i}.ffn_gate_shexp.weight",
  "blocks.{i}.experts.shared.up.weight": "blk.{i}.ffn_up_shexp.weight",
  "blocks.{i}.experts.shared.down.weight": "blk.{i}.ffn_down_shexp.weight",
  "finalNorm.weight": "output_norm.weight",
  "head.weight": "output.weight",
});

/** The number of the layer and the rest of a path below its attention. */
function attentionPart(path: string): { readonly layer: string; readonly part: string } | undefined {
  const found = /^blocks\.(\d+)\.attention\.(keyUp|valueUp|query)\.weight$/.exec(path);
  return found === null ? undefined : { layer: found[1]!, part: found[2]! };
}

/**
 * The matrices of keys [heads, latents, keys] or of values [heads, values, latents] from both of them, [heads (keys +
 * values), latents].
 */
function fromJoined(name: string, which: string, config: PlainConfig): ParameterOrigin {
  const [heads, latents, keys, values] = ["headCount", "latentRank", "keyDim", "valueDim"].map((field) =>
    Number(config[field]),
  ) as [number, number, number, number];
  const rowOf = (head: number, row: number): number => (head * (keys + values) + row) * latents;
  const read = ([joined]: readonly Float32Array[]): Float32Array => {
    const size = which === "keyUp" ? keys : values;
    const part = new Float32Array(heads * size * latents);
    for (let head = 0; head < heads; head++) {
      for (let row = 0; row < size; row++) {
        const from = rowOf(head, which === "keyUp" ? row : keys + row);
        for (let i = 0; i < latents; i++) {
          const at = which === "keyUp" ? (head * latents + i) * size + row : (head * size + row) * latents + i;
          part[at] = joined![from + i]!;
        }
      }
    }
    return part;
  };
  return { names: [name], read };
}

function ggufMetadata(config: PlainConfig): MetadataEntry[] {
  const [keyDim, ropeDim, latentRank] = [config["keyDim"], config["ropeDim"], config["latentRank"]].map(Number);
  const entry = (name: string, type: "u32" | "f32" | "bool", value: unknown): MetadataEntry => ({
    key: key(name),
    type,
    value: value as MetadataEntry["value"],
  });
  const sizes: readonly (readonly [name: string, value: unknown])[] = [
    ["vocab_size", config["vocabSize"]],
    ["context_length", config["contextLength"]],
    ["embedding_length", config["dim"]],
    ["block_count", config["layerCount"]],
    ["leading_dense_block_count", config["denseLayerCount"]],
    ["feed_forward_length", config["hiddenDim"]],
    ["attention.head_count", config["headCount"]],
    ["attention.head_count_kv", 1],
    ["attention.key_length", latentRank! + ropeDim!],
    ["attention.value_length", latentRank],
    ["attention.key_length_mla", keyDim! + ropeDim!],
    ["attention.value_length_mla", config["valueDim"]],
    ["attention.kv_lora_rank", latentRank],
    ...(Number(config["queryRank"]) > 0 ? [["attention.q_lora_rank", config["queryRank"]] as const] : []),
    ["rope.dimension_count", ropeDim],
    ["expert_count", config["expertCount"]],
    ["expert_used_count", config["expertsPerToken"]],
    ["expert_feed_forward_length", config["expertHiddenDim"]],
    ["expert_shared_count", config["sharedExpertCount"]],
    ["expert_gating_func", config["expertScore"] === "sigmoid" ? SIGMOID : SOFTMAX],
    ...(Number(config["expertGroupCount"]) > 1
      ? [
          ["expert_group_count", config["expertGroupCount"]] as const,
          ["expert_group_used_count", config["groupsPerToken"]] as const,
        ]
      : []),
  ];
  return [
    { key: "general.architecture", type: "string", value: "deepseek2" },
    ...sizes.map(([name, value]) => entry(name, "u32", value)),
    entry("attention.layer_norm_rms_epsilon", "f32", config["normEpsilon"]),
    entry("expert_weights_norm", "bool", config["normalisedWeights"]),
    entry("expert_weights_scale", "f32", config["expertScale"]),
    ...scalingMetadata(config),
  ];
}

/** The rotation, and of YaRN what gives the scale of attention when it is read: see `ggufRotation`. */
function scalingMetadata(config: PlainConfig): MetadataEntry[] {
  const { ropeMagnitude: _, ...rest } = config;
  const entries = rotationMetadata("deepseek2", rest);
  if (config["ropeScaling"] !== "yarn") return entries;
  const factor = Number(config["ropeScalingFactor"] ?? 1);
  const headDim = Number(config["keyDim"]) + Number(config["ropeDim"]);
  const turned = Number(config["ropeMagnitude"] ?? 1) * yarnGrowth(factor, 1);
  const scores = Math.sqrt(Number(config["attentionScale"]) * Math.sqrt(headDim));
  const multiplier = factor > 1 ? (scores / turned - 1) / (0.1 * Math.log(factor)) : 0;
  const isPlain = Math.abs(multiplier) < 1e-6;
  const f32 = (name: string, value: number): MetadataEntry => ({
    key: key(`rope.scaling.${name}`),
    type: "f32",
    value,
  });
  return [
    ...entries,
    f32("attn_factor", isPlain ? turned / yarnGrowth(factor, 1) : turned),
    ...(isPlain ? [] : [f32("yarn_log_multiplier", multiplier / 10)]),
  ];
}

const gguf: FileNaming = {
  names: ["deepseek2"],
  config: ggufConfig,
  origin(path, config, file) {
    const attention = attentionPart(path);
    if (attention === undefined) return ggufNames(path);
    const { layer, part } = attention;
    if (part === "query") {
      return { names: [`blk.${layer}.attn_q${Number(config["queryRank"]) > 0 ? "_b" : ""}.weight`] };
    }
    const joined = `blk.${layer}.attn_kv_b.weight`;
    return file !== undefined && isJoined(file) ? fromJoined(joined, part, config) : ggufNames(path);
  },
  metadata: ggufMetadata,
  constants: rotationConstants,
};

const huggingFaceNames = originsByPattern({
  "embedding.weight": "model.embed_tokens.weight",
  "blocks.{i}.attentionNorm.weight": "model.layers.{i}.input_layernorm.weight",
  "blocks.{i}.attention.queryDown.weight": "model.layers.{i}.self_attn.q_a_proj.weight",
  "blocks.{i}.attention.queryNorm.weight": "model.layers.{i}.self_attn.q_a_layernorm.weight",
  "blocks.{i}.attention.latent.weight": "model.layers.{i}.self_attn.kv_a_proj_with_mqa.weight",
  "blocks.{i}.attention.latentNorm.weight": "model.layers.{i}.self_attn.kv_a_layernorm.weight",
  "blocks.{i}.attention.output.weight": "model.layers.{i}.self_attn.o_proj.weight",
  "blocks.{i}.feedForwardNorm.weight": "model.layers.{i}.post_attention_layernorm.weight",
  "blocks.{i}.feedForward.gate.weight": "model.layers.{i}.mlp.gate_proj.weight",
  "blocks.{i}.feedForward.up.weight": "model.layers.{i}.mlp.up_proj.weight",
  "blocks.{i}.feedForward.down.weight": "model.layers.{i}.mlp.down_proj.weight",
  "blocks.{i}.experts.router.weight": "model.layers.{i}.mlp.gate.weight",
  "blocks.{i}.experts.selectionBias": "model.layers.{i}.mlp.gate.e_score_correction_bias",
  "blocks.{i}.experts.shared.gate.weight": "model.layers.{i}.mlp.shared_experts.gate_proj.weight",
  "blocks.{i}.experts.shared.up.weight": "model.layers.{i}.mlp.shared_experts.up_proj.weight",
  "blocks.{i}.experts.shared.down.weight": "model.layers.{i}.mlp.shared_experts.down_proj.weight",
  "finalNorm.weight": "model.norm.weight",
  "head.weight": "lm_head.weight",
});

/** The matrices of all experts from a tensor each. */
function fromEachExpert(path: string, config: PlainConfig): ParameterOrigin | undefined {
  const found = /^blocks\.(\d+)\.experts\.(gate|up|down)\.weight$/.exec(path);
  if (found === null) return undefined;
  const experts = Array.from({ length: Number(config["expertCount"]) }, (_, expert) => expert);
  return {
    names: experts.map((expert) => `model.layers.${found[1]}.mlp.experts.${expert}.${found[2]}_proj.weight`),
    read(tensors) {
      const size = tensors[0]!.length;
      const joined = new Float32Array(size * tensors.length);
      tensors.forEach((matrix, expert) => joined.set(matrix, expert * size));
      return joined;
    },
  };
}

function groupScoreOf(file: ForeignModel, method: string): Fields {
  const counts = { expertGroupCount: integerOf(file, "n_group", 1), groupsPerToken: integerOf(file, "topk_group", 1) };
  switch (method) {
    case "greedy":
      return {};
    case "group_limited_greedy":
      return { ...counts, groupScore: "max" };
    case "noaux_tc":
      return { ...counts, groupScore: "top2" };
    default:
      throw new ForeignModelError(`experts chosen by "${method}" are not supported`, {
        where: `${file.where}, topk_method`,
        expected: "greedy, group_limited_greedy or noaux_tc",
        got: JSON.stringify(method),
        hint: "use another model",
      });
  }
}

function huggingFaceRotation(file: ForeignModel, headDim: number, ropeDim: number): Fields {
  const rotation = rotationFromHuggingFace(file, { headDim: ropeDim });
  if (rotation["ropeScaling"] !== "yarn") return rotation;
  const factor = Number(rotation["ropeScalingFactor"] ?? 1);
  const group = (file.get("rope_parameters") ?? undefined) === undefined ? "rope_scaling" : "rope_parameters";
  const all = numberOf(file, `${group}.mscale_all_dim`, 0);
  const turned = yarnGrowth(factor, numberOf(file, `${group}.mscale`, 1)) / yarnGrowth(factor, all);
  return {
    ...rotation,
    ropeMagnitude: turned / yarnGrowth(factor, 1),
    attentionScale: yarnGrowth(factor, all) ** 2 / Math.sqrt(headDim),
  };
}

function huggingFaceConfig(file: ForeignModel): Fields {
  const isThird = textOf(file, "model_type") === "deepseek_v3";
  const [keyDim, ropeDim] = [integerOf(file, "qk_nope_head_dim"), integerOf(file, "qk_rope_head_dim")];
  const normalised = flagOf(file, "norm_topk_prob", isThird);
  const score = textOf(file, "scoring_func", isThird ? "sigmoid" : "softmax");
  return {
    architecture: "deepseek2",
    dim: integerOf(file, "hidden_size"),
    hiddenDim: integerOf(file, "intermediate_size"),
    layerCount: integerOf(file, "num_hidden_layers"),
    denseLayerCount: integerOf(file, "first_k_dense_replace", 0),
    headCount: integerOf(file, "num_attention_heads"),
    queryRank: integerOf(file, "q_lora_rank", 0),
    latentRank: integerOf(file, "kv_lora_rank"),
    keyDim,
    ropeDim,
    valueDim: integerOf(file, "v_head_dim"),
    expertCount: integerOf(file, "n_routed_experts"),
    expertsPerToken: integerOf(file, "num_experts_per_tok"),
    expertHiddenDim: integerOf(file, "moe_intermediate_size"),
    sharedExpertCount: integerOf(file, "n_shared_experts", 0),
    expertScore: score,
    selectionBias: isThird,
    ...groupScoreOf(file, textOf(file, "topk_method", isThird ? "noaux_tc" : "greedy")),
    normalisedWeights: normalised,
    // V2 scales weights only where it does not normalise them.
    expertScale: normalised && !isThird ? 1 : numberOf(file, "routed_scaling_factor", 1),
    vocabSize: integerOf(file, "vocab_size"),
    contextLength: integerOf(file, "max_position_embeddings"),
    tiedEmbeddings: flagOf(file, "tie_word_embeddings", false),
    normEpsilon: numberOf(file, "rms_norm_eps", 1e-6),
    ...huggingFaceRotation(file, keyDim + ropeDim, ropeDim),
  };
}

const huggingFace: FileNaming = {
  names: ["deepseek_v2", "deepseek_v3"],
  config: huggingFaceConfig,
  origin(path, config) {
    const attention = attentionPart(path);
    if (attention === undefined) return fromEachExpert(path, config) ?? huggingFaceNames(path);
    const { layer, part } = attention;
    const self = `model.layers.${layer}.self_attn`;
    if (part !== "query") return fromJoined(`${self}.kv_b_proj.weight`, part, config);
    return { names: [`${self}.q${Number(config["queryRank"]) > 0 ? "_b" : ""}_proj.weight`] };
  },
};

export const deepseek2Naming: Naming = { gguf, huggingFace };

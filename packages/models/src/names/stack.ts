// What the files of recurrent stacks and their hybrids have in common: sizes, and the names of what is not a mixer.

import type { PlainConfig } from "../config.ts";
import { CACHING, layerLetters } from "../residual_stack.ts";
import type { StackConfig } from "../residual_stack.ts";
import type { ForeignModel, MetadataEntry, ParameterOrigin } from "./naming.ts";
import { ForeignModelError, integerOf, numberOf } from "./naming.ts";

type Fields = Record<string, unknown>;

/** The architecture that a GGUF file names. */
export function ggufArchitecture(file: ForeignModel): string {
  return String(file.get("general.architecture"));
}

/** The fields that every stack has, from GGUF's metadata. Throws `ForeignModelError`. */
export function stackFromGguf(file: ForeignModel): Fields & { readonly dim: number; readonly layerCount: number } {
  const key = (name: string): string => `${ggufArchitecture(file)}.${name}`;
  return {
    dim: integerOf(file, key("embedding_length")),
    layerCount: integerOf(file, key("block_count")),
    vocabSize: file.shape("token_embd.weight")?.[0] ?? integerOf(file, key("vocab_size")),
    ...(!Array.isArray(file.get(key("feed_forward_length"))) && {
      hiddenDim: integerOf(file, key("feed_forward_length"), 0),
    }),
    tiedEmbeddings: file.shape("output.weight") === undefined,
    normEpsilon: numberOf(
      file,
      key("attention.layer_norm_rms_epsilon"),
      numberOf(file, key("attention.layer_norm_epsilon"), 0) || undefined,
    ),
  };
}

/**
 * The fields of a hybrid's attention layers and its pattern, from GGUF's metadata: layers without key heads are those
 * of `letter`. Throws `ForeignModelError`.
 */
export function hybridFromGguf(file: ForeignModel, letter: string): Fields {
  const key = (name: string): string => `${ggufArchitecture(file)}.${name}`;
  const [dim, layerCount] = [integerOf(file, key("embedding_length")), integerOf(file, key("block_count"))];
  const heads = perLayer(file, key("attention.head_count"), layerCount);
  const keyHeads = perLayer(file, key("attention.head_count_kv"), layerCount);
  const attentionHeadCount = agreed(file, key("attention.head_count"), heads);
  const attentionKeyValueHeadCount = agreed(file, key("attention.head_count_kv"), keyHeads);
  if (attentionHeadCount === undefined || attentionKeyValueHeadCount === undefined) return { pattern: letter };
  return {
    pattern: keyHeads.map((count) => (count === 0 ? letter : "A")).join(""),
    attentionHeadCount,
    attentionKeyValueHeadCount,
    attentionHeadSize: integerOf(file, key("attention.key_length"), Math.floor(dim / attentionHeadCount)),
    contextLength: integerOf(file, key("context_length")),
  };
}

/** The metadata of `stackFromGguf` and, for a model with attention layers, of `hybridFromGguf`. */
export function stackMetadata(architecture: string, config: PlainConfig): MetadataEntry[] {
  const stack = config as unknown as StackConfig;
  const key = (name: string): string => `${architecture}.${name}`;
  const letters = layerLetters(stack);
  const keyHeads = letters.map((letter) => (letter === "A" ? stack.attentionKeyValueHeadCount : 0));
  const shared: MetadataEntry[] = [
    { key: "general.architecture", type: "string", value: architecture },
    { key: key("vocab_size"), type: "u32", value: stack.vocabSize },
    { key: key("embedding_length"), type: "u32", value: stack.dim },
    { key: key("block_count"), type: "u32", value: stack.layerCount },
    { key: key("feed_forward_length"), type: "u32", value: stack.hiddenDim },
    { key: key("attention.layer_norm_rms_epsilon"), type: "f32", value: stack.normEpsilon },
  ];
  if (!hasAttention(config)) {
    return [
      ...shared,
      { key: key("context_length"), type: "u32", value: 2 ** 20 },
      { key: key("attention.head_count"), type: "u32", value: 0 },
    ];
  }
  return [
    ...shared,
    { key: key("context_length"), type: "u32", value: stack.contextLength },
    { key: key("attention.head_count"), type: "u32", value: stack.attentionHeadCount },
    { key: key("attention.head_count_kv"), type: "u32", value: keyHeads },
    { key: key("attention.key_length"), type: "u32", value: stack.attentionHeadSize },
    { key: key("attention.value_length"), type: "u32", value: stack.attentionHeadSize },
  ];
}

/** Names of a stack's tensors in GGUF, mixers aside. */
export const ggufStack = {
  "embedding.weight": "token_embd.weight",
  "blocks.{i}.mixerNorm.weight": "blk.{i}.attn_norm.weight",
  "blocks.{i}.mixer.query.weight": "blk.{i}.attn_q.weight",
  "blocks.{i}.mixer.key.weight": "blk.{i}.attn_k.weight",
  "blocks.{i}.mixer.value.weight": "blk.{i}.attn_v.weight",
  "blocks.{i}.channelNorm.weight": "blk.{i}.ffn_norm.weight",
  "blocks.{i}.channel.gate.weight": "blk.{i}.ffn_gate.weight",
  "blocks.{i}.channel.up.weight": "blk.{i}.ffn_up.weight",
  "blocks.{i}.channel.down.weight": "blk.{i}.ffn_down.weight",
  "blocks.{i}.experts.routed.router.weight": "blk.{i}.ffn_gate_inp.weight",
  "blocks.{i}.experts.routed.gate.weight": "blk.{i}.ffn_gate_exps.weight",
  "blocks.{i}.experts.routed.up.weight": "blk.{i}.ffn_up_exps.weight",
  "blocks.{i}.experts.routed.down.weight": "blk.{i}.ffn_down_exps.weight",
  "blocks.{i}.experts.shared.gate.weight": "blk.{i}.ffn_gate_shexp.weight",
  "blocks.{i}.experts.shared.up.weight": "blk.{i}.ffn_up_shexp.weight",
  "blocks.{i}.experts.shared.down.weight": "blk.{i}.ffn_down_shexp.weight",
  "blocks.{i}.experts.sharedGate.weight": "blk.{i}.ffn_gate_inp_shexp.weight",
  "finalNorm.weight": "output_norm.weight",
  "head.weight": "output.weight",
} as const;

/** Whether the layer that `path` belongs to is one of attention. */
export function isAttentionLayer(path: string, config: PlainConfig): boolean {
  const layer = /^blocks\.(\d+)\./.exec(path)?.[1];
  return layer !== undefined && layerLetters(config as unknown as StackConfig)[Number(layer)] === "A";
}

/** Whether a stack has attention layers. */
export function hasAttention(config: PlainConfig): boolean {
  return layerLetters(config as unknown as StackConfig).some((letter) => CACHING.includes(letter));
}

/** Whether nothing in a stack is scaled that other programs' files have no scale for. */
export function isUnscaled({ embeddingScale, residualScale, logitScale }: PlainConfig): boolean {
  return embeddingScale === 1 && residualScale === 1 && logitScale === 1;
}

/** Rates A = -exp(logRates), which other programs store as A. */
export function ratesOrigin(name: string, shape?: readonly number[]): ParameterOrigin {
  return {
    names: [name],
    read: ([rates]) => rates.map((rate) => Math.log(-rate)),
    write: (logRates) => [logRates.map((log) => -Math.exp(log))],
    ...(shape !== undefined && { shapes: [shape] }),
  };
}

/** The tensor as it stands, in another shape. */
export function reshapedOrigin(name: string, shape: readonly number[]): ParameterOrigin {
  return { names: [name], read: ([values]) => values, write: (values) => [values], shapes: [shape] };
}

/**
 * The fields of mixtures of experts, from GGUF's metadata, and those of the `architecture`; none where no layer has a
 * router. Throws `ForeignModelError`.
 */
export function expertsFromGguf(file: ForeignModel, layerCount: number, architecture: Fields = {}): Fields {
  const key = (name: string): string => `${ggufArchitecture(file)}.${name}`;
  const layers = Array.from({ length: layerCount }, (_, i) => i);
  const letters = layers.map((i) => (file.shape(`blk.${i}.ffn_gate_inp.weight`) === undefined ? "F" : "E"));
  if (!letters.includes("E")) return {};
  const hiddenDim = integerOf(file, key("feed_forward_length"), 0);
  const expertDim = file.shape(`blk.${letters.indexOf("E")}.ffn_down_exps.weight`)?.[2] ?? hiddenDim;
  const hasShared = file.shape(`blk.${letters.indexOf("E")}.ffn_up_shexp.weight`) !== undefined;
  return {
    ...architecture,
    channelPattern: letters.join(""),
    hiddenDim: hiddenDim === 0 ? expertDim : hiddenDim,
    expertCount: integerOf(file, key("expert_count")),
    expertsPerToken: integerOf(file, key("expert_used_count")),
    expertDim,
    ...(hasShared && { sharedExpertDim: integerOf(file, key("expert_shared_feed_forward_length"), hiddenDim) }),
  };
}

/** The metadata of `expertsFromGguf`. */
export function expertsMetadata(architecture: string, config: PlainConfig): MetadataEntry[] {
  const entry = (name: string, field: string): MetadataEntry => ({
    key: `${architecture}.${name}`,
    type: "u32",
    value: config[field],
  });
  return [
    entry("expert_count", "expertCount"),
    entry("expert_used_count", "expertsPerToken"),
    entry("expert_feed_forward_length", "expertDim"),
    ...(config.sharedExpertDim === 0 ? [] : [entry("expert_shared_feed_forward_length", "sharedExpertDim")]),
  ];
}

/** Refuses a file with biases, which llama.cpp adds where hybrids have them. */
export function refuseBiases(file: ForeignModel, layerCount: number): void {
  const parts = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
  for (let layer = 0; layer < layerCount; layer++) {
    const name = parts.map((part) => `blk.${layer}.${part}.bias`).find((bias) => file.shape(bias) !== undefined);
    if (name === undefined) continue;
    throw new ForeignModelError("biases of this architecture are not supported", {
      where: `${file.where}, ${name}`,
      expected: "projections without biases",
      got: "a bias",
      hint: "use a variant of the model without biases",
    });
  }
}

/** An entry that has one number for all layers or one for each. */
export function perLayer(file: ForeignModel, key: string, layerCount: number): number[] {
  const value = file.get(key);
  if (!Array.isArray(value)) return Array.from({ length: layerCount }, () => integerOf(file, key));
  const numbers = value.map(Number);
  if (numbers.length >= layerCount && numbers.every(Number.isSafeInteger)) return numbers.slice(0, layerCount);
  throw new ForeignModelError(`the file's "${key}" is impossible`, {
    where: file.where,
    expected: `${layerCount} whole numbers, one a layer`,
    got: `${numbers.length} values`,
  });
}

/** The number that all layers with one have; undefined where none has. */
function agreed(file: ForeignModel, key: string, counts: readonly number[]): number | undefined {
  const different = new Set(counts.filter((count) => count !== 0));
  if (different.size <= 1) return [...different][0];
  throw new ForeignModelError("layers with different numbers of heads are not supported", {
    where: `${file.where}, ${key}`,
    expected: "one number of heads in all layers with attention",
    got: counts.join(", "),
  });
}

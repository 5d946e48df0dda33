// Hybrids of Mamba-2 in GGUF files: what their metadata says beside what every stack's says, and which configurations
// they can hold. "granitehybrid" has layers of either kind, experts, and scales; "falcon-h1" has attention beside each
// mixer; "nemotron_h" has layers of squared ReLU among the others, and no channel mixers.

import type { PlainConfig } from "../config.ts";
import { layerLetters } from "../residual_stack.ts";
import type { StackConfig } from "../residual_stack.ts";
import type { ForeignModel, MetadataEntry } from "./naming.ts";
import { flagOf, ForeignModelError, integerOf, numberOf } from "./naming.ts";
import {
  expertsFromGguf,
  expertsMetadata,
  hasAttention,
  hybridFromGguf,
  isUnscaled,
  perLayer,
  refuseBiases,
} from "./stack.ts";

type Fields = Record<string, unknown>;

/** One kind of hybrid. */
export interface Mamba2Hybrid {
  readonly name: string;
  /** The fields of a configuration that are its own. Throws `ForeignModelError`. */
  fields(file: ForeignModel): Fields;
  /** Whether a file of this kind can hold a configuration. */
  holds(config: PlainConfig): boolean;
  /** What it says besides. */
  metadata(config: PlainConfig): readonly MetadataEntry[];
}

const granite: Mamba2Hybrid = {
  name: "granitehybrid",
  fields(file) {
    const key = (name: string): string => `granitehybrid.${name}`;
    const layerCount = integerOf(file, key("block_count"));
    refuseBiases(file, layerCount);
    const hybrid = hybridFromGguf(file, "M");
    // A scale that is missing or 0 is none.
    const scale = (name: string): number | undefined => numberOf(file, key(name), 0) || undefined;
    const logitScale = scale("logit_scale");
    const headSize = Number(hybrid.attentionHeadSize ?? 0);
    return {
      ...hybrid,
      ...expertsFromGguf(file, layerCount, { normalisedExperts: true }),
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
  },
  holds(config) {
    const kinds = kindsOf(config.channelPattern);
    const areExperts =
      config.expertDim === config.hiddenDim && config.normalisedExperts === true && config.sharedExpertGate === false;
    return (
      ["AM", "A"].includes(kindsOf(config.pattern)) &&
      (kinds === "F" || (kinds === "E" && areExperts)) &&
      Number(config.hiddenDim) > 0 &&
      config.ropePairing === "adjacent" &&
      isPlainAttention(config)
    );
  },
  metadata: (config) => [
    { key: "granitehybrid.rope.scaling.finetuned", type: "bool", value: config.ropeSize !== 0 },
    ...rotation("granitehybrid", config),
    { key: "granitehybrid.attention.scale", type: "f32", value: config.attentionScale },
    { key: "granitehybrid.embedding_scale", type: "f32", value: config.embeddingScale },
    { key: "granitehybrid.residual_scale", type: "f32", value: config.residualScale },
    { key: "granitehybrid.logit_scale", type: "f32", value: 1 / Number(config.logitScale) },
    ...(kindsOf(config.channelPattern) === "E" ? expertsMetadata("granitehybrid", config) : []),
  ],
};

const falcon: Mamba2Hybrid = {
  name: "falcon-h1",
  fields(file) {
    const key = (name: string): string => `falcon-h1.${name}`;
    const layerCount = integerOf(file, key("block_count"));
    refuseBiases(file, layerCount);
    const hybrid = hybridFromGguf(file, "M");
    return {
      ...hybrid,
      pattern: "P",
      stateNorm: file.shape("blk.0.ssm_norm.weight") !== undefined,
      ropeSize: integerOf(file, key("rope.dimension_count"), Number(hybrid.attentionHeadSize ?? 0)),
      ropeTheta: numberOf(file, key("rope.freq_base"), 10000),
      ropePairing: "halves",
    };
  },
  holds: (config) =>
    kindsOf(config.pattern) === "P" &&
    kindsOf(config.channelPattern) === "F" &&
    Number(config.hiddenDim) > 0 &&
    Number(config.ropeSize) > 0 &&
    config.ropePairing === "halves" &&
    isUnscaled(config) &&
    isPlainAttention(config) &&
    isUsualScale(config),
  metadata: (config) => [
    { key: "falcon-h1.attention.head_count_kv", type: "u32", value: config.attentionKeyValueHeadCount },
    ...rotation("falcon-h1", config),
  ],
};

const nemotron: Mamba2Hybrid = {
  name: "nemotron_h",
  fields(file) {
    const key = (name: string): string => `nemotron_h.${name}`;
    const layerCount = integerOf(file, key("block_count"));
    refuseBiases(file, layerCount);
    const widths = perLayer(file, key("feed_forward_length"), layerCount);
    const networkDim = Math.max(...widths);
    if (widths.some((width) => width !== 0 && width !== networkDim)) {
      throw new ForeignModelError("layers of different widths are not supported", {
        where: `${file.where}, ${key("feed_forward_length")}`,
        expected: "one width of all layers that have one",
        got: widths.join(", "),
      });
    }
    const hybrid = hybridFromGguf(file, "M");
    const letters = [...String(hybrid.pattern).padEnd(layerCount, "M")];
    return {
      ...hybrid,
      pattern: letters.map((letter, i) => (widths[i] > 0 ? "F" : letter)).join(""),
      hiddenDim: 0,
      networkDim: networkDim > 0 ? networkDim : undefined,
      ropeSize: 0,
    };
  },
  holds: (config) =>
    config.hiddenDim === 0 &&
    kindsOf(config.pattern).includes("F") &&
    !kindsOf(config.pattern).includes("P") &&
    config.stateNorm === true &&
    config.ropeSize === 0 &&
    isUnscaled(config) &&
    isPlainAttention(config) &&
    isUsualScale(config),
  metadata(config) {
    const letters = layerLetters(config as unknown as StackConfig);
    const widths = letters.map((letter) => (letter === "F" ? Number(config.networkDim) : 0));
    return [
      { key: "nemotron_h.feed_forward_length", type: "u32", value: widths },
      { key: "nemotron_h.attention.layer_norm_epsilon", type: "f32", value: config.normEpsilon },
      ...(hasAttention(config)
        ? []
        : [{ key: "nemotron_h.attention.head_count_kv", type: "u32", value: letters.map(() => 0) } as const]),
    ];
  },
};

/** Every kind that is read and written. */
export const mamba2Hybrids: readonly Mamba2Hybrid[] = [granite, falcon, nemotron];

/** The kind of file that holds a configuration; undefined for Mamba-2 itself, and for what no file can hold. */
export function hybridOf(config: PlainConfig): Mamba2Hybrid | undefined {
  return mamba2Hybrids.find((hybrid) => hybrid.holds(config));
}

/** The letters of a pattern, each once, in alphabetical order. */
function kindsOf(pattern: unknown): string {
  return [...new Set(String(pattern))].sort().join("");
}

function isPlainAttention({ attentionGate, attentionNorm }: PlainConfig): boolean {
  return attentionGate === false && attentionNorm === false;
}

function isUsualScale({ attentionHeadSize, attentionScale }: PlainConfig): boolean {
  const scale = Number(attentionHeadSize) ** -0.5;
  return Math.abs(Number(attentionScale) - scale) < 1e-6 * scale;
}

function rotation(architecture: string, { ropeSize, attentionHeadSize, ropeTheta }: PlainConfig): MetadataEntry[] {
  const turned = ropeSize === 0 ? attentionHeadSize : ropeSize;
  return [
    { key: `${architecture}.rope.dimension_count`, type: "u32", value: turned },
    { key: `${architecture}.rope.freq_base`, type: "f32", value: ropeTheta },
  ];
}

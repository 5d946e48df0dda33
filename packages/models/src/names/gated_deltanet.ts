// Gated DeltaNet in files: its hybrids with gated attention. GGUF: architectures "qwen35", "qwen35moe" and "qwen3next".
// Key heads are tiled in the first two and grouped in the last, whose beta and alpha are one tensor, a group after the
// other; such files are read and not written. Rotary pairs are in halves.

import type { PlainConfig } from "../config.ts";
import { layerLetters } from "../residual_stack.ts";
import type { StackConfig } from "../residual_stack.ts";
import type { FileNaming, ForeignModel, MetadataEntry, Naming, ParameterOrigin } from "./naming.ts";
import { ForeignModelError, integerOf, numberOf, originsByPattern } from "./naming.ts";
import {
  expertsFromGguf,
  expertsMetadata,
  ggufArchitecture,
  ggufStack,
  isAttentionLayer,
  isUnscaled,
  ratesOrigin,
  stackFromGguf,
  stackMetadata,
} from "./stack.ts";

const ggufNames = originsByPattern({
  ...ggufStack,
  "blocks.{i}.channelNorm.weight": "blk.{i}.post_attention_norm.weight",
  "blocks.{i}.mixer.queryNorm.weight": "blk.{i}.attn_q_norm.weight",
  "blocks.{i}.mixer.keyNorm.weight": "blk.{i}.attn_k_norm.weight",
  "blocks.{i}.mixer.input.weight": "blk.{i}.attn_qkv.weight",
  "blocks.{i}.mixer.gate.weight": "blk.{i}.attn_gate.weight",
  "blocks.{i}.mixer.convolution.weight": "blk.{i}.ssm_conv1d.weight",
  "blocks.{i}.mixer.beta.weight": "blk.{i}.ssm_beta.weight",
  "blocks.{i}.mixer.alpha.weight": "blk.{i}.ssm_alpha.weight",
  "blocks.{i}.mixer.timeStepBias": "blk.{i}.ssm_dt.bias",
  "blocks.{i}.mixer.logRates": ratesOrigin("blk.{i}.ssm_a"),
  "blocks.{i}.mixer.norm.weight": "blk.{i}.ssm_norm.weight",
  "blocks.{i}.mixer.output.weight": "blk.{i}.ssm_out.weight",
});

const ggufAttention = originsByPattern({ "blocks.{i}.mixer.output.weight": "blk.{i}.attn_output.weight" });

/** Beta or alpha of all heads from the tensor of both: rows of a group's betas, then of its alphas. */
function fromBoth(path: string, { headCount, keyHeadCount, dim }: PlainConfig): ParameterOrigin | undefined {
  const found = /^blocks\.(\d+)\.mixer\.(beta|alpha)\.weight$/.exec(path);
  if (found === null) return undefined;
  const [width, each] = [Number(dim), Number(headCount) / Number(keyHeadCount)];
  const offset = found[2] === "beta" ? 0 : each;
  return {
    names: [`blk.${found[1]}.ssm_ba.weight`],
    read([both]) {
      const rows = new Float32Array(Number(headCount) * width);
      for (let head = 0; head < Number(headCount); head++) {
        const row = 2 * each * Math.floor(head / each) + offset + (head % each);
        rows.set(both.subarray(row * width, (row + 1) * width), head * width);
      }
      return rows;
    },
  };
}

const gguf: FileNaming = {
  names: ["qwen35", "qwen35moe", "qwen3next"],
  config(file: ForeignModel) {
    const architecture = ggufArchitecture(file);
    const key = (name: string): string => `${architecture}.${name}`;
    const stack = stackFromGguf(file);
    // Layers that guess further tokens come last, and are not run.
    const layerCount = stack.layerCount - integerOf(file, key("nextn_predict_layers"), 0);
    const headCount = integerOf(file, key("ssm.time_step_rank"));
    const attentionHeadCount = integerOf(file, key("attention.head_count"));
    const headSize = integerOf(file, key("attention.key_length"), Math.floor(stack.dim / attentionHeadCount));
    return {
      ...stack,
      ...expertsFromGguf(file, layerCount, { sharedExpertGate: true, normalisedExperts: true }),
      layerCount,
      architecture: "gated-deltanet",
      pattern: patternOf(file, key, layerCount),
      headCount,
      keyHeadCount: integerOf(file, key("ssm.group_count")),
      keySharing: architecture === "qwen3next" ? "grouped" : "tiled",
      keySize: integerOf(file, key("ssm.state_size")),
      valueSize: Math.floor(integerOf(file, key("ssm.inner_size")) / headCount),
      convolutionSize: integerOf(file, key("ssm.conv_kernel")),
      attentionHeadCount,
      attentionKeyValueHeadCount: integerOf(file, key("attention.head_count_kv"), attentionHeadCount),
      attentionHeadSize: headSize,
      attentionGate: true,
      attentionNorm: true,
      ropeSize: rotatedSize(file, key, headSize),
      ropeTheta: numberOf(file, key("rope.freq_base"), 10000),
      ropePairing: "halves",
      contextLength: integerOf(file, key("context_length")),
    };
  },
  origin(path, config, file) {
    if (file === undefined && !isWritable(config)) return undefined;
    const both = file?.shape("blk.0.ssm_ba.weight") === undefined ? undefined : fromBoth(path, config);
    return both ?? (isAttentionLayer(path, config) ? ggufAttention(path) : undefined) ?? ggufNames(path);
  },
  metadata(config) {
    const hasExperts = String(config.channelPattern).includes("E");
    const architecture = hasExperts ? "qwen35moe" : "qwen35";
    const entry = (name: string, type: MetadataEntry["type"], value: MetadataEntry["value"]): MetadataEntry => ({
      key: `${architecture}.${name}`,
      type,
      value,
    });
    const turned = Number(config.ropeSize) / 2;
    return [
      ...stackMetadata(architecture, config).filter(({ key }) => !key.endsWith(".head_count_kv")),
      entry("attention.head_count", "u32", config.attentionHeadCount),
      entry("attention.head_count_kv", "u32", config.attentionKeyValueHeadCount),
      entry("full_attention_interval", "u32", attentionInterval(config) ?? Number(config.layerCount) + 1),
      entry("ssm.time_step_rank", "u32", config.headCount),
      entry("ssm.group_count", "u32", config.keyHeadCount),
      entry("ssm.state_size", "u32", config.keySize),
      entry("ssm.inner_size", "u32", Number(config.headCount) * Number(config.valueSize)),
      entry("ssm.conv_kernel", "u32", config.convolutionSize),
      entry("rope.dimension_count", "u32", config.ropeSize),
      // How many pairs turn with the time, the height and the width, by turns; in text all are the same.
      entry("rope.dimension_sections", "i32", [0, 1, 2].map((axis) => Math.ceil((turned - axis) / 3)).concat(0)),
      entry("rope.freq_base", "f32", config.ropeTheta),
      ...(hasExperts ? expertsMetadata(architecture, config) : []),
    ];
  },
};

/** Every how many layers there is attention: the last of so many; undefined where the pattern is another. */
function attentionInterval(config: PlainConfig): number | undefined {
  const letters = layerLetters(config as unknown as StackConfig);
  const interval = letters.indexOf("A") + 1 || letters.length + 1;
  return letters.every((letter, i) => (letter === "A") === ((i + 1) % interval === 0)) ? interval : undefined;
}

/** Whether a file can say all of a configuration. */
function isWritable(config: PlainConfig): boolean {
  const { attentionGate, attentionNorm, attentionHeadSize, attentionScale, ropePairing, headCount } = config;
  const scale = Number(attentionHeadSize) ** -0.5;
  const isAttention =
    attentionGate === true && attentionNorm === true && ropePairing === "halves" && Number(config.ropeSize) > 0;
  const areKeysTiled = config.keySharing === "tiled" || headCount === config.keyHeadCount;
  const isUniform = new Set(String(config.channelPattern)).size === 1;
  return (
    [isUnscaled(config), isAttention, areKeysTiled, isUniform].every(Boolean) &&
    attentionInterval(config) !== undefined &&
    Math.abs(Number(attentionScale) - scale) < 1e-6 * scale &&
    config.keySize === config.valueSize &&
    Number(config.hiddenDim) > 0
  );
}

/** The kinds of the layers. */
function patternOf(file: ForeignModel, key: (name: string) => string, layerCount: number): string {
  const recurrent: unknown = file.get(key("attention.recurrent_layers"));
  const layers = Array.from({ length: layerCount }, (_, i) => i);
  if (Array.isArray(recurrent)) return layers.map((i) => (Number(recurrent[i]) === 0 ? "A" : "D")).join("");
  const interval = integerOf(file, key("full_attention_interval"), 4);
  return layers.map((i) => ((i + 1) % interval === 0 ? "A" : "D")).join("");
}

/** How many channels of a head are turned. Pairs that turn with no axis of the text's position are refused. */
function rotatedSize(file: ForeignModel, key: (name: string) => string, headSize: number): number {
  const size = integerOf(file, key("rope.dimension_count"), headSize);
  const sections: unknown = file.get(key("rope.dimension_sections"));
  if (!Array.isArray(sections)) return size;
  const [time, height, width] = sections.map(Number);
  const pairs = time + height + width + Number(sections[3] ?? 0);
  const still = Array.from({ length: size / 2 }, (_, i) => i % pairs).filter(
    (pair) => pair >= 3 * [time, height, width][pair % 3],
  );
  if (still.length === 0) return size;
  throw new ForeignModelError("positions of this file are not supported", {
    where: `${file.where}, ${key("rope.dimension_sections")}`,
    expected: "sections that turn every pair of channels with the text",
    got: sections.join(", "),
  });
}

export const gatedDeltanetNaming: Naming = { gguf };

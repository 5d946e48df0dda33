// Gemma 2 and 3 in files, with the defaults that llama.cpp and transformers have for what a file leaves out.

import type { PlainConfig } from "../config.ts";
import { decoderFromHuggingFace, gemmaOrigin, ggufDecoder, huggingFaceMetadata } from "./decoder.ts";
import type { FileNaming, ForeignModel, MetadataEntry, Naming } from "./naming.ts";
import { ForeignModelError, integerOf, numberOf } from "./naming.ts";

/** How many layers a period of local ones and a global one has: a number, or one flag or name for every layer. */
function periodOf(file: ForeignModel, key: string, usual: number): number {
  const value = file.get(key) ?? undefined;
  if (typeof value !== "object") return integerOf(file, key, usual);
  const local = Array.from(
    value as ArrayLike<unknown>,
    (layer) => layer === true || layer === 1 || layer === "sliding_attention",
  );
  const period = local.includes(false) ? local.indexOf(false) + 1 : local.length + 1;
  if (local.every((isLocal, i) => isLocal === i % period < period - 1)) return period;
  throw new ForeignModelError("local and global layers do not alternate regularly", {
    where: `${file.where}, ${key}`,
    expected: "the same number of local layers before each global one",
    got: local.map((isLocal) => (isLocal ? "l" : "g")).join(""),
    hint: "the file is damaged, or a variant of the architecture that is not supported",
  });
}

/** A bound of numbers; null says that there is none, and a million bounds nothing that a model computes. */
function capOf(file: ForeignModel, key: string, usual: number): number {
  return file.get(key) === null ? 1e6 : numberOf(file, key, usual);
}

/** llama.cpp tells the models with another scale by their number of layers. */
function attentionScale(sizes: Readonly<Record<string, unknown>>, largestLayerCount: number): number {
  const { dim, headCount, headDim, layerCount } = sizes as Readonly<Record<string, number>>;
  return 1 / Math.sqrt(layerCount === largestLayerCount ? Math.floor(dim / headCount) : headDim);
}

function gemmaMetadata(architecture: string): (config: PlainConfig) => MetadataEntry[] {
  return (config) => {
    const entry = (name: string, type: "u32" | "f32", field: string): MetadataEntry[] =>
      config[field] === undefined ? [] : [{ key: `${architecture}.${name}`, type, value: config[field] }];
    return [
      ...entry("attention.sliding_window", "u32", "window"),
      ...entry("attention.sliding_window_pattern", "u32", "windowPeriod"),
      ...entry("attn_logit_softcapping", "f32", "attentionSoftcap"),
      ...entry("final_logit_softcapping", "f32", "logitSoftcap"),
      ...entry("rope.freq_base_swa", "f32", "localRopeTheta"),
    ];
  };
}

const gemma2Gguf = ggufDecoder(
  ["gemma2"],
  (file, architecture, sizes) => ({
    architecture: "gemma2",
    window: integerOf(file, `${architecture}.attention.sliding_window`, 4096),
    windowPeriod: periodOf(file, `${architecture}.attention.sliding_window_pattern`, 2),
    attentionScale: attentionScale(sizes, 46),
    attentionSoftcap: numberOf(file, `${architecture}.attn_logit_softcapping`, 50),
    logitSoftcap: numberOf(file, `${architecture}.final_logit_softcapping`, 30),
  }),
  gemmaMetadata("gemma2"),
);

const gemma3Gguf = ggufDecoder(
  ["gemma3"],
  (file, architecture, sizes) => {
    const window = integerOf(file, `${architecture}.attention.sliding_window`, 0);
    const logitSoftcap = numberOf(file, `${architecture}.final_logit_softcapping`, 0);
    return {
      architecture: "gemma3",
      ...(window === 0
        ? { windowPeriod: 1 }
        : { window, windowPeriod: periodOf(file, `${architecture}.attention.sliding_window_pattern`, 6) }),
      attentionScale: attentionScale(sizes, 62),
      localRopeTheta: numberOf(file, `${architecture}.rope.freq_base_swa`, 10000),
      ...(logitSoftcap !== 0 && { logitSoftcap }),
    };
  },
  gemmaMetadata("gemma3"),
);

/** The fields of config.json for windows and caps. */
function ownFields(modelType: string): (config: PlainConfig) => MetadataEntry[] {
  return (config) => {
    const entry = (key: string, field: string): MetadataEntry[] =>
      config[field] === undefined ? [] : [{ key, type: "f32", value: config[field] }];
    return [
      ...huggingFaceMetadata(modelType, config),
      ...entry("sliding_window", "window"),
      ...entry("sliding_window_pattern", "windowPeriod"),
      { key: "query_pre_attn_scalar", type: "f32", value: Number(config["attentionScale"]) ** -2 },
      ...entry("attn_logit_softcapping", "attentionSoftcap"),
      ...entry("final_logit_softcapping", "logitSoftcap"),
      ...entry("rope_local_base_freq", "localRopeTheta"),
    ];
  };
}

const gemma2HuggingFace: FileNaming = {
  names: ["gemma2"],
  config(file) {
    return {
      ...decoderFromHuggingFace(file, { tiedEmbeddings: true, headDim: 256 }),
      architecture: "gemma2",
      window: integerOf(file, "sliding_window", 4096),
      windowPeriod: periodOf(file, "layer_types", integerOf(file, "sliding_window_pattern", 2)),
      attentionScale: numberOf(file, "query_pre_attn_scalar", 256) ** -0.5,
      attentionSoftcap: capOf(file, "attn_logit_softcapping", 50),
      logitSoftcap: capOf(file, "final_logit_softcapping", 30),
    };
  },
  origin: gemmaOrigin,
  metadata: ownFields("gemma2"),
};

/** What Gemma 3's config.json leaves out, in particular where images come in and it describes two models. */
const gemma3Usual = {
  num_attention_heads: 8,
  num_key_value_heads: 4,
  vocab_size: 262_208,
  max_position_embeddings: 131_072,
};

const gemma3HuggingFace: FileNaming = {
  names: ["gemma3_text", "gemma3"],
  config(file) {
    const prefix = (file.get("text_config") ?? undefined) === undefined ? "" : "text_config.";
    const logitSoftcap = numberOf(file, `${prefix}final_logit_softcapping`, 0);
    const period = integerOf(file, `${prefix}sliding_window_pattern`, 6);
    return {
      ...decoderFromHuggingFace(file, { prefix, tiedEmbeddings: true, headDim: 256, theta: 1e6, usual: gemma3Usual }),
      architecture: "gemma3",
      window: integerOf(file, `${prefix}sliding_window`, 4096),
      windowPeriod: periodOf(file, `${prefix}layer_types`, period),
      attentionScale: numberOf(file, `${prefix}query_pre_attn_scalar`, 256) ** -0.5,
      localRopeTheta: numberOf(file, `${prefix}rope_local_base_freq`, 10000),
      ...(logitSoftcap !== 0 && { logitSoftcap }),
    };
  },
  origin: gemmaOrigin,
  metadata: ownFields("gemma3_text"),
};

export const gemma2Naming: Naming = { gguf: gemma2Gguf, huggingFace: gemma2HuggingFace };
export const gemma3Naming: Naming = { gguf: gemma3Gguf, huggingFace: gemma3HuggingFace };

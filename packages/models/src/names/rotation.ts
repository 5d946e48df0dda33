// Rotary positions in files: the keys `<architecture>.rope.*` of GGUF, with llama.cpp's defaults, and `rope_theta` and
// `rope_scaling` (`rope_parameters` since version 5) of Hugging Face.

import type { PlainConfig } from "../config.ts";
import { SIZE_LIMITS } from "../config.ts";
import type { ForeignModel, MetadataEntry } from "./naming.ts";
import { ForeignModelError, integerOf, numberOf, textOf } from "./naming.ts";

/** The tensor of Llama 3.1's factors in GGUF. */
export const ROPE_FACTORS = "rope_freqs.weight";

type Fields = Record<string, unknown>;

/** The fields of a `RotationConfig` from GGUF. Throws `ForeignModelError`. */
export function rotationFromGguf(file: ForeignModel, architecture: string): Fields {
  const key = (name: string): string => `${architecture}.rope.${name}`;
  const type = textOf(file, key("scaling.type"), "linear");
  const factor = numberOf(file, key("scaling.factor"), numberOf(file, key("scale_linear"), 0));
  return {
    ropeTheta: numberOf(file, key("freq_base"), 10000),
    ...factorsOf(file),
    ...scaling(file, type, factor, {
      ropeOriginalContext: file.get(key("scaling.original_context_length")) ?? undefined,
      ropeFastTurns: file.get(key("scaling.yarn_beta_fast")) ?? undefined,
      ropeSlowTurns: file.get(key("scaling.yarn_beta_slow")) ?? undefined,
      ropeMagnitude: file.get(key("scaling.attn_factor")) ?? undefined,
    }),
  };
}

/** Llama 3.1's factors; none from a tensor that is longer than any head. */
function factorsOf(file: ForeignModel): Fields {
  const shape = file.shape(ROPE_FACTORS);
  if (shape === undefined) return {};
  const isShort = shape.length === 1 && shape[0] <= SIZE_LIMITS.headDim;
  return { ropeFactors: isShort ? Array.from(file.values(ROPE_FACTORS)) : [] };
}

function scaling(file: ForeignModel, type: string, factor: number, yarn: Fields): Fields {
  const stretched = factor !== 0 && factor !== 1;
  switch (type) {
    case "none":
    case "default":
      return {};
    case "linear":
      return stretched ? { ropeScaling: "linear", ropeScalingFactor: factor } : {};
    case "yarn":
      return { ropeScaling: "yarn", ropeScalingFactor: stretched ? factor : 1, ...yarn };
    default:
      throw new ForeignModelError(`rotary positions of type "${type}" are not supported`, {
        where: file.where,
        expected: "none, linear, yarn, or factors of frequencies",
        got: JSON.stringify(type),
        hint: "convert a variant of the model for shorter contexts",
      });
  }
}

/** The metadata for the fields of a `RotationConfig`. */
export function rotationMetadata(architecture: string, config: PlainConfig): MetadataEntry[] {
  const entry = (name: string, type: "f32" | "string" | "u32", field: string): MetadataEntry[] => {
    const value = config[field];
    return value === undefined ? [] : [{ key: `${architecture}.rope.${name}`, type, value }];
  };
  return [
    ...entry("freq_base", "f32", "ropeTheta"),
    ...entry("scaling.type", "string", "ropeScaling"),
    ...entry("scaling.factor", "f32", "ropeScalingFactor"),
    ...entry("scaling.original_context_length", "u32", "ropeOriginalContext"),
    ...entry("scaling.yarn_beta_fast", "f32", "ropeFastTurns"),
    ...entry("scaling.yarn_beta_slow", "f32", "ropeSlowTurns"),
    ...entry("scaling.attn_factor", "f32", "ropeMagnitude"),
  ];
}

/** The factors of rotary frequencies of a configuration, a tensor in GGUF. */
export function rotationConstants({ ropeFactors }: PlainConfig): ReadonlyMap<string, Float32Array> {
  return new Map(Array.isArray(ropeFactors) ? [[ROPE_FACTORS, Float32Array.from(ropeFactors as number[])]] : []);
}

/** The fields of a `RotationConfig` from config.json, for heads of `headDim` channels. Throws `ForeignModelError`. */
export function rotationFromHuggingFace(
  file: ForeignModel,
  {
    prefix = "",
    headDim,
    theta = 10000,
  }: { readonly prefix?: string; readonly headDim: number; readonly theta?: number },
): Fields {
  const group = ["rope_parameters", "rope_scaling"]
    .map((name) => prefix + name)
    .find((name) => (file.get(name) ?? undefined) !== undefined);
  const key = (name: string): string => `${group}.${name}`;
  const ropeTheta = numberOf(file, `${prefix}rope_theta`, numberOf(file, key("rope_theta"), theta));
  const type = textOf(file, key("rope_type"), textOf(file, key("type"), "default"));
  if (type === "llama3") return { ropeTheta, ropeFactors: llama3Factors(file, key, ropeTheta, headDim) };
  const factor = numberOf(file, key("factor"), 1);
  const magnitude = numberOf(file, key("attention_factor"), 0);
  return {
    ropeTheta,
    ...scaling(file, type, factor, {
      ropeOriginalContext: file.get(key("original_max_position_embeddings")) ?? undefined,
      ropeFastTurns: file.get(key("beta_fast")) ?? undefined,
      ropeSlowTurns: file.get(key("beta_slow")) ?? undefined,
      ...(magnitude !== 0 && { ropeMagnitude: magnitude / (1 + 0.1 * Math.log(factor)) }),
    }),
  };
}

/**
 * Llama 3.1's factors: pairs that turn more than `high_freq_factor` times within the original context keep their
 * frequency, those that turn less than `low_freq_factor` times are slowed by `factor`, and between them it is
 * interpolated.
 */
function llama3Factors(file: ForeignModel, key: (name: string) => string, theta: number, headDim: number): number[] {
  const [factor, low, high] = [
    numberOf(file, key("factor"), 8),
    numberOf(file, key("low_freq_factor"), 1),
    numberOf(file, key("high_freq_factor"), 4),
  ];
  const context = integerOf(file, key("original_max_position_embeddings"), 8192);
  return Array.from({ length: headDim / 2 }, (_, pair) => {
    const turns = (context * theta ** ((-2 * pair) / headDim)) / (2 * Math.PI);
    const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
    return 1 / ((1 - kept) / factor + kept);
  });
}

// What the configurations of transformers have in common: sizes, and how positions turn queries and keys.

import type { ConfigRules } from "../config.ts";
import {
  flagField,
  integerField,
  ModelConfigError,
  optionalField,
  positiveField,
  positiveListField,
  roundUpWidth,
  SIZE_LIMITS,
  wordField,
} from "../config.ts";

/** Sizes of a decoder. A type, so that it is a record of plain values. */
export type DecoderSizes = {
  /** Width of the residual stream. */
  readonly dim: number;
  /** Width inside the feed-forward layers; 8 dim / 3, rounded up to a multiple of 32, by default. */
  readonly hiddenDim: number;
  readonly layerCount: number;
  readonly headCount: number;
  /** Heads of keys and values; as many as there are heads by default. */
  readonly keyValueHeadCount: number;
  /** Channels of a head; dim / headCount by default. */
  readonly headDim: number;
  readonly vocabSize: number;
  /** The most tokens of a sequence. */
  readonly contextLength: number;
  /** Whether the head is the embedding. */
  readonly tiedEmbeddings: boolean;
  readonly normEpsilon: number;
};

/** How positions turn pairs of channels. */
export type RotationConfig = {
  readonly ropeTheta: number;
  /** What frequencies are divided by, one for each pair of channels (Llama 3.1). */
  readonly ropeFactors?: readonly number[];
  /** How frequencies are stretched to longer contexts; they are not where absent. */
  readonly ropeScaling?: "linear" | "yarn";
  /** How many times longer contexts become. */
  readonly ropeScalingFactor?: number;
  /** YaRN: the context that the model was trained with first; `contextLength` by default. */
  readonly ropeOriginalContext?: number;
  /** YaRN: turns of a pair over that context from which on it is fast, and below which it is slow; 32 and 1. */
  readonly ropeFastTurns?: number;
  readonly ropeSlowTurns?: number;
  /** YaRN: times its own factor of turned queries and keys, 1 + 0.1 log(factor); 1 by default. */
  readonly ropeMagnitude?: number;
};

/** Defaults that differ between architectures. */
export interface DecoderDefaults {
  readonly tiedEmbeddings: boolean;
  readonly normEpsilon: number;
}

export function sizeRules({ tiedEmbeddings, normEpsilon }: DecoderDefaults): ConfigRules<DecoderSizes> {
  return {
    dim: integerField(SIZE_LIMITS.dim),
    hiddenDim: integerField(SIZE_LIMITS.hiddenDim, ({ dim }) => roundUpWidth(Math.floor((8 * Number(dim)) / 3), 32)),
    layerCount: integerField(SIZE_LIMITS.layerCount),
    headCount: integerField(SIZE_LIMITS.headCount),
    keyValueHeadCount: integerField(SIZE_LIMITS.headCount, ({ headCount }) => Number(headCount)),
    headDim: {
      expected: `an even number up to ${SIZE_LIMITS.headDim} (dim / headCount where it is not given)`,
      accepts: (value): value is number =>
        Number.isInteger(value) &&
        Number(value) % 2 === 0 &&
        Number(value) >= 2 &&
        Number(value) <= SIZE_LIMITS.headDim,
      fallback: ({ dim, headCount }) => Number(dim) / Number(headCount),
    },
    vocabSize: integerField(SIZE_LIMITS.vocabSize),
    contextLength: integerField(SIZE_LIMITS.contextLength),
    tiedEmbeddings: flagField(tiedEmbeddings),
    normEpsilon: positiveField(1, normEpsilon),
  };
}

export function rotationRules(theta: number): ConfigRules<RotationConfig> {
  return {
    ropeTheta: positiveField(1e9, theta),
    ropeFactors: optionalField(positiveListField(SIZE_LIMITS.headDim / 2)),
    ropeScaling: optionalField(wordField("linear", "yarn")),
    ropeScalingFactor: optionalField(positiveField(1e6, 1)),
    ropeOriginalContext: optionalField(integerField(SIZE_LIMITS.contextLength)),
    ropeFastTurns: optionalField(positiveField(1e6, 32)),
    ropeSlowTurns: optionalField(positiveField(1e6, 1)),
    ropeMagnitude: optionalField(positiveField(1e6, 1)),
  };
}

/** Throws `ModelConfigError` for heads that do not fit together, or factors that do not fit them. */
export function checkHeads(
  architecture: string,
  { headCount, keyValueHeadCount, headDim, ropeFactors }: DecoderSizes & Pick<RotationConfig, "ropeFactors">,
): void {
  const where = `configuration of a ${architecture} model`;
  if (headCount % keyValueHeadCount !== 0) {
    throw new ModelConfigError("the heads do not fit", {
      where,
      expected: "key and value heads that divide the heads",
      got: `${headCount} heads, ${keyValueHeadCount} key and value heads`,
      hint: "choose keyValueHeadCount among the divisors of headCount",
    });
  }
  if (ropeFactors === undefined || ropeFactors.length === headDim / 2) return;
  throw new ModelConfigError("the rotary factors do not fit the heads", {
    where,
    expected: `${headDim / 2} numbers, one for each pair of a head's channels`,
    got: `${ropeFactors.length} numbers`,
    hint: "leave ropeFactors out, or give one for each pair",
  });
}

// Gated DeltaNet (Yang et al. 2024, arXiv 2412.06464): linear attention with a gated delta rule, and SwiGLU. The
// pattern "DDDA" with gated attention is the arrangement of Qwen3-Next and Qwen3.5.

import { gatedDeltaMixer } from "./blocks/gated_delta_mixer.ts";
import { convolutionField } from "./blocks/short_convolution.ts";
import type { ConfigRules } from "./config.ts";
import { integerField, readConfig, requireSizes, roundUpWidth, SIZE_LIMITS, wordField } from "./config.ts";
import type { Model } from "./model.ts";
import { residualStd } from "./parameters.ts";
import type { StackConfig } from "./residual_stack.ts";
import { createStack, stackRules } from "./residual_stack.ts";

/** Sizes of a Gated DeltaNet; the letter of its mixer is D. A type, so that it is a record of plain values. */
export type GatedDeltanetConfig = StackConfig & {
  readonly architecture: "gated-deltanet";
  /** Heads of values, each with a state; those of 128 channels by default. */
  readonly headCount: number;
  /** Heads of queries and keys; as many by default. */
  readonly keyHeadCount: number;
  /** Which key head a head has: `grouped` ones share it with their neighbours, `tiled` ones take turns. */
  readonly keySharing: "grouped" | "tiled";
  /** Channels of a query or key head; dim / headCount by default. */
  readonly keySize: number;
  /** Channels of a value head; as many by default. */
  readonly valueSize: number;
  /** Tokens that the convolution sees. */
  readonly convolutionSize: number;
};

const rules: ConfigRules<GatedDeltanetConfig> = {
  architecture: wordField("gated-deltanet"),
  ...stackRules("D", (dim) => roundUpWidth(Math.floor((8 * dim) / 3), 32), 1e-6),
  headCount: integerField(SIZE_LIMITS.headCount, ({ dim }) => Math.max(1, Math.floor(Number(dim) / 128))),
  keyHeadCount: integerField(SIZE_LIMITS.headCount, ({ headCount }) => Number(headCount)),
  keySharing: wordField("grouped", "tiled"),
  keySize: integerField(SIZE_LIMITS.dim, ({ dim, headCount }) =>
    Math.max(1, Math.floor(Number(dim) / Number(headCount))),
  ),
  valueSize: integerField(SIZE_LIMITS.dim, ({ keySize }) => Number(keySize)),
  convolutionSize: convolutionField(4),
};

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createGatedDeltanet(value: unknown): Model {
  const config = readConfig("gated-deltanet", rules, value);
  const { headCount, keyHeadCount } = config;
  requireSizes(
    "gated-deltanet",
    headCount % keyHeadCount === 0,
    "key heads that divide the heads",
    `${headCount} heads, ${keyHeadCount} key heads`,
  );
  return createStack(config, () => gatedDeltaMixer(config, residualStd(config.layerCount)));
}

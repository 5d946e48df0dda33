// Gated linear attention (Yang et al. 2023, arXiv 2312.06635): linear attention whose state decays by a gate for each
// key channel, and SwiGLU.

import { gatedLinearAttention } from "./blocks/gated_linear_attention.ts";
import type { ConfigRules } from "./config.ts";
import { integerField, readConfig, requireSizes, roundUpWidth, SIZE_LIMITS, wordField } from "./config.ts";
import type { Model } from "./model.ts";
import { residualStd } from "./parameters.ts";
import type { StackConfig } from "./residual_stack.ts";
import { createStack, stackRules } from "./residual_stack.ts";

/** Sizes of a GLA model; the letter of its mixer is G. A type, so that it is a record of plain values. */
export type GlaConfig = StackConfig & {
  readonly architecture: "gla";
  readonly headCount: number;
  /** Channels of all queries; dim / 2 by default. */
  readonly keyDim: number;
  /** Channels of all values; dim by default. */
  readonly valueDim: number;
  /** Width between the two halves of the projection to the decays. */
  readonly decayRank: number;
};

const rules: ConfigRules<GlaConfig> = {
  architecture: wordField("gla"),
  ...stackRules("G", (dim) => roundUpWidth(Math.floor((8 * dim) / 3), 32), 1e-6),
  headCount: integerField(SIZE_LIMITS.headCount, () => 4),
  keyDim: integerField(SIZE_LIMITS.dim, ({ dim }) => Math.ceil(Number(dim) / 2)),
  valueDim: integerField(SIZE_LIMITS.dim, ({ dim }) => Number(dim)),
  decayRank: integerField(SIZE_LIMITS.dim, () => 16),
};

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createGla(value: unknown): Model {
  const config = readConfig("gla", rules, value);
  const { headCount, keyDim, valueDim, layerCount } = config;
  requireSizes(
    "gla",
    keyDim % headCount === 0 && valueDim % headCount === 0,
    "heads that divide keyDim and valueDim",
    `${headCount} heads, keyDim ${keyDim}, valueDim ${valueDim}`,
  );
  return createStack(config, () => gatedLinearAttention({ ...config, retentionTheta: 1 }, residualStd(layerCount)));
}

// RetNet (Sun et al. 2023, arXiv 2307.08621): retention, which is linear attention with one fixed decay a head and
// positions turned as in rotary attention. The channel mixer is SwiGLU, as in flash-linear-attention's models, instead
// of the paper's two-layer GELU network.

import { gatedLinearAttention } from "./blocks/gated_linear_attention.ts";
import type { ConfigRules } from "./config.ts";
import {
  integerField,
  positiveField,
  readConfig,
  requireSizes,
  roundUpWidth,
  SIZE_LIMITS,
  wordField,
} from "./config.ts";
import type { Model } from "./model.ts";
import { residualStd } from "./parameters.ts";
import type { StackConfig } from "./residual_stack.ts";
import { createStack, stackRules } from "./residual_stack.ts";

/** Sizes of a RetNet; the letter of its mixer is R. A type, so that it is a record of plain values. */
export type RetnetConfig = StackConfig & {
  readonly architecture: "retnet";
  readonly headCount: number;
  /** Channels of all queries; dim by default. */
  readonly keyDim: number;
  /** Channels of all values; 2 dim by default. */
  readonly valueDim: number;
  /** Base of the positions of retention. */
  readonly retentionTheta: number;
};

const rules: ConfigRules<RetnetConfig> = {
  architecture: wordField("retnet"),
  ...stackRules("R", (dim) => roundUpWidth(2 * dim, 32), 1e-6),
  headCount: integerField(SIZE_LIMITS.headCount, () => 4),
  keyDim: integerField(SIZE_LIMITS.dim, ({ dim }) => Number(dim)),
  valueDim: integerField(SIZE_LIMITS.dim, ({ dim }) => 2 * Number(dim)),
  retentionTheta: positiveField(1e9, 10000),
};

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createRetnet(value: unknown): Model {
  const config = readConfig("retnet", rules, value);
  const { headCount, keyDim, valueDim, layerCount } = config;
  requireSizes(
    "retnet",
    keyDim % (2 * headCount) === 0 && valueDim % headCount === 0,
    "heads that divide valueDim, and keyDim into even sizes",
    `${headCount} heads, keyDim ${keyDim}, valueDim ${valueDim}`,
  );
  return createStack(config, () => gatedLinearAttention({ ...config, decayRank: 0 }, residualStd(layerCount)));
}

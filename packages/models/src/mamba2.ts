// Mamba-2 (Dao and Gu 2024, arXiv 2405.21060): heads with a matrix state each and no channel mixer. With a pattern and
// a channel mixer it is a hybrid with attention such as IBM's Granite 4; with attention beside each mixer Falcon-H1
// (arXiv 2507.22448); with feed-forward layers among the others Nemotron-H (arXiv 2504.03624).

import { hybridAttention } from "./blocks/hybrid_attention.ts";
import { mamba2Mixer } from "./blocks/mamba2_mixer.ts";
import { parallelMixers } from "./blocks/parallel_mixers.ts";
import { convolutionField } from "./blocks/short_convolution.ts";
import { squareNetwork } from "./blocks/square_network.ts";
import type { ConfigRules } from "./config.ts";
import { flagField, integerField, readConfig, requireSizes, SIZE_LIMITS, wordField } from "./config.ts";
import type { Model } from "./model.ts";
import { residualStd } from "./parameters.ts";
import type { StackConfig } from "./residual_stack.ts";
import { createStack, stackRules } from "./residual_stack.ts";

/**
 * Sizes of a Mamba-2 model. The letter of its mixer is M; P is one with attention beside it, and F a layer of squared
 * ReLU. A type, so that it is a record of plain values.
 */
export type Mamba2Config = StackConfig & {
  readonly architecture: "mamba2";
  /** Channels of all heads; 2 dim by default. */
  readonly innerDim: number;
  /** Heads; those of 64 channels by default. */
  readonly headCount: number;
  /** Groups of heads that share what they write and read. */
  readonly groupCount: number;
  /** Size of the state a channel. */
  readonly stateSize: number;
  /** Tokens that the convolution sees. */
  readonly convolutionSize: number;
  /** Whether what the states give is normalised a group. */
  readonly stateNorm: boolean;
  /** Width inside the layers F; 4 dim by default. */
  readonly networkDim: number;
};

const rules: ConfigRules<Mamba2Config> = {
  architecture: wordField("mamba2"),
  ...stackRules("MPF", () => 0),
  innerDim: integerField(SIZE_LIMITS.dim, ({ dim }) => 2 * Number(dim)),
  headCount: integerField(SIZE_LIMITS.headCount, ({ innerDim }) => Math.max(1, Math.floor(Number(innerDim) / 64))),
  groupCount: integerField(SIZE_LIMITS.headCount, () => 1),
  stateSize: integerField(SIZE_LIMITS.dim, () => 128),
  convolutionSize: convolutionField(4),
  stateNorm: flagField(true),
  networkDim: integerField(SIZE_LIMITS.hiddenDim, ({ dim }) => 4 * Number(dim)),
};

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createMamba2(value: unknown): Model {
  const config = readConfig("mamba2", rules, value);
  const { innerDim, headCount, groupCount } = config;
  requireSizes(
    "mamba2",
    innerDim % headCount === 0 && headCount % groupCount === 0,
    "groups that divide the heads, which divide innerDim",
    `innerDim ${innerDim}, ${headCount} heads, ${groupCount} groups`,
  );
  const std = residualStd(config.layerCount);
  return createStack(config, (letter) => {
    if (letter === "F") return squareNetwork(config, std);
    const recurrent = mamba2Mixer(config, std);
    return letter === "M" ? recurrent : parallelMixers({ attention: hybridAttention(config, std), recurrent });
  });
}

// Mamba (Gu and Dao 2023, arXiv 2312.00752): a selective state space a layer and no channel mixer; the state is a few
// numbers a channel, whatever the position. With a pattern and a channel mixer it is a hybrid with attention such as
// Jamba (Lieber et al. 2024, arXiv 2403.19887).

import { mambaMixer } from "./blocks/mamba_mixer.ts";
import type { SelectionNorm } from "./blocks/mamba_mixer.ts";
import { convolutionField } from "./blocks/short_convolution.ts";
import type { ConfigRules } from "./config.ts";
import { integerField, readConfig, SIZE_LIMITS, wordField } from "./config.ts";
import type { Model } from "./model.ts";
import { residualStd } from "./parameters.ts";
import type { StackConfig } from "./residual_stack.ts";
import { createStack, stackRules } from "./residual_stack.ts";

/** Sizes of a Mamba model; the letter of its mixer is M. A type, so that it is a record of plain values. */
export type MambaConfig = StackConfig & {
  readonly architecture: "mamba";
  /** Channels of the state space; 2 dim by default. */
  readonly innerDim: number;
  /** Size of the state a channel. */
  readonly stateSize: number;
  /** Rank of the step sizes; dim / 16, rounded up, by default. */
  readonly timeStepRank: number;
  /** Tokens that the convolution sees. */
  readonly convolutionSize: number;
  /** Norms of the step size, of B and of C: Falcon Mamba's have no gains, Jamba's do. None by default. */
  readonly selectionNorm: SelectionNorm;
};

const rules: ConfigRules<MambaConfig> = {
  architecture: wordField("mamba"),
  ...stackRules("M", () => 0),
  innerDim: integerField(SIZE_LIMITS.dim, ({ dim }) => 2 * Number(dim)),
  stateSize: integerField(SIZE_LIMITS.dim, () => 16),
  timeStepRank: integerField(SIZE_LIMITS.dim, ({ dim }) => Math.ceil(Number(dim) / 16)),
  convolutionSize: convolutionField(4),
  selectionNorm: wordField("none", "plain", "gain"),
};

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createMamba(value: unknown): Model {
  const config = readConfig("mamba", rules, value);
  return createStack(config, () => mambaMixer(config, residualStd(config.layerCount)));
}

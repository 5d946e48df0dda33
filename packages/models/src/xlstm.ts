// xLSTM (Beck et al. 2024, arXiv 2405.04517): layers of mLSTM, with a matrix memory, and of sLSTM, whose scalar memory
// feeds back, each with a SwiGLU after it as in xLSTM 7B (arXiv 2503.13427).

import { mlstmMixer } from "./blocks/mlstm.ts";
import { slstmMixer } from "./blocks/slstm.ts";
import type { ConfigRules } from "./config.ts";
import { integerField, readConfig, requireSizes, roundUpWidth, SIZE_LIMITS, wordField } from "./config.ts";
import type { Model } from "./model.ts";
import { residualStd } from "./parameters.ts";
import type { StackConfig } from "./residual_stack.ts";
import { createStack, stackRules } from "./residual_stack.ts";

/** Sizes of an xLSTM; M is the letter of mLSTM, S of sLSTM. A type, so that it is a record of plain values. */
export type XlstmConfig = StackConfig & {
  readonly architecture: "xlstm";
  readonly headCount: number;
  /** Channels of all queries of mLSTM; dim / 2 by default. */
  readonly keyDim: number;
};

const rules: ConfigRules<XlstmConfig> = {
  architecture: wordField("xlstm"),
  ...stackRules("MS", (dim) => roundUpWidth(Math.floor((8 * dim) / 3), 64), 1e-6),
  headCount: integerField(SIZE_LIMITS.headCount, () => 4),
  keyDim: integerField(SIZE_LIMITS.dim, ({ dim }) => Math.ceil(Number(dim) / 2)),
};

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createXlstm(value: unknown): Model {
  const config = readConfig("xlstm", rules, value);
  const { dim, headCount, keyDim, layerCount } = config;
  requireSizes(
    "xlstm",
    keyDim % headCount === 0 && dim % headCount === 0,
    "heads that divide dim and keyDim",
    `${headCount} heads, dim ${dim}, keyDim ${keyDim}`,
  );
  const std = residualStd(layerCount);
  return createStack(config, (letter) => (letter === "S" ? slstmMixer(config, std) : mlstmMixer(config, std)));
}

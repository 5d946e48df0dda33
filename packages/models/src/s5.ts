// S5 (Smith et al. 2022, arXiv 2208.04933): one diagonal complex state space a layer that all channels share, in
// pre-norm residual layers with GELU and a gated linear unit. With a channel mixer and a pattern it is a hybrid with
// attention.
//
// Left out: the two directions that encoders use, and dropout.

import { s5Mixer } from "./blocks/s5_mixer.ts";
import type { ConfigRules } from "./config.ts";
import { integerField, readConfig, SIZE_LIMITS, wordField } from "./config.ts";
import type { Model } from "./model.ts";
import { residualStd } from "./parameters.ts";
import type { StackConfig } from "./residual_stack.ts";
import { createStack, stackRules } from "./residual_stack.ts";

/** Sizes of an S5 model; the letter of its mixer is S. A type, so that it is a record of plain values. */
export type S5Config = StackConfig & {
  readonly architecture: "s5";
  /** Complex states, conjugates counted once; half of dim by default. */
  readonly stateSize: number;
};

const rules: ConfigRules<S5Config> = {
  architecture: wordField("s5"),
  ...stackRules("S", () => 0),
  stateSize: integerField(SIZE_LIMITS.dim, ({ dim }) => Math.ceil(Number(dim) / 2)),
};

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createS5(value: unknown): Model {
  const config = readConfig("s5", rules, value);
  return createStack(config, () => s5Mixer(config, residualStd(config.layerCount)));
}

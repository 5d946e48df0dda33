// S4D (Gu et al. 2022, arXiv 2206.11893): diagonal complex state spaces, one for each channel, in pre-norm residual
// layers with GELU and a gated linear unit. The states do not depend on the tokens, and the state a sequence leaves has
// one size. With a channel mixer and a pattern it is a hybrid with attention.
//
// Left out: the two directions that encoders use, and dropout.

import { s4dMixer } from "./blocks/s4d_mixer.ts";
import type { ConfigRules } from "./config.ts";
import { integerField, readConfig, SIZE_LIMITS, wordField } from "./config.ts";
import type { Model } from "./model.ts";
import { residualStd } from "./parameters.ts";
import type { StackConfig } from "./residual_stack.ts";
import { createStack, stackRules } from "./residual_stack.ts";

/** Sizes of an S4D model; the letter of its mixer is S. A type, so that it is a record of plain values. */
export type S4dConfig = StackConfig & {
  readonly architecture: "s4d";
  /** Complex states a channel, conjugates counted once. */
  readonly stateSize: number;
};

const rules: ConfigRules<S4dConfig> = {
  architecture: wordField("s4d"),
  ...stackRules("S", () => 0),
  stateSize: integerField(SIZE_LIMITS.dim, () => 32),
};

/** Builds the model of a configuration. Throws `ModelConfigError`. */
export function createS4d(value: unknown): Model {
  const config = readConfig("s4d", rules, value);
  return createStack(config, () => s4dMixer(config, residualStd(config.layerCount)));
}

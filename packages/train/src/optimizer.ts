// The optimiser of a run.

import { OPTIMIZERS } from "@fidelity/furnace";
import type { Optimizer } from "@fidelity/furnace";
import { namedParameters } from "@fidelity/models";
import type { Model } from "@fidelity/models";
import type { TrainSettings } from "./settings.ts";

/** The optimiser that settings ask for, for a model with what is learned beside its parameters. Gains do not decay. */
export function optimizerOf(settings: TrainSettings, model: Model): Optimizer {
  const { weightDecay, beta1, beta2 } = settings;
  const rows = settings.gradients === "lazy" ? "lazy" : "exact";
  const leaves = namedParameters(model.parameters);
  const decaying = new Set(leaves.filter(({ leaf }) => leaf.role !== "norm").map(({ path }) => path));
  const decayMask = (path: string): boolean => decaying.has(path);
  return OPTIMIZERS[settings.optimizer]({ weightDecay, beta1, beta2, rows, decayMask });
}

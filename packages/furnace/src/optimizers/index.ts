// The optimisers by name, with AdamW's options where they have any in common: what commands and settings choose from.

import { adafactor } from "./adafactor.ts";
import { adamW } from "./adamw.ts";
import type { AdamWOptions } from "./adamw.ts";
import { lion } from "./lion.ts";
import { muon } from "./muon.ts";
import type { Optimizer } from "./optimizer.ts";
import { scheduleFree } from "./schedule_free.ts";
import { sgd } from "./sgd.ts";
import { soap } from "./soap.ts";

/** Options that all of them understand; one that an optimiser has no use for is left out of account. */
export type CommonOptions = Pick<AdamWOptions, "beta1" | "beta2" | "weightDecay" | "decayMask" | "rows">;

/** For `schedule-free` the rate is warmed up and then constant, and weights to evaluate are made by `averaged`. */
export const OPTIMIZERS = {
  adamw: (options: CommonOptions): Optimizer => adamW(options),
  lion: (options: CommonOptions): Optimizer => lion(options),
  muon: (options: CommonOptions): Optimizer => muon(options),
  soap: (options: CommonOptions): Optimizer => soap(options),
  adafactor: ({ weightDecay, decayMask }: CommonOptions): Optimizer => adafactor({ weightDecay, decayMask }),
  "schedule-free": ({ beta1, beta2, weightDecay, decayMask }: CommonOptions): Optimizer =>
    scheduleFree({ beta1, beta2, weightDecay, decayMask }),
  sgd: ({ beta1, rows }: CommonOptions): Optimizer => sgd({ momentum: beta1, rows }),
} as const;

export type OptimizerName = keyof typeof OPTIMIZERS;

// The estimators by name.

import { adaptiveScaling } from "./adaptive_scaling.ts";
import { clipped } from "./clipped.ts";
import { dsq } from "./dsq.ts";
import type { Estimator } from "./estimator.ts";
import { gumbel } from "./gumbel.ts";
import { quest, questHadamard } from "./quest.ts";
import { reste } from "./reste.ts";
import { stochasticRounding } from "./stochastic_rounding.ts";
import { straightThrough } from "./straight_through.ts";
import { stretchedElastic } from "./stretched_elastic.ts";
import { tequila } from "./tequila.ts";
import { warmup } from "./warmup.ts";

/** Every estimator, the plain one first. */
export const ESTIMATORS: readonly Estimator[] = [
  straightThrough,
  clipped,
  dsq,
  reste,
  quest,
  questHadamard,
  tequila,
  stretchedElastic,
  gumbel,
  stochasticRounding,
  warmup("linear"),
  warmup("exponential"),
  warmup("sigmoid"),
  warmup("discrete"),
  warmup("layerwise"),
  adaptiveScaling(1),
  adaptiveScaling(0.1),
  adaptiveScaling(0.01),
];

/** The estimator of a name; undefined where there is none. */
export function findEstimator(name: string): Estimator | undefined {
  return ESTIMATORS.find((estimator) => estimator.name === name);
}

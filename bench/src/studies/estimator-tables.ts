// Tables of the estimator studies: losses by seed, and differences from straight-through gradients of the same seed
// and corpus, whose standard errors are those of paired differences.

import { ESTIMATORS } from "@fidelity/furnace";
import { mean, standardError } from "../statistics.ts";
import type { DotRow } from "./dots.ts";
import { BASELINE, SEEDS } from "./estimator-runs.ts";
import type { Outcome } from "./estimator-runs.ts";

/** Seeds that a line must have: a study that was cut short shows what it has. */
const SEEDS_MIN = 2;

/** All seeds of one estimator on one corpus. */
export interface Group {
  readonly estimator: string;
  readonly outcomes: readonly Outcome[];
  /** Loss minus that of the baseline, by seed. */
  readonly differences: readonly number[];
}

/** The groups of a corpus, the lowest mean difference first. */
export function groupsOf(all: readonly Outcome[], corpus: string): Group[] {
  const here = all.filter((outcome) => outcome.corpus === corpus);
  const ofSeeds = (estimator: string): Outcome[] =>
    SEEDS.flatMap((seed) => here.find((o) => o.estimator === estimator && o.seed === seed) ?? []);
  const baseline = ofSeeds(BASELINE);
  const baselineOf = new Map(baseline.map(({ seed, loss }) => [seed, loss]));
  return ESTIMATORS.map(({ name }) => ({ estimator: name, outcomes: ofSeeds(name) }))
    .map(({ estimator, outcomes }) => {
      const paired = outcomes.filter(({ seed }) => baselineOf.has(seed));
      const differences = paired.map(({ seed, loss }) => loss - baselineOf.get(seed)!);
      return { estimator, outcomes: paired, differences };
    })
    .filter(({ outcomes }) => outcomes.length >= SEEDS_MIN)
    .sort((a, b) => mean(a.differences) - mean(b.differences));
}

/** Losses of all seeds, their mean, the paired difference, and the share of weights that flip in a step. */
export function table(groups: readonly Group[]): string {
  const seeds = SEEDS.map((seed) => `seed ${seed}`).join(" | ");
  const head = `| estimator | ${seeds} | mean | against ${BASELINE} | flips |`;
  const lines = groups.map(({ estimator, outcomes, differences }) => {
    const losses = outcomes.map(({ loss }) => loss);
    const cells = SEEDS.map((seed) => outcomes.find((o) => o.seed === seed)?.loss.toFixed(4) ?? "-").join(" | ");
    const difference = estimator === BASELINE ? "0" : signed(differences);
    return `| ${estimator} | ${cells} | **${mean(losses).toFixed(4)}** | ${difference} | ${flipsOf(outcomes)} |`;
  });
  return [head, `|${" --- |".repeat(SEEDS.length + 4)}`, ...lines].join("\n");
}

/** `-0.0413 ± 0.0012`: mean and standard error of paired differences. */
export function signed(differences: readonly number[]): string {
  const middle = mean(differences);
  return `${middle < 0 ? "-" : "+"}${Math.abs(middle).toFixed(4)} ± ${standardError(differences).toFixed(4)}`;
}

function flipsOf(outcomes: readonly Outcome[]): string {
  const shares = outcomes.flatMap(({ flips }) => flips.map(([, share]) => share));
  return `${(100 * mean(shares)).toFixed(2)} %`;
}

/** Rows for the picture of differences, without the baseline. */
export function dotRows(groups: readonly Group[]): DotRow[] {
  return groups
    .filter(({ estimator }) => estimator !== BASELINE)
    .map(({ estimator, differences }) => ({ name: estimator, values: differences }));
}

/** The mean over seeds of the points of each step. */
export function meanCurve(
  outcomes: readonly Outcome[],
  of: (outcome: Outcome) => Outcome["curve"],
): [step: number, value: number][] {
  return of(outcomes[0]).map(([step], i) => [step, mean(outcomes.map((outcome) => of(outcome)[i][1]))]);
}

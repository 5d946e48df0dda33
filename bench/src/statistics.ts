// The statistics of samples: medians and quartiles, which a few disturbed samples do not move (Hoefler and Belli,
// "Scientific Benchmarking of Parallel Computing Systems", SC 2015, rules 5 to 8). Leaves out tests of significance:
// the spread is shown, and the reader judges.

import { invariant } from "@fidelity/units";

/** The middle of samples, and what half of them lie between. */
export interface Summary {
  readonly median: number;
  /** First and third quartile. */
  readonly low: number;
  readonly high: number;
}

/** The quantile at `share`, 0 to 1, of at least one sample, interpolated linearly. */
export function quantile(samples: readonly number[], share: number): number {
  invariant(samples.length > 0, "a quantile of no samples");
  const sorted = samples.toSorted((a, b) => a - b);
  const position = share * (sorted.length - 1);
  const below = Math.floor(position);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (position - below) * (sorted[above] - sorted[below]);
}

export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

export function summarise(samples: readonly number[]): Summary {
  return { median: median(samples), low: quantile(samples, 0.25), high: quantile(samples, 0.75) };
}

/**
 * The ratios of samples taken in the same rounds: drift of the machine hits both sides of a ratio, and falls out of it.
 */
export function pairedRatios(samples: readonly number[], others: readonly number[]): Summary {
  invariant(samples.length === others.length, `${samples.length} samples against ${others.length}`);
  return summarise(samples.map((sample, round) => sample / others[round]));
}

export function mean(samples: readonly number[]): number {
  invariant(samples.length > 0, "a mean of no samples");
  return samples.reduce((sum, sample) => sum + sample, 0) / samples.length;
}

/** The standard error of the mean of at least two samples: their standard deviation (n - 1) over the root of n. */
export function standardError(samples: readonly number[]): number {
  invariant(samples.length > 1, "a standard error of one sample");
  const middle = mean(samples);
  const squares = samples.reduce((sum, sample) => sum + (sample - middle) ** 2, 0);
  return Math.sqrt(squares / (samples.length - 1) / samples.length);
}

// What the numbers of a tensor look like: range, moments, zeros, and a histogram.

/** A tensor's numbers in short. Moments are those of the finite values. */
export interface TensorStatistics {
  readonly count: number;
  readonly least: number;
  readonly greatest: number;
  readonly mean: number;
  readonly deviation: number;
  readonly zeros: number;
  /** NaN and infinities. */
  readonly nonFinite: number;
  /** Counts of equal ranges from `least` to `greatest`. */
  readonly histogram: readonly number[];
}

const BINS = 41;

/** The statistics of `values`; two passes. */
export function tensorStatistics(values: Float32Array): TensorStatistics {
  let [least, greatest, sum, squares, zeros, nonFinite] = [Infinity, -Infinity, 0, 0, 0, 0];
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (!Number.isFinite(value)) {
      nonFinite++;
      continue;
    }
    if (value < least) least = value;
    if (value > greatest) greatest = value;
    sum += value;
    squares += value * value;
    if (value === 0) zeros++;
  }
  const finite = values.length - nonFinite;
  const mean = finite === 0 ? Number.NaN : sum / finite;
  const histogram = Array.from({ length: BINS }, () => 0);
  const scale = greatest > least ? BINS / (greatest - least) : 0;
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i])) histogram[Math.min(BINS - 1, Math.floor((values[i] - least) * scale))]++;
  }
  const deviation = Math.sqrt(Math.max(0, squares / finite - mean * mean));
  return { count: values.length, least, greatest, mean, deviation, zeros, nonFinite, histogram };
}

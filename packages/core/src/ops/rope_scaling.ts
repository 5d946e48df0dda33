// How the angles of rotary positions are changed for contexts longer than those a model was first trained on, as
// factors that divide the frequencies of the pairs, and a factor of the turned vectors. Positions may be divided
// (position interpolation, Chen et al. 2023, arXiv 2306.15595), each pair have a divisor of its own (the table that
// Llama 3 files carry), and YaRN (Peng et al. 2023, arXiv 2309.00071) divides the slow pairs, leaves the fast ones, and
// interpolates between them. Left out: divisors that change with the length of the text.

/** YaRN, with the names and meanings of llama.cpp's options. */
export interface Yarn {
  /** How many times longer contexts become. */
  readonly factor: number;
  /** Tokens of the contexts that the model was first trained on. */
  readonly originalContext: number;
  /** How much of the fast pairs' own frequencies is kept: 1 by default, and 0 divides all pairs. */
  readonly extFactor?: number;
  /** Times the factor of turned vectors that YaRN has by itself, 1 + ln(factor) / 10; 1 by default. */
  readonly attnFactor?: number;
  /** Turns within the original context above which a pair is fast, 32 by default, and below which it is slow, 1. */
  readonly betaFast?: number;
  readonly betaSlow?: number;
}

export interface RopeScaling {
  /** Divides the frequency of each pair: [dims / 2]. */
  readonly frequencyFactors?: readonly number[];
  /** Divides the positions. */
  readonly linearScale?: number;
  readonly yarn?: Yarn;
}

/** What `ropeScaling` computes: divisors of the frequencies, and a factor of turned vectors; absent where all are 1. */
export interface RopeFactors {
  readonly divisors?: readonly number[];
  readonly magnitude?: number;
}

/** Divisors and magnitude for pairs of `dims` elements whose frequencies are theta^(-2i/dims). */
export function ropeScaling(
  { frequencyFactors, linearScale = 1, yarn }: RopeScaling,
  dims: number,
  theta: number,
): RopeFactors {
  if (frequencyFactors === undefined && linearScale === 1 && yarn === undefined) return {};
  const { divisorOf, magnitude } = yarn === undefined ? NO_YARN : yarnOf(yarn, dims, theta);
  const pairs = frequencyFactors?.length ?? Math.max(0, Math.floor(dims / 2));
  const divisors = Array.from({ length: pairs }, (_, pair) => {
    return (frequencyFactors?.[pair] ?? 1) * linearScale * divisorOf(pair);
  });
  return { divisors, ...(magnitude !== 1 && { magnitude }) };
}

const NO_YARN = { divisorOf: (): number => 1, magnitude: 1 };

function yarnOf(
  { factor, originalContext, extFactor = 1, attnFactor = 1, betaFast = 32, betaSlow = 1 }: Yarn,
  dims: number,
  theta: number,
): { divisorOf(pair: number): number; magnitude: number } {
  // The pair, as a real number, that turns so many times within the original context.
  const pairOf = (turns: number): number =>
    (dims * Math.log(originalContext / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const low = Math.max(0, Math.floor(pairOf(betaFast)));
  const high = Math.min(dims - 1, Math.ceil(pairOf(betaSlow)));
  const divisorOf = (pair: number): number => {
    const slowness = Math.min(1, Math.max(0, (pair - low) / Math.max(0.001, high - low)));
    const kept = extFactor * (1 - slowness);
    return 1 / ((1 - kept) / factor + kept);
  };
  return { divisorOf, magnitude: attnFactor * (extFactor === 0 ? 1 : 1 + 0.1 * Math.log(factor)) };
}

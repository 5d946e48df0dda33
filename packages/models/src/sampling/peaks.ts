// The scores that tokens are chosen by, and the highest one of each 16 neighbours: a glance at those passes most of a
// large vocabulary over, whatever filters or draws. Nothing is allocated after construction.

import { FidelityError } from "@fidelity/units";
import type { RandomStream } from "../random.ts";

/** The logits cannot be a distribution: NaN, positive infinity, or nothing above negative infinity. */
export class LogitsError extends FidelityError {}

/** Tokens of a group, and their bits in a word of a mask. */
export const PEAK_TOKENS = 16;
const GROUP_BITS = 0xffff;
/** Stands for a peak that is yet to be found; as a peak of logits it says that they are none. */
const UNKNOWN = Infinity;

export class Peaks {
  /** [vocabSize]: the logits as masks, biases and penalties left them; of groups without a peak, anything. */
  readonly scores: Float64Array;
  /** [groups]: the highest score of each group; -Infinity where no token can be chosen. */
  readonly highest: Float64Array;
  /** [groups]: what the peaks up to each group weigh together. */
  readonly #sums: Float64Array;

  constructor(vocabSize: number) {
    this.scores = new Float64Array(vocabSize);
    this.highest = new Float64Array(Math.ceil(vocabSize / PEAK_TOKENS));
    this.#sums = new Float64Array(this.highest.length);
  }

  /**
   * Copies logits [vocabSize] to the scores; those of tokens whose bits `allowed` has not become -Infinity.
   * @param known their peaks, where somebody has them
   */
  take(logits: Float32Array, allowed: Uint32Array | undefined, known: Float32Array | undefined): void {
    const { scores, highest } = this;
    scores.set(logits);
    if (known === undefined) highest.fill(UNKNOWN);
    else highest.set(known);
    if (allowed === undefined) return;
    for (let group = 0; group < highest.length; group++) {
      const bits = (allowed[group >>> 1] >>> (PEAK_TOKENS * (group & 1))) & GROUP_BITS;
      if (bits === GROUP_BITS) continue;
      highest[group] = bits === 0 ? -Infinity : UNKNOWN;
      if (bits === 0) continue;
      for (let lane = 0; lane < PEAK_TOKENS; lane++) {
        if (((bits >>> lane) & 1) === 0) scores[group * PEAK_TOKENS + lane] = -Infinity;
      }
    }
  }

  /** Says that a score was changed. */
  touch(token: number): void {
    const group = Math.floor(token / PEAK_TOKENS);
    if (this.highest[group] > -Infinity) this.highest[group] = UNKNOWN;
  }

  /**
   * Finds the peaks that are not known, and gives the lowest token of the highest. Throws `LogitsError` for NaN, for
   * positive infinity and when there is no peak.
   */
  find(): number {
    const { scores, highest } = this;
    let best = -Infinity;
    let bestGroup = 0;
    for (let group = 0; group < highest.length; group++) {
      if (highest[group] === UNKNOWN) highest[group] = this.#peakOf(group);
      if (highest[group] > best) {
        best = highest[group];
        bestGroup = group;
      }
    }
    if (best === -Infinity) throw unusableLogits("every logit is -Infinity");
    return scores.indexOf(best, bestGroup * PEAK_TOKENS);
  }

  #peakOf(group: number): number {
    const { scores } = this;
    let peak = -Infinity;
    const end = Math.min((group + 1) * PEAK_TOKENS, scores.length);
    for (let token = group * PEAK_TOKENS; token < end; token++) {
      const score = scores[token];
      if (!(score <= peak)) {
        if (!(score < Infinity)) throw unusableLogits(`logit ${token} is ${score}`);
        peak = score;
      }
    }
    return peak;
  }

  /** Writes the tokens of at least a score that can be chosen to `tokens`, by rising ids; gives how many. */
  list(least: number, tokens: Int32Array): number {
    const { scores, highest } = this;
    let count = 0;
    for (let group = 0; group < highest.length; group++) {
      if (!(highest[group] >= least) || highest[group] === -Infinity) continue;
      const end = Math.min((group + 1) * PEAK_TOKENS, scores.length);
      for (let token = group * PEAK_TOKENS; token < end; token++) {
        if (scores[token] >= least && scores[token] > -Infinity) tokens[count++] = token;
      }
    }
    return count;
  }

  /**
   * Draws a token with a probability in proportion to exp(score / temperature), for which few of them need be looked
   * at: a group by its peak, any of its tokens, and this one as often as it weighs less than the peak; else again
   * (rejection: von Neumann, "Various techniques used in connection with random digits", 1951). Of 16 tokens one always
   * stays, so that few draws are needed.
   * @param best the highest score
   */
  draw(best: number, temperature: number, random: RandomStream): number {
    const { scores, highest } = this;
    const sums = this.#sums;
    let total = 0;
    for (let group = 0; group < sums.length; group++) {
      if (highest[group] > -Infinity) total += Math.exp((highest[group] - best) / temperature);
      sums[group] = total;
    }
    for (;;) {
      const position = random.uniform() * total;
      let group = 0; // the first one with a sum above the position
      for (let end = sums.length - 1; group < end;) {
        const middle = (group + end) >>> 1;
        if (sums[middle] > position) end = middle;
        else group = middle + 1;
      }
      const token = group * PEAK_TOKENS + random.below(PEAK_TOKENS);
      const kept = random.uniform();
      if (token < scores.length && kept < Math.exp((scores[token] - highest[group]) / temperature)) return token;
    }
  }
}

/**
 * The lowest token of the highest logit, by their peaks where somebody has those. Throws `LogitsError` as `Peaks.find`.
 */
export function likeliest(logits: Float32Array, known: Float32Array | undefined): number {
  if (known !== undefined) {
    const group = firstHighest(known);
    if (group >= 0 && known[group] < Infinity) return logits.indexOf(known[group], group * PEAK_TOKENS);
  }
  const token = firstHighest(logits);
  if (token < 0) throw unusableLogits("every logit is -Infinity");
  if (!(logits[token] < Infinity)) throw unusableLogits(`logit ${token} is ${logits[token]}`);
  return token;
}

/** Where the highest number is, or what is none or Infinity: one comparison for each; -1 where all are -Infinity. */
function firstHighest(logits: Float32Array): number {
  const { length } = logits;
  let best = -1;
  let bestScore = -Infinity;
  for (let token = 0; token < length; token++) {
    const score = logits[token];
    if (!(score <= bestScore)) {
      if (!(score < Infinity)) return token;
      best = token;
      bestScore = score;
    }
  }
  return best;
}

function unusableLogits(got: string): LogitsError {
  return new LogitsError("the model gave logits that no token can be drawn from", {
    expected: "finite logits, or -Infinity for tokens that are masked",
    got,
    hint: "the weights are damaged or their training diverged; check the file with `fidelity show`",
  });
}

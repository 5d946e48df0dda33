// From logits to the next token. The stages, each left out at its default, come in llama.cpp's order:
//
//   mask of a constraint, logit biases, penalties, top-k (Fan and others, arXiv 1805.04833), typical, top-p (Holtzman
//   and others, arXiv 1904.09751), min-p (Nguyen and others, arXiv 2407.01082), temperature, one draw of (seed, step).
//
// So filters see the model's probabilities, and the temperature only shapes what they kept. Mirostat takes the place of
// all filters and comes after the temperature. Temperature 0 takes the likeliest token after the penalties.
//
// Nothing is allocated after construction.

import { randomPurpose, RandomStream } from "./random.ts";
import { Candidates } from "./sampling/candidates.ts";
import { Mirostat } from "./sampling/mirostat.ts";
import { samplerOptions, SamplingOptionError } from "./sampling/options.ts";
import type { SamplerOptions } from "./sampling/options.ts";
import { likeliest, LogitsError, Peaks } from "./sampling/peaks.ts";
import { Penalties } from "./sampling/penalties.ts";
import { keepTypical } from "./sampling/typical.ts";

export { LogitsError };

/** A difference of scores that rounding does not reach, and so decides nothing by itself. */
const MIN_P_MARGIN = 1e-6;

/** Chooses tokens one after another; holds the window of recent tokens and the count of draws, nothing else. */
export class Sampler {
  readonly options: Required<SamplerOptions>;
  readonly vocabSize: number;
  readonly #random: RandomStream;
  readonly #peaks: Peaks;
  readonly #candidates: Candidates;
  /** Groups of tokens, by their peaks. */
  readonly #groups: Candidates;
  readonly #penalties: Penalties;
  readonly #mirostat: Mirostat | undefined;
  readonly #biased: Int32Array;
  readonly #biases: Float64Array;
  #drawCount = 0;
  /** The highest score where the last token was drawn of all, without a list of candidates. */
  #unlisted: number | undefined;

  /**
   * Throws `SamplingOptionError` for an impossible option.
   * @param purpose which of the random numbers of the seed are drawn
   */
  constructor(vocabSize: number, options: SamplerOptions = {}, purpose: number = randomPurpose.sampling) {
    this.vocabSize = vocabSize;
    this.options = samplerOptions(options);
    const { seed, mirostat, mirostatTau, mirostatEta, logitBias } = this.options;
    this.#random = new RandomStream(seed, 0, purpose);
    this.#peaks = new Peaks(vocabSize);
    this.#candidates = new Candidates(this.#peaks.scores);
    this.#groups = new Candidates(this.#peaks.highest);
    this.#penalties = new Penalties(vocabSize, this.options);
    this.#mirostat = mirostat === 0 ? undefined : new Mirostat(mirostat, mirostatTau, mirostatEta);
    this.#biased = Int32Array.from(Object.keys(logitBias), Number);
    this.#biases = Float64Array.from(Object.values(logitBias));
    const stranger = this.#biased.find((token) => token >= vocabSize);
    if (stranger !== undefined) {
      throw new SamplingOptionError(`logitBias names token ${stranger}, which the model does not have`, {
        where: "sampling option logitBias",
        expected: `ids from 0 to ${vocabSize - 1}`,
        got: String(stranger),
      });
    }
  }

  /** Forgets the window and starts the draws again. */
  reset(): void {
    this.#drawCount = 0;
    this.#penalties.reset();
    this.#mirostat?.reset();
  }

  /** Puts a token in the penalties' window. `sample` does so by itself; call it for the prompt's tokens. */
  observe(token: number): void {
    this.#penalties.observe(token);
  }

  /**
   * Chooses the next token from `logits` [vocabSize], which stays as it is. `allowed` has a bit for every token that
   * may come: token t is bit t % 32 of word t / 32. Throws `LogitsError` for NaN, for positive infinity and when every
   * token is masked.
   * @param peaks the highest logit of each 16 neighbours, where somebody has them (`Session.peaks`)
   */
  sample(logits: Float32Array, allowed?: Uint32Array, peaks?: Float32Array): number {
    const best = this.#score(logits, allowed, peaks);
    const token = this.options.temperature === 0 ? best : this.#draw(best);
    this.#penalties.observe(token);
    return token;
  }

  /**
   * Chooses the next token as `sample` does and with the same distribution p, but `guess` as often as that allows,
   * where it was drawn from other `probabilities` q [vocabSize]: it is kept with probability min(1, p/q), and otherwise
   * a token is drawn from what p has more than q (Leviathan and others, arXiv 2211.17192, algorithm 1). Throws as
   * `sample`.
   */
  verify(logits: Float32Array, guess: number, probabilities: Float64Array, allowed?: Uint32Array): number {
    const best = this.#score(logits, allowed);
    const token = this.options.temperature === 0 ? best : this.#draw(best, { guess, probabilities });
    this.#penalties.observe(token);
    return token;
  }

  /** Writes what the last token was drawn from to `into` [vocabSize], unless the temperature is 0. */
  probabilities(into: Float64Array): void {
    if (this.#unlisted !== undefined) {
      this.#candidates.beginAbove(-Infinity, this.#peaks);
      this.#candidates.weigh(this.#unlisted, this.options.temperature);
      this.#unlisted = undefined;
    }
    this.#candidates.probabilities(into);
  }

  /**
   * Copies the logits to the scores, masked, biased and penalised, and finds their peaks; gives the lowest id of the
   * highest score. At temperature 0 nothing is drawn, and where nothing changes the logits either, that is all.
   */
  #score(logits: Float32Array, allowed: Uint32Array | undefined, known?: Float32Array): number {
    if (logits.length !== this.vocabSize) {
      throw new LogitsError("the logits do not match the vocabulary", {
        expected: `${this.vocabSize} logits`,
        got: `${logits.length} logits`,
        hint: "use the tokenizer that the model was trained with",
      });
    }
    const isPlain = allowed === undefined && this.#biased.length === 0 && this.#penalties.areIdle;
    if (isPlain && this.options.temperature === 0) return likeliest(logits, known);
    const peaks = this.#peaks;
    peaks.take(logits, allowed, known);
    for (let at = 0; at < this.#biased.length; at++) {
      peaks.scores[this.#biased[at]] += this.#biases[at];
      peaks.touch(this.#biased[at]);
    }
    this.#penalties.apply(peaks);
    return peaks.find();
  }

  /** Filters the candidates and draws one of them. */
  #draw(best: number, guessed?: Guessed): number {
    const { temperature, topK, typicalP, topP, minP } = this.options;
    const candidates = this.#candidates;
    const bestScore = candidates.scores[best];
    this.#random.seek(this.#drawCount++);
    const filters = topK > 0 || typicalP < 1 || topP < 1 || minP > 0;
    this.#unlisted = undefined;
    if (this.#mirostat !== undefined) {
      candidates.beginAbove(-Infinity, this.#peaks);
      candidates.weigh(bestScore, temperature);
      this.#mirostat.keep(candidates);
      const token = this.#choose(guessed);
      this.#mirostat.learn(candidates, token);
      return token;
    }
    if (!filters && guessed === undefined) {
      this.#unlisted = bestScore;
      return this.#peaks.draw(bestScore, temperature, this.#random);
    }
    // Most tokens of a large vocabulary are left out before anything is computed of them, where a filter lets us.
    candidates.beginAbove(this.#leastScore(bestScore), this.#peaks);
    if (filters) {
      if (topK > 0 && topK < candidates.count) candidates.keepHighest(topK);
      candidates.weigh(bestScore, 1);
      if (typicalP < 1) keepTypical(candidates, typicalP);
      if (topP < 1) candidates.keepUntil(topP * candidates.total());
      if (minP > 0) candidates.keepAtLeast(minP * (typicalP < 1 ? heaviest(candidates) : 1));
    }
    // Only typical may have left the likeliest token out.
    const highest = typicalP < 1 ? heaviestScore(candidates) : bestScore;
    if (!filters || temperature !== 1) candidates.weigh(highest, temperature);
    return this.#choose(guessed);
  }

  /** A score that no token is below that the filters can keep; `best` is the highest. */
  #leastScore(best: number): number {
    const { topK, typicalP, topP, minP } = this.options;
    if (topK > 0) {
      // As many groups as tokens are kept have each a token that is as high.
      const groups = this.#groups;
      groups.begin();
      if (topK >= groups.count) return -Infinity;
      groups.keepHighest(topK);
      return groups.scores[groups.tokens[topK - 1]];
    }
    return typicalP === 1 && topP === 1 ? best + Math.log(minP) - MIN_P_MARGIN : -Infinity;
  }

  /** Draws from the candidates; a guess that was drawn elsewhere is kept as often as they allow. */
  #choose(guessed: Guessed | undefined): number {
    const candidates = this.#candidates;
    const uniform = this.#random.uniform();
    if (guessed === undefined) return candidates.draw(uniform);
    const { guess, probabilities } = guessed;
    if (uniform * probabilities[guess] < candidates.probabilityOf(guess)) return guess;
    return candidates.drawExcess(this.#random.uniform(), probabilities);
  }
}

/** A token that was drawn from other probabilities. */
interface Guessed {
  readonly guess: number;
  readonly probabilities: Float64Array;
}

/** The largest weight of a candidate. */
function heaviest({ tokens, weights, count }: Candidates): number {
  let most = 0;
  for (let rank = 0; rank < count; rank++) most = Math.max(most, weights[tokens[rank]]);
  return most;
}

/** The highest score of a candidate. */
function heaviestScore({ tokens, scores, count }: Candidates): number {
  let most = -Infinity;
  for (let rank = 0; rank < count; rank++) most = Math.max(most, scores[tokens[rank]]);
  return most;
}

// From logits to the next token. The stages, each left out at its default, come in llama.cpp's order:
//
//   mask of a constraint, logit biases, penalties, top-k (Fan and others, arXiv 1805.04833), typical, top-p (Holtzman
//   and others, arXiv 1904.09751), min-p (Nguyen and others, arXiv 2407.01082), temperature, one draw of (seed, step).
//
// So filters see the model's probabilities, and the temperature only shapes what they kept. Mirostat takes the place of
// all filters and comes after the temperature. Temperature 0 takes the likeliest token after the penalties.
//
// Nothing is allocated after construction.

import { FidelityError } from "@fidelity/units";
import { randomPurpose, RandomStream } from "./random.ts";
import { Candidates } from "./sampling/candidates.ts";
import { Mirostat } from "./sampling/mirostat.ts";
import { samplerOptions, SamplingOptionError } from "./sampling/options.ts";
import type { SamplerOptions } from "./sampling/options.ts";
import { Penalties } from "./sampling/penalties.ts";
import { keepTypical } from "./sampling/typical.ts";

/** The logits cannot be a distribution: NaN, positive infinity, or nothing above negative infinity. */
export class LogitsError extends FidelityError {}

/** A difference of scores that rounding does not reach, and so decides nothing by itself. */
const MIN_P_MARGIN = 1e-6;

/** Chooses tokens one after another; holds the window of recent tokens and the count of draws, nothing else. */
export class Sampler {
  readonly options: Required<SamplerOptions>;
  readonly vocabSize: number;
  readonly #random: RandomStream;
  readonly #candidates: Candidates;
  readonly #penalties: Penalties;
  readonly #mirostat: Mirostat | undefined;
  readonly #biased: Int32Array;
  readonly #biases: Float64Array;
  #drawCount = 0;

  /**
   * Throws `SamplingOptionError` for an impossible option.
   * @param purpose which of the random numbers of the seed are drawn
   */
  constructor(vocabSize: number, options: SamplerOptions = {}, purpose: number = randomPurpose.sampling) {
    this.vocabSize = vocabSize;
    this.options = samplerOptions(options);
    const { seed, mirostat, mirostatTau, mirostatEta, logitBias } = this.options;
    this.#random = new RandomStream(seed, 0, purpose);
    this.#candidates = new Candidates(vocabSize);
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
   */
  sample(logits: Float32Array, allowed?: Uint32Array): number {
    const best = this.#score(logits, allowed);
    const token = this.options.temperature === 0 ? best : this.#draw(best, allowed);
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
    const token = this.options.temperature === 0 ? best : this.#draw(best, allowed, { guess, probabilities });
    this.#penalties.observe(token);
    return token;
  }

  /** Writes what the last token was drawn from to `into` [vocabSize], unless the temperature is 0. */
  probabilities(into: Float64Array): void {
    this.#candidates.probabilities(into);
  }

  /**
   * Copies the logits to the scores, masked, biased and penalised; gives the lowest id of the highest score. At
   * temperature 0 nothing is drawn, and where nothing changes the logits either, they are not copied.
   */
  #score(logits: Float32Array, allowed: Uint32Array | undefined): number {
    if (logits.length !== this.vocabSize) {
      throw new LogitsError("the logits do not match the vocabulary", {
        expected: `${this.vocabSize} logits`,
        got: `${logits.length} logits`,
        hint: "use the tokenizer that the model was trained with",
      });
    }
    const { scores } = this.#candidates;
    if (allowed === undefined && this.#biased.length === 0 && this.#penalties.areIdle) {
      if (this.options.temperature > 0) scores.set(logits);
      return highest(logits);
    }
    this.#candidates.list(allowed);
    const { tokens, count } = this.#candidates;
    scores.fill(-Infinity);
    for (let rank = 0; rank < count; rank++) {
      const token = tokens[rank];
      const score = logits[token];
      if (!(score < Infinity)) throw unusableLogits(`logit ${token} is ${score}`);
      scores[token] = score;
    }
    for (let at = 0; at < this.#biased.length; at++) scores[this.#biased[at]] += this.#biases[at];
    this.#penalties.apply(scores);
    let best = -1;
    let bestScore = -Infinity;
    for (let rank = 0; rank < count; rank++) {
      const score = scores[tokens[rank]];
      if (score > bestScore) {
        best = tokens[rank];
        bestScore = score;
      }
    }
    if (best < 0) throw unusableLogits("every logit is -Infinity");
    return best;
  }

  /** Filters the candidates and draws one of them. */
  #draw(best: number, allowed: Uint32Array | undefined, guessed?: Guessed): number {
    const { temperature, topK, typicalP, topP, minP } = this.options;
    const candidates = this.#candidates;
    const bestScore = candidates.scores[best];
    if (allowed === undefined) candidates.begin();
    else candidates.keepPossible();
    this.#random.seek(this.#drawCount++);
    if (this.#mirostat !== undefined) {
      candidates.weigh(bestScore, temperature);
      this.#mirostat.keep(candidates);
      const token = this.#choose(guessed);
      this.#mirostat.learn(candidates, token);
      return token;
    }
    const filters = topK > 0 || typicalP < 1 || topP < 1 || minP > 0;
    if (filters) {
      // Most tokens of a large vocabulary are left out before anything is computed of them, where a filter lets us.
      if (topK > 0 && topK < candidates.count) candidates.keepHighest(topK);
      else if (typicalP === 1 && topP === 1) candidates.keepAbove(bestScore + Math.log(minP) - MIN_P_MARGIN);
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

/** The lowest token of the highest logit: one comparison for each, since this is a part of the time of a token. */
function highest(logits: Float32Array): number {
  const { length } = logits;
  let best = -1;
  let bestScore = -Infinity;
  for (let token = 0; token < length; token++) {
    const score = logits[token];
    if (!(score <= bestScore)) {
      if (!(score < Infinity)) throw unusableLogits(`logit ${token} is ${score}`);
      best = token;
      bestScore = score;
    }
  }
  if (best < 0) throw unusableLogits("every logit is -Infinity");
  return best;
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

function unusableLogits(got: string): LogitsError {
  return new LogitsError("the model gave logits that no token can be drawn from", {
    expected: "finite logits, or -Infinity for tokens that are masked",
    got,
    hint: "the weights are damaged or their training diverged; check the file with `fidelity show`",
  });
}

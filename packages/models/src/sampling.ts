// From logits to the next token: repetition penalty (Keskar and others, arXiv 1909.05858), temperature, top-k (Fan and
// others, arXiv 1805.04833), top-p (Holtzman and others, arXiv 1904.09751) and min-p (Nguyen and others, arXiv
// 2407.01082), in that order, which is that of Hugging Face's generation. One draw of (seed, step) decides the token.
//
// Nothing is allocated after construction. Candidates are taken from a heap in falling order and only as far as the
// filters reach, so a small k never sorts the vocabulary.
//
// Leaves out: beam search, grammars, logit biases.

import { FidelityError } from "@fidelity/units";
import { isSeed, randomPurpose, RandomStream } from "./random.ts";

/** How to choose a token; every field has the default that leaves the model's distribution alone. */
export interface SamplerOptions {
  /** 0 takes the likeliest token, the lowest id among equals; 1 samples the model's own distribution. Default 1. */
  readonly temperature?: number;
  /** Keep the k likeliest tokens; 0 keeps all. Default 0. */
  readonly topK?: number;
  /** Keep the fewest likeliest tokens whose probabilities reach p together; 1 keeps all. Default 1. */
  readonly topP?: number;
  /** Keep tokens at least this fraction as likely as the likeliest; 0 keeps all. Default 0. */
  readonly minP?: number;
  /** Above 1, tokens seen in the window become less likely; 1 does nothing. Default 1. */
  readonly repetitionPenalty?: number;
  /** How many of the last tokens the penalty remembers. Default 64. */
  readonly repetitionWindow?: number;
  /** An integer from 0 to 2^53 - 1; the same seed and logits give the same tokens. Default 0. */
  readonly seed?: number;
}

/** A sampling option outside what it can mean. */
export class SamplingOptionError extends FidelityError {}

/** The logits cannot be a distribution: NaN, positive infinity, or nothing above negative infinity. */
export class LogitsError extends FidelityError {}

interface OptionRule {
  readonly fallback: number;
  readonly range: string;
  readonly accepts: (value: number) => boolean;
}

const largestWindow = 1 << 20;
const optionRules: Readonly<Record<keyof SamplerOptions, OptionRule>> = {
  temperature: { fallback: 1, range: "a number from 0 to 100", accepts: (value) => value >= 0 && value <= 100 },
  topK: { fallback: 0, range: "an integer, 0 for no limit", accepts: isSeed },
  topP: { fallback: 1, range: "a number above 0 and up to 1", accepts: (value) => value > 0 && value <= 1 },
  minP: { fallback: 0, range: "a number from 0 to 1", accepts: (value) => value >= 0 && value <= 1 },
  repetitionPenalty: {
    fallback: 1,
    range: "a number above 0 and up to 100, usually 1 to 1.5",
    accepts: (value) => value > 0 && value <= 100,
  },
  repetitionWindow: {
    fallback: 64,
    range: `an integer from 0 to ${largestWindow}`,
    accepts: (value) => isSeed(value) && value <= largestWindow,
  },
  seed: { fallback: 0, range: "an integer from 0 to 2^53 - 1", accepts: isSeed },
};

/** Fills in the defaults. Throws `SamplingOptionError` that names the first option with an impossible value. */
export function samplerOptions(options: SamplerOptions): Required<SamplerOptions> {
  const option = (name: keyof SamplerOptions): number => {
    const rule = optionRules[name];
    const value = options[name] ?? rule.fallback;
    if (rule.accepts(value)) return value;
    throw new SamplingOptionError(`${name} cannot be ${value}`, {
      where: `sampling option ${name}`,
      expected: rule.range,
      got: String(value),
      hint: `leave ${name} out for its default, ${rule.fallback}`,
    });
  };
  return {
    temperature: option("temperature"),
    topK: option("topK"),
    topP: option("topP"),
    minP: option("minP"),
    repetitionPenalty: option("repetitionPenalty"),
    repetitionWindow: option("repetitionWindow"),
    seed: option("seed"),
  };
}

/** Chooses tokens one after another; holds the window of recent tokens and the count of draws, nothing else. */
export class Sampler {
  readonly options: Required<SamplerOptions>;
  readonly vocabSize: number;
  readonly #random: RandomStream;
  readonly #scores: Float64Array; // [vocabSize]: penalised logits, then unnormalised probabilities
  readonly #heap: Int32Array; // [vocabSize]: the candidates not yet taken, likeliest first
  readonly #window: Int32Array; // [repetitionWindow]: a ring of the last tokens
  readonly #windowCounts: Int32Array; // [vocabSize]: how often each token stands in the ring
  #observedCount = 0;
  #drawCount = 0;

  /** Throws `SamplingOptionError` for an impossible option. */
  constructor(vocabSize: number, options: SamplerOptions = {}) {
    this.vocabSize = vocabSize;
    this.options = samplerOptions(options);
    this.#random = new RandomStream(this.options.seed, 0, randomPurpose.sampling);
    this.#scores = new Float64Array(vocabSize);
    this.#heap = new Int32Array(vocabSize);
    this.#window = new Int32Array(this.options.repetitionWindow);
    this.#windowCounts = new Int32Array(vocabSize);
  }

  /** Forgets the window and starts the draws again. */
  reset(): void {
    this.#observedCount = 0;
    this.#drawCount = 0;
    this.#windowCounts.fill(0);
  }

  /** Puts a token in the penalty's window. `sample` does so by itself; call it for the prompt's tokens. */
  observe(token: number): void {
    if (this.#window.length === 0) return;
    const slot = this.#observedCount % this.#window.length;
    if (this.#observedCount >= this.#window.length) this.#windowCounts[this.#window[slot]]--;
    this.#window[slot] = token;
    this.#windowCounts[token]++;
    this.#observedCount++;
  }

  /**
   * Chooses the next token from `logits` [vocabSize], which stays as it is. Throws `LogitsError` for NaN, for positive
   * infinity and when every token is masked with negative infinity.
   */
  sample(logits: Float32Array): number {
    const best = this.#penalise(logits);
    const token = this.options.temperature === 0 ? best : this.#draw(best);
    this.observe(token);
    return token;
  }

  /** Copies the logits to the scores with the penalty applied, and returns the lowest id of the highest score. */
  #penalise(logits: Float32Array): number {
    if (logits.length !== this.vocabSize) {
      throw new LogitsError("the logits do not match the vocabulary", {
        expected: `${this.vocabSize} logits`,
        got: `${logits.length} logits`,
        hint: "use the tokenizer that the model was trained with",
      });
    }
    const penalty = this.options.repetitionPenalty;
    let best = -1;
    let bestScore = -Infinity;
    for (let token = 0; token < logits.length; token++) {
      let score = logits[token];
      if (!(score < Infinity)) throw unusableLogits(`logit ${token} is ${score}`);
      if (penalty !== 1 && this.#windowCounts[token] > 0) score = score > 0 ? score / penalty : score * penalty;
      this.#scores[token] = score;
      if (score > bestScore) {
        best = token;
        bestScore = score;
      }
    }
    if (best < 0) throw unusableLogits("every logit is -Infinity");
    return best;
  }

  /** Turns scores into unnormalised probabilities, filters them and draws one token. */
  #draw(best: number): number {
    const { temperature, topK, topP, minP } = this.options;
    const scores = this.#scores;
    const bestScore = scores[best];
    let total = 0;
    for (let token = 0; token < scores.length; token++) {
      scores[token] = Math.exp((scores[token] - bestScore) / temperature); // the likeliest becomes 1
      total += scores[token];
    }
    this.#random.seek(this.#drawCount++);
    const uniform = this.#random.uniform();
    if ((topK === 0 || topK >= this.vocabSize) && topP === 1 && minP === 0) return this.#walkAll(uniform * total, best);
    const limit = topK === 0 ? this.vocabSize : Math.min(topK, this.vocabSize);
    return this.#walkLikeliest(uniform, limit, topP, total, minP);
  }

  /** The token in whose stretch of the line of probabilities `position` lies, in order of ids. */
  #walkAll(position: number, best: number): number {
    let end = 0;
    for (let token = 0; token < this.vocabSize; token++) {
      end += this.#scores[token];
      if (position < end) return token;
    }
    return best; // only rounding can bring us here
  }

  /** Takes candidates in falling order until a filter ends them, and draws among those taken. */
  #walkLikeliest(uniform: number, limit: number, topP: number, total: number, minP: number): number {
    const scores = this.#scores;
    // With top-k, top-p counts within the k that were kept, so it needs their sum first.
    let reach = total;
    if (limit < this.vocabSize && topP < 1) {
      reach = 0;
      this.#buildHeap();
      for (let taken = 0; taken < limit; taken++) reach += scores[this.#popHeap(this.vocabSize - taken)];
    }
    this.#buildHeap();
    let taken = 0;
    let sum = 0;
    while (taken < limit && (taken === 0 || (sum < topP * reach && scores[this.#heap[0]] >= minP))) {
      sum += scores[this.#popHeap(this.vocabSize - taken)];
      taken++;
    }
    // What was popped lies behind the heap, likeliest last.
    let end = 0;
    for (let rank = 0; rank < taken; rank++) {
      const token = this.#heap[this.vocabSize - 1 - rank];
      end += scores[token];
      if (uniform * sum < end) return token;
    }
    return this.#heap[this.vocabSize - 1];
  }

  #buildHeap(): void {
    for (let token = 0; token < this.vocabSize; token++) this.#heap[token] = token;
    for (let parent = (this.vocabSize >> 1) - 1; parent >= 0; parent--) this.#siftDown(parent, this.vocabSize);
  }

  /** Moves the likeliest of the first `size` candidates to position `size - 1` and returns it. */
  #popHeap(size: number): number {
    const top = this.#heap[0];
    this.#heap[0] = this.#heap[size - 1];
    this.#heap[size - 1] = top;
    this.#siftDown(0, size - 1);
    return top;
  }

  #siftDown(start: number, size: number): void {
    const heap = this.#heap;
    const moved = heap[start];
    let slot = start;
    for (let child = 2 * slot + 1; child < size; child = 2 * slot + 1) {
      if (child + 1 < size && this.#comesBefore(heap[child + 1], heap[child])) child++;
      if (!this.#comesBefore(heap[child], moved)) break;
      heap[slot] = heap[child];
      slot = child;
    }
    heap[slot] = moved;
  }

  /** Falling probability, and rising id among equals, so that the order never depends on the heap's history. */
  #comesBefore(a: number, b: number): boolean {
    return this.#scores[a] > this.#scores[b] || (this.#scores[a] === this.#scores[b] && a < b);
  }
}

function unusableLogits(got: string): LogitsError {
  return new LogitsError("the model gave logits that no token can be drawn from", {
    expected: "finite logits, or -Infinity for tokens that are masked",
    got,
    hint: "the weights are damaged or their training diverged; check the file with `fidelity show`",
  });
}

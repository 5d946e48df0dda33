// Penalties on tokens of the recent past. The repetition penalty divides positive logits and multiplies negative ones
// (Keskar and others, arXiv 1909.05858); presence and frequency penalties subtract, as OpenAI's interface defines them.

import type { Peaks } from "./peaks.ts";

export interface PenaltyOptions {
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly repetitionWindow: number;
}

/** The window of recent tokens, and what standing in it costs. */
export class Penalties {
  readonly #options: PenaltyOptions;
  readonly #window: Int32Array; // [repetitionWindow]: a ring of the last tokens
  readonly #counts: Int32Array; // [vocabSize]: how often each token stands in the ring
  #observedCount = 0;

  constructor(vocabSize: number, options: PenaltyOptions) {
    this.#options = options;
    this.#window = new Int32Array(options.repetitionWindow);
    this.#counts = new Int32Array(vocabSize);
  }

  /** Whether scores stay as they are, whatever was observed. */
  get areIdle(): boolean {
    const { repetitionPenalty, presencePenalty, frequencyPenalty } = this.#options;
    return repetitionPenalty === 1 && presencePenalty === 0 && frequencyPenalty === 0;
  }

  reset(): void {
    this.#observedCount = 0;
    this.#counts.fill(0);
  }

  observe(token: number): void {
    if (this.#window.length === 0) return;
    const slot = this.#observedCount % this.#window.length;
    if (this.#observedCount >= this.#window.length) this.#counts[this.#window[slot]]--;
    this.#window[slot] = token;
    this.#counts[token]++;
    this.#observedCount++;
  }

  /** Changes the scores of the tokens in the window, each once. */
  apply(peaks: Peaks): void {
    if (this.areIdle) return;
    const { scores } = peaks;
    const { repetitionPenalty, presencePenalty, frequencyPenalty } = this.#options;
    const length = Math.min(this.#observedCount, this.#window.length);
    for (let slot = 0; slot < length; slot++) {
      const token = this.#window[slot];
      const count = this.#counts[token];
      if (count < 0) continue; // was done at an earlier slot
      const score = scores[token];
      const scaled = score > 0 ? score / repetitionPenalty : score * repetitionPenalty;
      scores[token] = scaled - presencePenalty - count * frequencyPenalty;
      peaks.touch(token);
      this.#counts[token] = -count;
    }
    for (let slot = 0; slot < length; slot++) {
      const token = this.#window[slot];
      this.#counts[token] = Math.abs(this.#counts[token]);
    }
  }
}

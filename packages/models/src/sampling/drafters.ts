// Who guesses what comes next: the text itself, where it repeats itself (prompt lookup: Saxena 2023,
// github.com/apoorvumang/prompt-lookup-decoding; Yang and others, arXiv 2304.04487), or a smaller model of the same
// vocabulary.

import { randomPurpose } from "../random.ts";
import { Sampler } from "../sampling.ts";
import type { Session, SessionState } from "../session.ts";
import type { SamplerOptions } from "./options.ts";
import type { Draft, Drafter } from "./speculative.ts";

/** The last tokens of a text are looked up, so many of them, or fewer where that many did not come before. */
const LOOKUP_TOKENS = [4, 3, 2] as const;
/** How far back the text is searched. */
const LOOKUP_REACH = 1 << 14;

/** Guesses that what followed the last tokens before follows them again. */
export const lookupDrafter: Drafter = {
  async draft(text, count) {
    const first = Math.max(0, text.length - LOOKUP_REACH);
    for (const length of LOOKUP_TOKENS) {
      for (let start = text.length - length - 1; start >= first; start--) {
        if (isRepeated(text, start, length)) return { tokens: text.slice(start + length, start + length + count) };
      }
    }
    return { tokens: [] };
  },
};

/** Whether the last `length` tokens stand at `start` as well. */
function isRepeated(text: readonly number[], start: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (text[start + i] !== text[text.length - length + i]) return false;
  return true;
}

/** Guesses what a model writes. The session is the drafter's while it is used, and stays the caller's. */
export class ModelDrafter implements Drafter {
  readonly #session: Session;
  readonly #sampler: Sampler;
  readonly #probabilities: Float64Array[] = [];
  /** What the session has read, and how it was when it had read nothing but the text. */
  #read: number[] = [];
  #certain: SessionState | undefined;

  /**
   * @param session at the start of a sequence, of a model with the vocabulary of the one that is guessed for
   * @param options how that one chooses; its penalties and mirostat are left out of guesses
   */
  constructor(session: Session, options: SamplerOptions) {
    const { temperature, topK, typicalP, topP, minP, logitBias, seed } = options;
    const own = { temperature, topK, typicalP, topP, minP, logitBias, seed };
    this.#session = session;
    // Draws of its own: those of the text must know nothing of the guess.
    this.#sampler = new Sampler(session.model.vocabSize, own, randomPurpose.drafting);
  }

  async draft(text: readonly number[], count: number): Promise<Draft> {
    const session = this.#session;
    const room = Math.min(count, session.limit - text.length + 1);
    if (room < 1) return { tokens: [] };
    this.#goBack(text);
    let logits = await session.prefill(text.slice(this.#read.length));
    this.#read = [...text];
    if (!session.canRewind) this.#certain = session.save(this.#certain);
    const isDrawn = this.#sampler.options.temperature !== 0;
    const tokens: number[] = [];
    while (tokens.length < room) {
      const token = this.#sampler.sample(logits, undefined, session.peaks);
      if (isDrawn) this.#sampler.probabilities((this.#probabilities[tokens.length] ??= this.#row()));
      tokens.push(token);
      if (tokens.length === room) break;
      logits = session.step(token);
      this.#read.push(token);
    }
    return isDrawn ? { tokens, probabilities: this.#probabilities.slice(0, tokens.length) } : { tokens };
  }

  #row(): Float64Array {
    return new Float64Array(this.#session.model.vocabSize);
  }

  /** Forgets what it guessed wrong. The last token of the text is read in any case. */
  #goBack(text: readonly number[]): void {
    const session = this.#session;
    const most = Math.min(this.#read.length, text.length - 1);
    let common = 0;
    while (common < most && this.#read[common] === text[common]) common++;
    if (common === this.#read.length) return;
    if (session.canRewind) session.rewind(common);
    else if (this.#certain !== undefined && this.#certain.position <= common) {
      session.restore(this.#certain);
      common = this.#certain.position;
    } else {
      session.reset();
      common = 0;
    }
    this.#read.length = common;
  }
}

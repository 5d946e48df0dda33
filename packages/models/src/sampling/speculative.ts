// Speculative decoding: a cheap guess of the next tokens, all of which the model then reads at once, which takes little
// longer than reading one where weights are what must be moved. The text has the distribution of the model, whatever is
// guessed. A guess for certain is compared with what the sampler chooses, so that not even the draws change; a guess
// that was drawn from probabilities is kept as often as those of the model allow, and replaced from what is left of
// them otherwise (Leviathan and others, arXiv 2211.17192, algorithm 1; Chen and others, arXiv 2302.01318, algorithm 2).
//
// What was read of a wrong guess is forgotten: a cache is cut back, a recurrent state restored, and what was right of
// the guess read again. Leaves out: trees of guesses, and states kept after each token.

import type { Sampler } from "../sampling.ts";
import type { GenerateOptions } from "../generate-tokens.ts";
import type { Session, SessionState } from "../session.ts";

/** Tokens that may come next. */
export interface Draft {
  readonly tokens: readonly number[];
  /** What each was drawn from, [vocabSize] each; absent where it was no draw. */
  readonly probabilities?: readonly Float64Array[];
}

/** Guesses what comes next. */
export interface Drafter {
  /** A guess of at most `count` tokens behind `text`, which is the prompt and what was generated. */
  draft(text: readonly number[], count: number): Promise<Draft>;
}

/** How often guesses were right. */
export interface SpeculationCount {
  /** Times that a guess was read. */
  rounds: number;
  draftedTokens: number;
  acceptedTokens: number;
}

export interface SpeculateOptions extends Omit<GenerateOptions, "sampler"> {
  readonly sampler: Pick<Sampler, "observe" | "sample" | "verify">;
  readonly drafter: Drafter;
  /** The text that the session has read before the prompt, for the drafter. */
  readonly before?: readonly number[];
  /** The longest guess: 1, 3, 7 or 15 tokens, so that few programs are compiled. Default 7. */
  readonly draftTokens?: number;
  /** Is counted on. */
  readonly count?: SpeculationCount;
}

/** After a guess of which nothing was right so many tokens come without one, twice as many after the next such. */
const REST_MAX = 32;
/** Guesses are read with the token before them in programs of 2, 4, 8 and 16 tokens. */
const LENGTHS = [1, 3, 7, 15] as const;

/** The longest guess of at most so many tokens; 0 for none. */
function fitting(count: number): number {
  return LENGTHS.findLast((length) => length <= count) ?? 0;
}

/**
 * Generates as `Session.generate` does, with guesses of a drafter. A guess becomes longer when all of it was right, and
 * shorter otherwise; where nothing was right there is none for a while. Left early, the session may have read more than
 * was given out: see its position. Throws as `Session.generate` and the drafter do.
 */
export async function* speculate(
  session: Session,
  prompt: ArrayLike<number>,
  options: SpeculateOptions,
): AsyncGenerator<number, void, undefined> {
  const { sampler, maxTokens, constraint, drafter, before = [], draftTokens = 7 } = options;
  const mask = constraint === undefined ? undefined : new Uint32Array((session.model.vocabSize + 31) >>> 5);
  const reader = new DraftReader(session);
  const text = [...before, ...Array.from(prompt)];
  let left = maxTokens;
  let length = fitting(draftTokens);
  let [rest, resting] = [1, 0];
  // The token that comes next by the logits; undefined where the text ends.
  const choose = (logits: Float32Array, guess?: number, probabilities?: Float64Array): number | undefined => {
    if (left === 0 || constraint?.isFinished === true) return undefined;
    if (mask !== undefined) constraint?.allowed(mask);
    const token =
      guess === undefined || probabilities === undefined
        ? sampler.sample(logits, mask)
        : sampler.verify(logits, guess, probabilities, mask);
    constraint?.accept(token);
    if (options.stop?.(token) === true) return undefined;
    left--;
    text.push(token);
    return token;
  };
  const logits = await session.prefill(prompt);
  for (let i = 0; i < prompt.length; i++) sampler.observe(prompt[i]);
  let token = choose(logits);
  while (token !== undefined) {
    yield token;
    if (left === 0) return;
    // One more token than the guess has is chosen in a round, and all but that one must fit.
    const room = resting > 0 ? 0 : fitting(Math.min(length, left - 1, session.limit - session.position - 1));
    resting = Math.max(0, resting - 1);
    const draft = room === 0 ? NOTHING : await drafter.draft(text, room);
    const guess = draft.tokens.slice(0, fitting(draft.tokens.length));
    const rows = await reader.read(token, guess);
    const chosen: number[] = [];
    let accepted = 0;
    for (;;) {
      token = choose(rows(accepted), guess[accepted], draft.probabilities?.[accepted]);
      if (token === undefined) break;
      if (token !== guess[accepted]) break;
      chosen.push(token);
      accepted++;
    }
    await reader.keep(accepted);
    if (guess.length > 0) {
      count(options.count, guess.length, accepted);
      rest = accepted > 0 ? 1 : Math.min(REST_MAX, 2 * rest);
      if (accepted === 0) resting = rest;
      length = fitting(accepted === guess.length ? Math.min(draftTokens, 2 * length + 1) : Math.max(1, length >> 1));
    }
    yield* chosen;
  }
}

const NOTHING: Draft = { tokens: [] };

function count(total: SpeculationCount | undefined, drafted: number, accepted: number): void {
  if (total === undefined) return;
  total.rounds++;
  total.draftedTokens += drafted;
  total.acceptedTokens += accepted;
}

/** Reads guesses, and takes back what was wrong of them. */
class DraftReader {
  readonly #session: Session;
  #saved: SessionState | undefined;
  #read: readonly number[] = [];
  #start = 0;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Reads a token and a guess; gives the logits [vocabSize] after the token and each of the guess. */
  async read(token: number, guess: readonly number[]): Promise<(index: number) => Float32Array> {
    const session = this.#session;
    const { vocabSize } = session.model;
    this.#start = session.position;
    this.#read = [token, ...guess];
    if (guess.length > 0 && !session.canRewind) this.#saved = session.save(this.#saved);
    const logits = await session.read(this.#read);
    return (index) => logits.subarray(index * vocabSize, (index + 1) * vocabSize);
  }

  /** Keeps the token and so many of the guess. */
  async keep(count: number): Promise<void> {
    const session = this.#session;
    if (count + 1 === this.#read.length) return;
    if (session.canRewind) {
      session.rewind(this.#start + 1 + count);
      return;
    }
    session.restore(this.#saved!);
    let read = 0;
    for (const length of [8, 4, 2, 1]) {
      for (; count + 1 - read >= length; read += length) await session.read(this.#read.slice(read, read + length));
    }
  }
}

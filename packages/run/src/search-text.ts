// Beam search over texts: the likeliest that several beams find, best first. Nothing is known before it ends.

import { beamSearch } from "@fidelity/models";
import type { Constraint, Session, Tokenizer } from "@fidelity/models";
import type { ConstraintSource, EndedBy } from "./generation-types.ts";
import type { Pause } from "./pause.ts";

export interface SearchTextOptions {
  /** How many texts are followed at once. Default 4. */
  readonly beams?: number;
  /** The most tokens of a text. Default 256. */
  readonly maxTokens?: number;
  /** What the texts must be. */
  readonly constraint?: ConstraintSource;
  /** Ends the search with what it has found. */
  readonly signal?: AbortSignal;
}

/** A text that was found. */
export interface BeamText {
  readonly text: string;
  readonly tokens: number;
  /** The natural logarithm of its probability. */
  readonly logprob: number;
  /** Its log-probability over its length. */
  readonly score: number;
  /** Whether it came to an end of its own. */
  readonly isEnded: boolean;
}

export interface SearchResult {
  /** Best first. */
  readonly texts: readonly BeamText[];
  /** Why the best one ended. */
  readonly endedBy: EndedBy;
  readonly seconds: number;
}

/** A search with all that it needs. */
export interface SearchRequest extends Omit<SearchTextOptions, "constraint"> {
  readonly prompt: ArrayLike<number>;
  readonly maxTokens: number;
  readonly constraint: Constraint | undefined;
  readonly pause: Pause;
}

/** Searches for texts that go on from the prompt. Throws what `beamSearch` throws. */
export async function searchTexts(
  session: Session,
  tokenizer: Tokenizer,
  { prompt, beams = 4, maxTokens, constraint, signal, pause }: SearchRequest,
): Promise<SearchResult> {
  const started = performance.now();
  const limit = Math.min(maxTokens, session.limit - prompt.length + 1);
  const found = await beamSearch(session, prompt, {
    count: beams,
    maxTokens: limit,
    stop: (token) => tokenizer.stopTokens.includes(token),
    constraint,
    onStep: async () => {
      await pause.turn();
      return signal?.aborted !== true;
    },
  });
  const texts = found.map(({ tokens, logprob, score, isEnded }): BeamText => {
    const stream = tokenizer.stream();
    for (let i = 0; i < prompt.length; i++) stream.push(prompt[i]);
    const text = tokens.map((token) => stream.push(token)).join("") + stream.end();
    return { text, tokens: tokens.length, logprob, score, isEnded };
  });
  const ofItself = constraint === undefined ? "stop-token" : "complete";
  const byLimit = limit === maxTokens ? "tokens" : "context";
  const endedBy = signal?.aborted === true ? "interrupt" : texts[0].isEnded ? ofItself : byLimit;
  return { texts, endedBy, seconds: (performance.now() - started) / 1000 };
}

// Beam search for `generate`: the likeliest texts that several beams find, best first. Nothing is shown before it ends.

import { setImmediate } from "node:timers/promises";
import { beamSearch } from "@fidelity/models";
import type { Constraint, Session, Tokenizer } from "@fidelity/models";

export interface SearchRequest {
  readonly prompt: Int32Array;
  readonly beams: number;
  readonly maxTokens: number;
  readonly constraint: Constraint | undefined;
  readonly signal: AbortSignal;
}

/** A text that was found. */
export interface BeamText {
  readonly text: string;
  readonly tokens: number;
  readonly logprob: number;
  readonly score: number;
  readonly isEnded: boolean;
}

/** Searches for texts that go on from the prompt. Throws what `beamSearch` throws. */
export async function searchTexts(
  session: Session,
  tokenizer: Tokenizer,
  { prompt, beams, maxTokens, constraint, signal }: SearchRequest,
): Promise<BeamText[]> {
  const found = await beamSearch(session, prompt, {
    count: beams,
    maxTokens,
    stop: (token) => tokenizer.stopTokens.includes(token),
    constraint,
    onStep: async () => {
      await setImmediate();
      return !signal.aborted;
    },
  });
  return found.map(({ tokens, logprob, score, isEnded }) => {
    const stream = tokenizer.stream();
    for (const token of prompt) stream.push(token);
    const text = tokens.map((token) => stream.push(token)).join("") + stream.end();
    return { text, tokens: tokens.length, logprob, score, isEnded };
  });
}

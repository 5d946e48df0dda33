// Several texts from one prompt, and the best of them: beam search (Graves, arXiv 1211.3711, section 2.1; lengths as
// Wu and others, arXiv 1609.08144, leave them to an exponent), and the likeliest of several samples. Both read the
// prompt once and go on from its saved state.

import { FidelityError } from "@fidelity/units";
import type { Constraint } from "../constraints/index.ts";
import type { Sampler } from "../sampling.ts";
import type { Session, SessionState } from "../session.ts";
import { logprobOf, topLogprobs } from "./logprobs.ts";
import type { TokenLogprob } from "./logprobs.ts";

/** The part of a session that searches use. */
export type SearchSession = Pick<Session, "prefill" | "step" | "save" | "restore" | "model">;

export interface SearchOptions {
  /** How many texts: those that are followed at once, or that are sampled. */
  readonly count: number;
  /** The most tokens of a text. */
  readonly maxTokens: number;
  /** Ends a text at a token for which it is true; that token is not part of it. */
  readonly stop?: (token: number) => boolean;
  /** A score is the log-probability over the number of tokens to this power. Default 1, the mean. */
  readonly lengthPenalty?: number;
  readonly constraint?: Constraint;
  /** Awaited after every step, for timers and signals; false ends the search with what there is. */
  readonly onStep?: () => Promise<boolean>;
}

export interface FoundText {
  readonly tokens: readonly number[];
  /** The natural logarithm of the text's probability, with the token that ends it. */
  readonly logprob: number;
  readonly score: number;
  /** Whether it came to an end of its own. */
  readonly isEnded: boolean;
}

/** A number of texts that cannot be searched for. */
export class SearchOptionError extends FidelityError {}

const COUNT_MAX = 64;

interface Beam {
  readonly tokens: readonly number[];
  readonly logprob: number;
  readonly state: SessionState;
  readonly constraint: Constraint | undefined;
  /** What may come next, likeliest first. */
  readonly next: readonly TokenLogprob[];
}

/**
 * The likeliest texts that a beam of `count` finds, best score first. Each token costs a restored state and a step for
 * every text that is followed. Throws `SearchOptionError`, and what `prefill`, `step` and a constraint throw.
 */
export async function beamSearch(
  session: SearchSession,
  prompt: ArrayLike<number>,
  options: SearchOptions,
): Promise<FoundText[]> {
  const { count, maxTokens, stop = () => false, lengthPenalty = 1, constraint, onStep } = options;
  requireCount(count);
  const mask = constraint === undefined ? undefined : new Uint32Array((session.model.vocabSize + 31) >>> 5);
  const ended: FoundText[] = [];
  const free: SessionState[] = [];
  const found = (tokens: readonly number[], logprob: number, isEnded: boolean): FoundText => {
    // The token that ends a text counts, so that an empty text has a length, too.
    return { tokens, logprob, score: logprob / (tokens.length + 1) ** lengthPenalty, isEnded };
  };
  const begin = (
    tokens: readonly number[],
    logprob: number,
    at: Constraint | undefined,
    logits: Float32Array,
  ): Beam => {
    if (mask !== undefined) at?.allowed(mask);
    // One more for every token that may end the text, which takes no place in the beam.
    const next = topLogprobs(logits, 2 * count, mask).filter((candidate) => candidate.logprob > -Infinity);
    return { tokens, logprob, state: session.save(free.pop()), constraint: at, next };
  };
  let goesOn = true;
  let beams = [begin([], 0, constraint?.clone(), await session.prefill(prompt))];
  for (let length = 0; length < maxTokens && beams.length > 0 && goesOn; length++) {
    const choices = beams.flatMap((beam) =>
      beam.next.map(({ token, logprob }) => ({ beam, token, logprob: beam.logprob + logprob })),
    );
    choices.sort((a, b) => b.logprob - a.logprob);
    const following: Beam[] = [];
    for (const { beam, token, logprob } of choices) {
      if (following.length === count || !goesOn) break;
      if (stop(token)) {
        ended.push(found(beam.tokens, logprob, true));
        continue;
      }
      const tokens = [...beam.tokens, token];
      const at = beam.constraint?.clone();
      at?.accept(token);
      if (at?.isFinished === true) {
        ended.push(found(tokens, logprob, true));
        continue;
      }
      session.restore(beam.state);
      if (length + 1 === maxTokens) following.push({ ...beam, tokens, logprob });
      else following.push(begin(tokens, logprob, at, session.step(token)));
      goesOn = (await onStep?.()) ?? true;
    }
    if (length + 1 < maxTokens) for (const { state } of beams) free.push(state);
    beams = following;
    if (ended.length >= count && isSettled(ended, count, beams, lengthPenalty)) break;
  }
  const texts = [...ended, ...beams.map(({ tokens, logprob }) => found(tokens, logprob, false))];
  return texts.sort((a, b) => b.score - a.score).slice(0, count);
}

/** Whether no text that is followed can still be among the best: as likely as now, it would have to end at once. */
function isSettled(ended: readonly FoundText[], count: number, beams: readonly Beam[], lengthPenalty: number): boolean {
  const worst = ended.map(({ score }) => score).sort((a, b) => b - a)[count - 1];
  return beams.every(({ tokens, logprob }) => logprob / (tokens.length + 1) ** lengthPenalty <= worst);
}

/**
 * `count` sampled texts, best score first. `samplerOf` makes the sampler of each, with a seed of its own. Throws as
 * `beamSearch` does.
 */
export async function bestOf(
  session: SearchSession,
  prompt: ArrayLike<number>,
  samplerOf: (index: number) => Pick<Sampler, "observe" | "sample">,
  options: SearchOptions,
): Promise<FoundText[]> {
  const { count, maxTokens, stop = () => false, lengthPenalty = 1, constraint, onStep } = options;
  requireCount(count);
  const mask = constraint === undefined ? undefined : new Uint32Array((session.model.vocabSize + 31) >>> 5);
  const first = (await session.prefill(prompt)).slice();
  const state = session.save();
  const texts: FoundText[] = [];
  let goesOn = true;
  for (let index = 0; index < count && goesOn; index++) {
    const sampler = samplerOf(index);
    const at = constraint?.clone();
    for (let position = 0; position < prompt.length; position++) sampler.observe(prompt[position]);
    session.restore(state);
    const tokens: number[] = [];
    let logits: Float32Array = first;
    let [logprob, isEnded] = [0, false];
    while (tokens.length < maxTokens && !isEnded && goesOn) {
      if (mask !== undefined) at?.allowed(mask);
      const token = sampler.sample(logits, mask);
      logprob += logprobOf(logits, token);
      at?.accept(token);
      isEnded = stop(token);
      if (isEnded) break;
      tokens.push(token);
      isEnded = at?.isFinished === true;
      if (!isEnded && tokens.length < maxTokens) logits = session.step(token);
      goesOn = (await onStep?.()) ?? true;
    }
    texts.push({ tokens, logprob, score: logprob / (tokens.length + 1) ** lengthPenalty, isEnded });
  }
  return texts.sort((a, b) => b.score - a.score);
}

function requireCount(count: number): void {
  if (Number.isInteger(count) && count >= 1 && count <= COUNT_MAX) return;
  throw new SearchOptionError("that many texts cannot be searched for", {
    expected: `a whole number from 1 to ${COUNT_MAX}`,
    got: String(count),
  });
}

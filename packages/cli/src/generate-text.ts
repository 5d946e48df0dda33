// The loop that `generate` and `quickstart` share: a prompt goes in, text comes out piece by piece, until enough
// tokens, a stop, the end of the context, or Ctrl-C.

import { setImmediate } from "node:timers/promises";
import { createConstraint, logprobOf, openSession, Sampler, TokenVocabulary, topLogprobs } from "@fidelity/models";
import type { Constraint, Grammar, Model, SamplerOptions, Session, Tokenizer } from "@fidelity/models";
import type { LoadedModel } from "./open-model.ts";
import { searchTexts } from "./search-text.ts";
import type { BeamText } from "./search-text.ts";
import { beginText, StopFilter } from "./text-stream.ts";

export interface GenerateRequest {
  readonly prompt: string;
  readonly maxTokens: number;
  readonly sampling: SamplerOptions;
  readonly stops: readonly string[];
  readonly signal: AbortSignal;
  /** What the text must be; it is shown without the prompt, then. */
  readonly grammar?: Grammar;
  /** How many of the likeliest tokens to report for each token, besides its own log-probability. */
  readonly logprobs?: number;
  /** Search with so many beams instead of sampling. */
  readonly beams?: number;
  /** Called with each piece of text as it comes, the prompt first. */
  readonly onText: (piece: string) => void;
}

/** A token with the natural logarithm of its probability, before penalties and filters. */
export interface ReportedToken {
  readonly token: number;
  readonly text: string;
  readonly logprob: number;
}

export interface Generation {
  readonly text: string;
  readonly tokens: number;
  /** From the first token that was generated to the last. */
  readonly seconds: number;
  readonly endedBy: "tokens" | "stop-string" | "stop-token" | "complete" | "context" | "interrupt";
  /** Whether the text is all that its grammar asks for. */
  readonly isComplete?: boolean;
  readonly logprobs?: readonly (ReportedToken & { readonly top: readonly ReportedToken[] })[];
  /** All texts that a beam search found, best first; the first is `text`. */
  readonly beams?: readonly BeamText[];
}

/**
 * Generates text. Throws `SamplingOptionError`, `LogitsError`, `ContextLimitError` for too long a prompt, and
 * `GrammarError`.
 */
export async function generateText(loaded: Omit<LoadedModel, "info">, request: GenerateRequest): Promise<Generation> {
  const { model, tokenizer, parameters, device } = loaded;
  const sampler = new Sampler(model.vocabSize, request.sampling);
  const beginning = beginText(tokenizer, request.prompt);
  const { grammar } = request;
  const constraint = grammar === undefined ? undefined : createConstraint(grammar, new TokenVocabulary(tokenizer));
  const capacity = capacityFor(model, beginning.tokens.length + request.maxTokens);
  const session = await openSession(model, parameters, device, { capacity });
  try {
    if (constraint === undefined) request.onText(beginning.text);
    if (request.beams !== undefined) return await search(session, beginning.tokens, tokenizer, constraint, request);
    if (request.logprobs === undefined) return await run(session, sampler, constraint, beginning, tokenizer, request);
    const reporter = new Reporter(sampler, tokenizer, request.logprobs);
    const generation = await run(session, reporter, constraint, beginning, tokenizer, request);
    return { ...generation, logprobs: reporter.reports.slice(0, generation.tokens) };
  } finally {
    session.close();
  }
}

/** Smaller states would save next to nothing. */
const CAPACITY_MIN = 512;

/** Room for `tokens`, in steps of powers of two, so that texts of similar lengths share their programs. */
function capacityFor({ contextLimit }: Model, tokens: number): number | undefined {
  if (contextLimit === null) return undefined;
  return Math.min(contextLimit, 2 ** Math.ceil(Math.log2(Math.max(CAPACITY_MIN, tokens))));
}

/** The capacities of sessions for texts of up to `tokensMax`: what `fidelity build` makes code for. */
export function capacitiesUpTo(model: Model, tokensMax: number): ReadonlySet<number | undefined> {
  const capacities = new Set<number | undefined>();
  for (let tokens = CAPACITY_MIN; tokens <= tokensMax; tokens *= 2) capacities.add(capacityFor(model, tokens));
  return capacities;
}

/** A sampler that takes note of what it was given to choose from. */
class Reporter {
  readonly reports: (ReportedToken & { readonly top: readonly ReportedToken[] })[] = [];
  readonly #sampler: Sampler;
  readonly #tokenizer: Tokenizer;
  readonly #count: number;

  constructor(sampler: Sampler, tokenizer: Tokenizer, count: number) {
    this.#sampler = sampler;
    this.#tokenizer = tokenizer;
    this.#count = count;
  }

  observe(token: number): void {
    this.#sampler.observe(token);
  }

  sample(logits: Float32Array, allowed?: Uint32Array): number {
    const token = this.#sampler.sample(logits, allowed);
    const top = topLogprobs(logits, this.#count).map((likely) => this.#report(likely.token, likely.logprob));
    this.reports.push({ ...this.#report(token, logprobOf(logits, token)), top });
    return token;
  }

  #report(token: number, logprob: number): ReportedToken {
    const bytes = this.#tokenizer.tokenBytes(token);
    const text = bytes.length === 0 ? this.#tokenizer.tokenText(token) : new TextDecoder().decode(bytes);
    return { token, text, logprob };
  }
}

async function search(
  session: Session,
  prompt: Int32Array,
  tokenizer: Tokenizer,
  constraint: Constraint | undefined,
  { beams = 1, maxTokens, signal, onText }: GenerateRequest,
): Promise<Generation> {
  const limit = Math.min(maxTokens, Math.max(0, session.limit - prompt.length) + 1);
  const started = performance.now();
  const texts = await searchTexts(session, tokenizer, { prompt, beams, maxTokens: limit, constraint, signal });
  const seconds = (performance.now() - started) / 1000;
  const [{ text, tokens, isEnded }] = texts;
  onText(text);
  const ofItself = constraint === undefined ? "stop-token" : "complete";
  const byLimit = limit === maxTokens ? "tokens" : "context";
  const endedBy = signal.aborted ? "interrupt" : isEnded ? ofItself : byLimit;
  return { text, tokens, seconds, endedBy, ...(constraint !== undefined && { isComplete: isEnded }), beams: texts };
}

async function run(
  session: Session,
  sampler: Pick<Sampler, "observe" | "sample">,
  constraint: Constraint | undefined,
  { tokens: prompt, stream }: ReturnType<typeof beginText>,
  { stopTokens }: Tokenizer,
  { maxTokens, stops, signal, onText }: GenerateRequest,
): Promise<Generation> {
  const filter = new StopFilter(stops);
  // The last token is given out and never read, so the context holds all others and one more fits.
  const room = Math.max(0, session.limit - prompt.length) + 1;
  const limit = Math.min(maxTokens, room);
  let endedBy: Generation["endedBy"] = limit === maxTokens ? "tokens" : "context";
  let text = "";
  let tokens = 0;
  const show = (piece: string): void => {
    text += piece;
    if (piece !== "") onText(piece);
  };
  const stop = (token: number): boolean => {
    const isStop = stopTokens.includes(token);
    if (isStop) endedBy = "stop-token";
    return isStop;
  };
  let started = performance.now();
  for await (const token of session.generate(prompt, { sampler, maxTokens: limit, stop, constraint })) {
    if (tokens === 0) started = performance.now(); // what came before was the prompt
    tokens++;
    show(filter.push(stream.push(token)));
    if (filter.found !== undefined) {
      endedBy = "stop-string";
      break;
    }
    await setImmediate(); // signals are heard, and the text is written, between tokens
    if (signal.aborted) {
      endedBy = "interrupt";
      break;
    }
  }
  const seconds = (performance.now() - started) / 1000;
  show(filter.push(stream.end()) + filter.end());
  if (constraint === undefined) return { text, tokens, seconds, endedBy };
  if (constraint.isFinished && endedBy !== "stop-string") endedBy = "complete";
  return { text, tokens, seconds, endedBy, isComplete: constraint.isComplete };
}

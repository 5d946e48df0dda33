// One generation: a prompt is read, and text comes piece by piece. The pieces are asked for by a loop, and nothing is
// computed that nobody asks for; leaving the loop, an abort and an error give the session back at once.

import { ContextLimitError, logprobOf, lookupDrafter, Sampler, speculate, topLogprobs } from "@fidelity/models";
import type { Constraint, Drafter, Model, Session, SpeculationCount, Tokenizer } from "@fidelity/models";
import type {
  EndedBy,
  GenerateOptions,
  GenerationResult,
  ReportedToken,
  Timings,
  TokenReport,
  Usage,
} from "./generation-types.ts";
import { Pause } from "./pause.ts";
import type { Lane, SessionPool } from "./session-pool.ts";
import { StopFilter } from "./text-stream.ts";

/** What a generation starts with. */
export interface Prompt {
  readonly tokens: ArrayLike<number>;
  /** What ends the text besides the options' stop strings and the tokenizer's tokens. */
  readonly stop?: readonly string[];
  readonly stopTokens?: readonly number[];
}

/** What a generation needs of the model that it belongs to. */
export interface GenerationHome {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly pool: SessionPool;
  readonly loadSeconds: number;
  /** The constraint of the options, at its start. */
  constraint(options: GenerateOptions): Constraint | undefined;
  /** The drafter of the options' draft model, with a session until it is disposed. */
  drafter(options: GenerateOptions, tokens: number): Promise<HeldDrafter>;
}

/** A drafter that holds something. */
export interface HeldDrafter extends Disposable {
  readonly drafter: Drafter;
}

/** The most tokens of a text, unless said. */
export const MAX_TOKENS = 256;
/** What chooses tokens. */
type Chooser = Pick<Sampler, "observe" | "sample" | "verify">;

/** Tokens that are read between two looks at the signal: whole chunks of a session, and the token that ends them. */
const PART_TOKENS = 256;

/** A text in the making. Made by `LanguageModel.generate`; read it with `for await`, once, or take its `result`. */
export class Generation implements AsyncIterable<string> {
  readonly #home: GenerationHome;
  readonly #prompt: Prompt;
  readonly #options: GenerateOptions;
  readonly #onEnd: (generation: Generation) => void;
  readonly #sampler: Sampler;
  readonly #constraint: Constraint | undefined;
  readonly #filter: StopFilter;
  readonly #pieces: AsyncGenerator<string, void, undefined>;
  readonly #clock = new Clock();
  readonly #tokens: number[] = [];
  readonly #reports: TokenReport[] = [];
  #text = "";
  #rawText = "";
  #endedBy: EndedBy = "interrupt";
  readonly #guesses: SpeculationCount = { rounds: 0, draftedTokens: 0, acceptedTokens: 0 };
  #cachedTokens = 0;

  /** Throws for options that cannot be; nothing is held before the first piece is asked for. */
  constructor(
    home: GenerationHome,
    prompt: Prompt,
    options: GenerateOptions,
    onEnd: (generation: Generation) => void = () => undefined,
  ) {
    this.#home = home;
    this.#prompt = prompt;
    this.#options = options;
    this.#onEnd = onEnd;
    this.#sampler = new Sampler(home.model.vocabSize, options);
    this.#constraint = home.constraint(options);
    this.#filter = new StopFilter([...(options.stop ?? []), ...(prompt.stop ?? [])]);
    this.#pieces = this.#run();
  }

  /** The text so far. */
  get text(): string {
    return this.#text;
  }

  /** The same with what a stop string cut off. */
  get rawText(): string {
    return this.#rawText;
  }

  /** The tokens so far. */
  get tokens(): readonly number[] {
    return this.#tokens;
  }

  /** The prompt as the tokens spell it. */
  get promptText(): string {
    const { tokens } = this.#prompt;
    const stream = this.#home.tokenizer.stream();
    let text = "";
    for (let i = 0; i < tokens.length; i++) text += stream.push(tokens[i]);
    return text;
  }

  [Symbol.asyncIterator](): AsyncIterator<string, void, undefined> {
    return this.#pieces;
  }

  /**
   * Generates what is left, and tells what came of it: text, reason, tokens, timings. After a loop that was left, it
   * tells how far that came.
   */
  async result(): Promise<GenerationResult> {
    for await (const _ of this.#pieces);
    const constraint = this.#constraint;
    return {
      text: this.#text,
      tokens: this.#tokens,
      endedBy: this.#endedBy,
      ...(constraint !== undefined && { isComplete: constraint.isComplete }),
      usage: this.#usage(),
      timings: this.#timings(),
      ...(this.#options.logprobs !== undefined && { logprobs: this.#reports.slice(0, this.#tokens.length) }),
    };
  }

  #timings(): Timings {
    const timings = this.#clock.timings(this.#home.loadSeconds, this.#usage());
    if (this.#options.speculation === undefined) return timings;
    const { draftedTokens, acceptedTokens } = this.#guesses;
    const acceptanceRate = draftedTokens === 0 ? 0 : acceptedTokens / draftedTokens;
    return { ...timings, speculation: { draftedTokens, acceptedTokens, acceptanceRate } };
  }

  get #isAborted(): boolean {
    return this.#options.signal?.aborted === true;
  }

  #usage(): Usage {
    const promptTokens = this.#prompt.tokens.length;
    return { promptTokens, cachedTokens: this.#cachedTokens, completionTokens: this.#tokens.length };
  }

  async *#run(): AsyncGenerator<string, void, undefined> {
    const { pool, model } = this.#home;
    const { tokens } = this.#prompt;
    const { maxTokens = MAX_TOKENS } = this.#options;
    this.#clock.start();
    requireRoom(model, tokens.length, pool.limit);
    const lane = await pool.take(tokens, tokens.length + maxTokens);
    const { session } = lane;
    this.#cachedTokens = lane.cachedTokens;
    let isWhole = true;
    try {
      yield* this.#write(lane, maxTokens);
    } catch (error) {
      isWhole = false;
      throw error;
    } finally {
      this.#clock.compileSeconds = lane.compiler.seconds - lane.compileSeconds;
      pool.release(lane, isWhole ? this.#known(session) : undefined);
      if (isWhole) this.#onEnd(this);
    }
  }

  /** What a session has read: a beginning of what was asked and answered, the last token mostly was not. */
  #known(session: Session): number[] {
    const all = [...Array.from(this.#prompt.tokens), ...this.#tokens];
    if (session.position > all.length) {
      // Guesses that were right and that nobody took.
      if (session.canRewind) session.rewind(all.length);
      else session.reset();
    }
    return all.slice(0, session.position);
  }

  /** The tokens that follow, by the session alone or with guesses. */
  async *#follow(
    session: Session,
    rest: readonly number[],
    options: Parameters<Session["generate"]>[1] & { readonly sampler: Chooser },
  ): AsyncGenerator<number, void, undefined> {
    const { speculation } = this.#options;
    if (speculation === undefined) return yield* session.generate(rest, options);
    const before = Array.from(this.#prompt.tokens).slice(0, session.position);
    const { draftModel, draftTokens } = speculation;
    const wanted = { ...options, before, draftTokens, count: this.#guesses };
    if (draftModel === undefined) return yield* speculate(session, rest, { ...wanted, drafter: lookupDrafter });
    using held = await this.#home.drafter(this.#options, this.#prompt.tokens.length + options.maxTokens);
    return yield* speculate(session, rest, { ...wanted, drafter: held.drafter });
  }

  async *#write(lane: Lane, maxTokens: number): AsyncGenerator<string, void, undefined> {
    const { pool, tokenizer } = this.#home;
    const { session } = lane;
    const { tokens: prompt, stopTokens = [] } = this.#prompt;
    const pause = new Pause();
    const stream = tokenizer.stream();
    for (let i = 0; i < prompt.length; i++) stream.push(prompt[i]);
    const rest = await this.#read(lane, pause);
    if (this.#isAborted) return;
    // The last token is given out and never read, so the context holds all others and one more fits.
    const limit = Math.min(maxTokens, session.limit - prompt.length + 1);
    let endedBy: EndedBy = limit === maxTokens ? "tokens" : "context";
    const stop = (token: number): boolean => {
      const isStop = tokenizer.stopTokens.includes(token) || stopTokens.includes(token);
      if (isStop) endedBy = "stop-token";
      return isStop;
    };
    const { sampler, constraint } = this.#choice();
    const tokens = this.#follow(session, rest, { sampler, maxTokens: limit, stop, constraint });
    try {
      for (;;) {
        const { value: token, done = false } = await pool.during(tokens.next());
        if (done || token === undefined) break;
        this.#clock.token(lane.compiler.seconds - lane.compileSeconds);
        this.#tokens.push(token);
        yield* this.#show(stream.push(token));
        if (this.#filter.found !== undefined) endedBy = "stop-string";
        else await pause.turn();
        pool.requireOpen();
        if (this.#isAborted) endedBy = "interrupt";
        if (endedBy === "stop-string" || endedBy === "interrupt") break;
      }
    } finally {
      await tokens.return(); // gives back what guesses took
    }
    if (constraint?.isFinished === true && endedBy !== "stop-string") endedBy = "complete";
    this.#endedBy = endedBy;
    yield* this.#show(stream.end(), true);
  }

  /** Reads all but the last part of the prompt, so that a signal is heard in a long one. Gives what is left. */
  async #read({ session, cachedTokens }: Lane, pause: Pause): Promise<readonly number[]> {
    const prompt = Array.from(this.#prompt.tokens);
    const partTokens = Math.max(1, Math.floor(PART_TOKENS / session.chunkLength)) * session.chunkLength + 1;
    for (let i = 0; i < cachedTokens; i++) this.#sampler.observe(prompt[i]);
    let read = cachedTokens;
    for (; prompt.length - read > partTokens && !this.#isAborted; read += partTokens) {
      const part = prompt.slice(read, read + partTokens);
      await this.#home.pool.during(session.prefill(part));
      for (const token of part) this.#sampler.observe(token);
      await pause.turn();
      this.#home.pool.requireOpen();
    }
    return prompt.slice(read);
  }

  /** Gives out what may be shown of a piece of text. */
  async *#show(piece: string, isLast = false): AsyncGenerator<string, void, undefined> {
    this.#rawText += piece;
    const shown = this.#filter.push(piece) + (isLast ? this.#filter.end() : "");
    if (shown === "") return;
    this.#text += shown;
    this.#clock.leave();
    yield shown;
    this.#clock.enter();
  }

  /** What chooses tokens; it takes notes where they were asked for. */
  #choice(): { readonly sampler: Chooser; readonly constraint: Constraint | undefined } {
    const [sampler, constraint, count] = [this.#sampler, this.#constraint, this.#options.logprobs];
    if (count === undefined) return { sampler, constraint };
    const note = (logits: Float32Array, token: number): number => {
      const top = topLogprobs(logits, count).map((likely) => this.#reportOf(likely.token, likely.logprob));
      this.#reports.push({ ...this.#reportOf(token, logprobOf(logits, token)), top });
      return token;
    };
    const noted: Chooser = {
      observe: (token) => sampler.observe(token),
      sample: (logits, allowed) => note(logits, sampler.sample(logits, allowed)),
      verify: (logits, guess, probabilities, allowed) =>
        note(logits, sampler.verify(logits, guess, probabilities, allowed)),
    };
    return { sampler: noted, constraint };
  }

  #reportOf(token: number, logprob: number): ReportedToken {
    const { tokenizer } = this.#home;
    const bytes = tokenizer.tokenBytes(token);
    const text = bytes.length === 0 ? tokenizer.tokenText(token) : new TextDecoder().decode(bytes);
    return { token, text, logprob };
  }
}

/** Throws `ContextLimitError` for a prompt that is longer than the context. */
export function requireRoom({ architecture }: Model, tokens: number, limit: number): void {
  if (tokens <= limit) return;
  throw new ContextLimitError("the context is full", {
    where: `a prompt for a ${architecture} model`,
    expected: `at most ${limit} tokens`,
    got: `${tokens} tokens`,
    hint: "shorten the prompt, give the model more context, or use a recurrent model, which has no limit",
  });
}

/** Time that is spent in a generation, not by those who read it. */
class Clock {
  compileSeconds = 0;
  #spentMs = 0;
  #sinceMs = 0;
  /** When the first and the last token came; what was compiled until then. */
  #first = { ms: 0, compileSeconds: 0 };
  #last = { ms: 0, compileSeconds: 0 };

  start(): void {
    this.#sinceMs = performance.now();
  }

  leave(): void {
    this.#spentMs += performance.now() - this.#sinceMs;
  }

  enter(): void {
    this.#sinceMs = performance.now();
  }

  /** A token has come, after so much compiling. */
  token(compileSeconds: number): void {
    this.#last = { ms: this.#spentMs + performance.now() - this.#sinceMs, compileSeconds };
    if (this.#first.ms === 0) this.#first = this.#last;
  }

  timings(loadSeconds: number, { promptTokens, cachedTokens, completionTokens }: Usage): Timings {
    const [first, last] = [this.#first, this.#last];
    const firstTokenSeconds = first.ms / 1000;
    const prefillSeconds = Math.max(0, firstTokenSeconds - first.compileSeconds);
    const decodeSeconds = Math.max(0, (last.ms - first.ms) / 1000 - (last.compileSeconds - first.compileSeconds));
    return {
      loadSeconds,
      compileSeconds: this.compileSeconds,
      firstTokenSeconds,
      prefillSeconds,
      prefillTokensPerSecond: rate(promptTokens - cachedTokens, prefillSeconds),
      decodeSeconds,
      decodeTokensPerSecond: rate(completionTokens - 1, decodeSeconds),
    };
  }
}

function rate(count: number, seconds: number): number {
  return count > 0 && seconds > 0 ? count / seconds : 0;
}

// One generation: a prompt is read, and text comes piece by piece. The pieces are asked for by a loop, and nothing is
// computed that nobody asks for; leaving the loop, an abort and an error give the session back at once.

import { ContextLimitError, generateTokens, logprobOf, lookupDrafter, Sampler } from "@fidelity/models";
import { speculate, topLogprobs } from "@fidelity/models";
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
import { Interrupted } from "./batch.ts";
import { Pause } from "./pause.ts";
import { Reader } from "./reader.ts";
import type { ReaderHome } from "./reader.ts";
import { StopFilter } from "./text-stream.ts";

/** What a generation starts with. */
export interface Prompt {
  readonly tokens: ArrayLike<number>;
  /** What ends the text besides the options' stop strings and the tokenizer's tokens. */
  readonly stop?: readonly string[];
  readonly stopTokens?: readonly number[];
}

/** What a generation needs of the model that it belongs to. */
export interface GenerationHome extends ReaderHome {
  readonly tokenizer: Tokenizer;
  readonly loadSeconds: number;
  /** The constraint of the options, at its start. */
  constraint(options: GenerateOptions): Constraint | undefined;
  /** The drafter of the options' draft model, with a session until it is disposed. */
  drafter(options: GenerateOptions, tokens: number): Promise<HeldDrafter>;
}

/** A drafter that holds something. */
export interface HeldDrafter extends Disposable {
  readonly drafter: Drafter;
  /** What was compiled since it was taken. */
  readonly compileSeconds: number;
}

/** The most tokens of a text, unless said. */
export const MAX_TOKENS = 256;
/** What chooses tokens. */
type Chooser = Pick<Sampler, "observe" | "sample" | "verify">;
/** The same with what limits it, and whether it looks at logits beyond that. */
type Choice = { readonly sampler: Chooser; readonly constraint: Constraint | undefined; readonly allLogits: boolean };

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
  #drafter: HeldDrafter | undefined;

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
    const { maxTokens = MAX_TOKENS, signal, speculation } = this.#options;
    const prompt = Array.from(this.#prompt.tokens);
    this.#clock.start();
    requireRoom(model, prompt.length, pool.limit);
    const need = Math.min(prompt.length + maxTokens, pool.limit);
    const tokens = (): readonly number[] => [...prompt, ...this.#tokens];
    const reader = await Reader.open(this.#home, { prompt, need, isAlone: speculation !== undefined, signal, tokens });
    let isWhole = true;
    try {
      yield* this.#write(reader, prompt, maxTokens);
    } catch (error) {
      isWhole = false;
      throw error;
    } finally {
      this.#clock.compileSeconds = this.#compileSeconds(reader);
      this.#cachedTokens = reader.cachedTokens;
      reader.release(isWhole);
      if (isWhole) this.#onEnd(this);
    }
  }

  /** What was compiled for this generation, and for the guesses about it. */
  #compileSeconds(reader: Reader): number {
    return reader.compileSeconds + (this.#drafter?.compileSeconds ?? 0);
  }

  /** The tokens that follow, by the model alone or with guesses. */
  async *#follow(
    reader: Reader,
    prompt: readonly number[],
    options: Parameters<Session["generate"]>[1] & { readonly sampler: Chooser },
  ): AsyncGenerator<number, void, undefined> {
    const { speculation } = this.#options;
    if (speculation === undefined) return yield* generateTokens(reader, prompt, options);
    const read = await reader.readAhead(prompt);
    const [before, rest] = [prompt.slice(0, read), prompt.slice(read)];
    for (const token of before) this.#sampler.observe(token);
    const session = reader.session!;
    const { draftModel, draftTokens } = speculation;
    const wanted = { ...options, before, draftTokens, count: this.#guesses };
    if (draftModel === undefined) return yield* speculate(session, rest, { ...wanted, drafter: lookupDrafter });
    using held = await this.#home.drafter(this.#options, prompt.length + options.maxTokens);
    this.#drafter = held;
    return yield* speculate(session, rest, { ...wanted, drafter: held.drafter });
  }

  async *#write(reader: Reader, prompt: readonly number[], maxTokens: number): AsyncGenerator<string, void, undefined> {
    const { pool, tokenizer } = this.#home;
    const { stopTokens = [] } = this.#prompt;
    const pause = new Pause();
    const stream = tokenizer.stream();
    for (const token of prompt) stream.push(token);
    // The last token is given out and never read, so the context holds all others and one more fits.
    const limit = Math.min(maxTokens, pool.limit - prompt.length + 1);
    let endedBy: EndedBy = limit === maxTokens ? "tokens" : "context";
    const stop = (token: number): boolean => {
      const isStop = tokenizer.stopTokens.includes(token) || stopTokens.includes(token);
      if (isStop) endedBy = "stop-token";
      return isStop;
    };
    const choice = this.#choice();
    const tokens = this.#follow(reader, prompt, { ...choice, maxTokens: limit, stop });
    try {
      for (;;) {
        const { value: token, done = false } = await pool.during(tokens.next());
        if (done || token === undefined) break;
        this.#clock.token(this.#compileSeconds(reader));
        this.#tokens.push(token);
        yield* this.#show(stream.push(token));
        if (this.#filter.found !== undefined) endedBy = "stop-string";
        else await pause.turn();
        pool.requireOpen();
        if (this.#isAborted) endedBy = "interrupt";
        if (endedBy === "stop-string" || endedBy === "interrupt") break;
      }
    } catch (error) {
      if (!(error instanceof Interrupted)) throw error;
      endedBy = "interrupt";
    } finally {
      await tokens.return(); // gives back what guesses took
    }
    if (choice.constraint?.isFinished === true && endedBy !== "stop-string") endedBy = "complete";
    this.#endedBy = endedBy;
    yield* this.#show(stream.end(), true);
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
  #choice(): Choice {
    const [sampler, constraint, count] = [this.#sampler, this.#constraint, this.#options.logprobs];
    if (count === undefined) return { sampler, constraint, allLogits: false };
    const note = (logits: Float32Array, token: number): number => {
      const top = topLogprobs(logits, count).map((likely) => this.#reportOf(likely.token, likely.logprob));
      this.#reports.push({ ...this.#reportOf(token, logprobOf(logits, token)), top });
      return token;
    };
    const noted: Chooser = {
      observe: (token) => sampler.observe(token),
      sample: (logits, allowed, peaks) => note(logits, sampler.sample(logits, allowed, peaks)),
      verify: (logits, guess, probabilities, allowed) =>
        note(logits, sampler.verify(logits, guess, probabilities, allowed)),
    };
    return { sampler: noted, constraint, allLogits: true };
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

// A model in use: text in, text out. It brings together what opening gave (architecture, weights on a device,
// tokenizer, chat template) with sessions that are used again. All of it runs in Node and in browsers; how a file
// becomes such a model is `open` of `@fidelity/run/node`, or `loadModel` for a file whose tensors are at hand.

import type { CacheDtype, Device, ProgramMissingError } from "@fidelity/core";
import { createConstraint, ModelDrafter, ModelKindError, PoolOptionError, TokenVocabulary } from "@fidelity/models";
import type {
  ChatMessage,
  ChatOptions,
  ChatTemplate,
  Constraint,
  DeviceParameters,
  EncodeOptions,
  Model,
  PoolMemory,
  Tokenizer,
} from "@fidelity/models";
import { Batch } from "./batch.ts";
import { Chat } from "./chat/chat.ts";
import type { ChatSettings } from "./chat/chat.ts";
import { plainFormat, templateFormat } from "./chat/chat-format.ts";
import type { ChatFormat } from "./chat/chat-format.ts";
import { embedText } from "./embed.ts";
import type { Embedding, EmbedOptions } from "./embed.ts";
import { Generation, MAX_TOKENS, requireRoom } from "./generation.ts";
import type { GenerationHome, HeldDrafter, Prompt } from "./generation.ts";
import { grammarFrom } from "./generation-types.ts";
import type { ConstraintSource, GenerateOptions } from "./generation-types.ts";
import { Pause } from "./pause.ts";
import { searchTexts } from "./search-text.ts";
import type { SearchResult, SearchTextOptions } from "./search-text.ts";
import { SessionPool } from "./session-pool.ts";
import { beginText } from "./text-stream.ts";

/** What a language model is made of. */
export interface LanguageModelParts {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly parameters: DeviceParameters;
  readonly device: Device;
  /** The template of conversations; asked for when the first one begins. Default: there is none. */
  readonly chatTemplate?: () => ChatTemplate | undefined;
  /** How long opening took, for reports. */
  readonly loadSeconds?: number;
  /** How much memory there is left, by which generations that share steps are refused. Default: it is not asked. */
  readonly freeBytes?: () => number;
  /** Gives parameters, device and files back. Default: they stay the caller's. */
  readonly release?: () => void | Promise<void>;
}

export interface LanguageModelOptions {
  /** Tokens that every sequence has room for, at most the model's. Default: as many as a text needs. */
  readonly context?: number;
  /**
   * How many sessions are kept when nobody uses them, for prompts that begin alike: each takes the memory of its state.
   * Default 1; with 0 nothing is kept.
   */
  readonly idleSessions?: number;
  /**
   * How many generations are in progress at a time; they share steps, further ones wait. Memory for all of them is
   * taken when the second one begins. With 1 nobody waits, and all take turns. Two have the bits that each has alone;
   * with more, or with room for more than 4096 tokens, sums have another order: logits differ by 1e-6. Default 4.
   */
  readonly parallel?: number;
  /**
   * What keys and values of attention are stored as. Default f32. With f16 a cache takes half of the memory, and native
   * code reads it in half of the time; logits of a trained model moved by 5e-4 of their size, with bf16 by 4e-3.
   */
  readonly cacheDtype?: CacheDtype;
}

/** A conversation's settings, and how it becomes text. */
export interface ChatStart extends ChatSettings {
  /** A template, or "plain" for a text that the model continues. Default: the model's own, plain where it has none. */
  readonly template?: ChatTemplate | "plain";
  /** What the template sees besides messages: tools, variables, the date. */
  readonly templateOptions?: ChatOptions;
}

/** Generations at a time, unless said. */
const PARALLEL = 4;
const PARALLEL_MAX = 1024;
/** Masks take memory, so that few constraints are kept. */
const CONSTRAINTS_MAX = 8;

/**
 * A model that generates. Several generations may run at the same time; their steps take turns. Close it when nothing
 * needs it any more: `await using model = await open(path)`.
 */
export class LanguageModel implements AsyncDisposable {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  /** To be read only. */
  readonly parameters: DeviceParameters;
  readonly device: Device;
  readonly #parts: LanguageModelParts;
  readonly #home: GenerationHome;
  readonly #pool: SessionPool;
  readonly #batch: Batch | undefined;
  readonly #constraints = new Map<string, Constraint>();
  /** Models of the same vocabulary. */
  readonly #guessesFor = new WeakSet<LanguageModel>();
  #vocabulary: TokenVocabulary | undefined;
  #format: ChatFormat | undefined;
  #closing: Promise<void> | undefined;

  /** Throws `PoolOptionError` for a number of generations that cannot be. */
  constructor(parts: LanguageModelParts, options: LanguageModelOptions = {}) {
    const { context, idleSessions = 1, parallel = PARALLEL, cacheDtype } = options;
    const { model, tokenizer, parameters, device, loadSeconds = 0, freeBytes } = parts;
    this.#parts = parts;
    this.model = model;
    this.tokenizer = tokenizer;
    this.parameters = parameters;
    this.device = device;
    this.#pool = new SessionPool({ model, parameters, device, context, idleMax: idleSessions, cacheDtype });
    const constraint = ({ constraint: source }: GenerateOptions): Constraint | undefined => this.#constraintOf(source);
    const drafter = (options: GenerateOptions, tokens: number) =>
      options.speculation!.draftModel!.#draft(this, options, tokens);
    if (!Number.isInteger(parallel) || parallel < 1 || parallel > PARALLEL_MAX) {
      throw new PoolOptionError("parallel is impossible", {
        expected: `how many generations share steps, from 1 to ${PARALLEL_MAX}`,
        got: String(parallel),
      });
    }
    const shared = {
      model,
      parameters,
      device,
      lanes: parallel,
      context,
      isKept: idleSessions > 0,
      freeBytes,
      cacheDtype,
    };
    this.#batch = parallel > 1 ? new Batch(shared) : undefined;
    this.#home = { model, tokenizer, pool: this.#pool, batch: this.#batch, loadSeconds, constraint, drafter };
  }

  /** Tokens that a sequence may have; Infinity where there is no limit. */
  get contextLimit(): number {
    return this.#pool.limit;
  }

  /** What the generations take that share steps; undefined as long as there was one at a time. */
  get sharedMemory(): PoolMemory | undefined {
    return this.#batch?.memory;
  }

  /** Why generations take turns that were to share steps: the device has no compiler, nor their programs. */
  get sharingError(): ProgramMissingError | undefined {
    return this.#batch?.missing;
  }

  /** How many sessions there are, in use or kept for later. */
  get sessionCount(): number {
    return this.#pool.size;
  }

  /**
   * Continues a text, its tokens, or answers a conversation by the model's chat template. Read it with `for await`, and
   * stop by leaving the loop or by `signal`; `result()` tells usage and timings. Throws `SamplingOptionError`,
   * `GrammarError`, `ChatTemplateError` and `TokenizerError` at once, and while it is read `ContextLimitError`,
   * `LogitsError`, `ConstraintError`, `ModelKindError` for an encoder, and `ModelClosedError`.
   */
  generate(prompt: string | ArrayLike<number> | readonly ChatMessage[], options: GenerateOptions = {}): Generation {
    return new Generation(this.#home, this.#promptOf(prompt), options);
  }

  /** Begins a conversation, or goes on with one. Throws `ChatTemplateError`. */
  chat({ template, templateOptions, ...settings }: ChatStart = {}): Chat {
    if (template === undefined && templateOptions === undefined)
      return new Chat(this.#home, this.#ownFormat(), settings);
    const chosen = template ?? this.#parts.chatTemplate?.() ?? "plain";
    const format =
      chosen === "plain" ? plainFormat(this.tokenizer) : templateFormat(chosen, this.tokenizer, templateOptions);
    return new Chat(this.#home, format, settings);
  }

  /** The likeliest texts that a beam search finds, best first. Throws as `generate`. */
  async search(prompt: string | ArrayLike<number>, options: SearchTextOptions = {}): Promise<SearchResult> {
    const { tokens } = this.#promptOf(prompt);
    const { maxTokens = MAX_TOKENS, constraint } = options;
    requireRoom(this.model, tokens.length, this.#pool.limit);
    const lane = await this.#pool.take(tokens, tokens.length + maxTokens);
    try {
      lane.session.reset();
      const pause = new Pause();
      const request = { ...options, prompt: tokens, constraint: this.#constraintOf(constraint), maxTokens, pause };
      return await this.#pool.during(searchTexts(lane.session, this.tokenizer, request));
    } finally {
      this.#pool.release(lane, undefined);
    }
  }

  /** The vectors of texts, by an encoder. Throws `ModelKindError` for a language model, `ContextLimitError`. */
  async embed(texts: readonly string[], options: EmbedOptions = {}): Promise<Embedding[]> {
    const embeddings: Embedding[] = [];
    const pause = new Pause();
    for (const text of texts) {
      this.#pool.requireOpen();
      embeddings.push(await this.#pool.during(embedText(this, text, options)));
      await pause.turn();
    }
    return embeddings;
  }

  /** The tokens of a text. Throws `UnknownCharacterError` when the vocabulary cannot spell it. */
  tokenize(text: string, options?: EncodeOptions): Int32Array {
    return this.tokenizer.encode(text, options);
  }

  /** The text of tokens. Throws `UnknownTokenError`. */
  detokenize(tokens: ArrayLike<number>): string {
    return this.tokenizer.decode(tokens);
  }

  /** Ends all generations with `ModelClosedError`, and gives everything back. Harmless when repeated. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await Promise.all([this.#batch?.close(), this.#pool.close()]);
    await this.#parts.release?.();
  }

  /** Guesses for another model, with a session that is held until the drafter is disposed. */
  async #draft(other: LanguageModel, options: GenerateOptions, tokens: number): Promise<HeldDrafter> {
    this.#requireVocabularyOf(other);
    const lane = await this.#pool.take([], Math.min(tokens, this.#pool.limit));
    const { session, compiler, compileSeconds: before } = lane;
    return {
      drafter: new ModelDrafter(session, options),
      get compileSeconds() {
        return compiler.seconds - before;
      },
      [Symbol.dispose]: () => this.#pool.release(lane, []),
    };
  }

  #requireVocabularyOf(other: LanguageModel): void {
    if (this.#guessesFor.has(other)) return;
    const [own, wanted] = [this.tokenizer, other.tokenizer];
    const differs = Array.from({ length: Math.max(own.vocabSize, wanted.vocabSize) }, (_, token) => token).find(
      (token) =>
        token >= own.vocabSize || token >= wanted.vocabSize || own.tokenText(token) !== wanted.tokenText(token),
    );
    if (differs !== undefined) {
      throw new ModelKindError("the draft model has another vocabulary", {
        expected: `the ${wanted.vocabSize} tokens of the model that it guesses for`,
        got: `${own.vocabSize} tokens, of which token ${differs} is another one`,
        hint: "take a smaller model of the same family",
      });
    }
    this.#guessesFor.add(other);
  }

  #promptOf(prompt: string | ArrayLike<number> | readonly ChatMessage[]): Prompt {
    if (typeof prompt === "string") return { tokens: beginText(this.tokenizer, prompt) };
    if (!isConversation(prompt)) return { tokens: prompt };
    const format = this.#ownFormat();
    return { tokens: format.encode(format.render(prompt), true), ...format.turnEnd };
  }

  #ownFormat(): ChatFormat {
    if (this.#format === undefined) {
      const template = this.#parts.chatTemplate?.();
      this.#format = template === undefined ? plainFormat(this.tokenizer) : templateFormat(template, this.tokenizer);
    }
    return this.#format;
  }

  /** A constraint at its start. Those that were used last keep what they found out. */
  #constraintOf(source: ConstraintSource | undefined): Constraint | undefined {
    if (source === undefined) return undefined;
    this.#vocabulary ??= new TokenVocabulary(this.tokenizer);
    if ("rules" in source) return createConstraint(source, this.#vocabulary);
    const key = JSON.stringify(source);
    const known = this.#constraints.get(key) ?? createConstraint(grammarFrom(source), this.#vocabulary);
    this.#constraints.delete(key); // and comes back as the youngest
    this.#constraints.set(key, known);
    if (this.#constraints.size > CONSTRAINTS_MAX) this.#constraints.delete(this.#constraints.keys().next().value!);
    return known.clone();
  }
}

function isConversation(prompt: ArrayLike<number> | readonly ChatMessage[]): prompt is readonly ChatMessage[] {
  return prompt.length > 0 && typeof prompt[0] === "object";
}

// A conversation with a model: the turns, and the state of what the model has read of them. A turn reads only what is
// new, as long as the text of the turns before is the one that was read. When the context is full the oldest turns go.

import { setImmediate } from "node:timers/promises";
import { ContextLimitError, openSession, Sampler } from "@fidelity/models";
import type { ChatMessage, SamplerOptions, Session, TokenStream } from "@fidelity/models";
import type { LoadedModel } from "../open-model.ts";
import type { ChatFormat } from "./chat-format.ts";

export interface ConversationOptions {
  /** Tokens that the context has room for; a model without a limit ignores it. */
  readonly capacity?: number;
  /** The most tokens of an answer. */
  readonly maxTokens: number;
  readonly sampling: SamplerOptions;
  readonly system?: string;
  readonly messages?: readonly ChatMessage[];
}

export interface AnswerRequest {
  readonly signal: AbortSignal;
  readonly onText: (piece: string) => void;
  /** Called before the answer where the context had no room for the oldest turns. */
  readonly onForgotten?: (turns: number) => void;
}

export interface Answer {
  readonly text: string;
  readonly tokens: number;
  /** Tokens that were read for it, and those before that were known already. */
  readonly promptTokens: number;
  readonly keptTokens: number;
  readonly firstTokenSeconds: number;
  /** A second, after the first token; 0 for fewer than two tokens. */
  readonly tokensPerSecond: number;
  readonly forgottenTurns: number;
  readonly endedBy: "tokens" | "stop-token" | "context" | "interrupt";
}

/** Tokens that are read between two looks at the signal: whole chunks of a session, and the token that ends them. */
const PIECE_TOKENS = 8 * 32 + 1;

export class Conversation {
  system: string | undefined;
  sampling: SamplerOptions;
  readonly #loaded: Pick<LoadedModel, "model" | "tokenizer">;
  readonly #format: ChatFormat;
  readonly #session: Session;
  readonly #maxTokens: number;
  #messages: ChatMessage[];
  /** The text that the session has read, and the tokens of it that it has not. Undefined: it must read anew. */
  #read: { readonly text: string; readonly pending: readonly number[] } | undefined;
  #stream: TokenStream;

  /** Made by `openConversation`. */
  constructor(
    loaded: Pick<LoadedModel, "model" | "tokenizer">,
    format: ChatFormat,
    session: Session,
    options: ConversationOptions,
  ) {
    this.#loaded = loaded;
    this.#format = format;
    this.#session = session;
    this.#maxTokens = options.maxTokens;
    this.#messages = [...(options.messages ?? [])];
    this.#stream = loaded.tokenizer.stream();
    this.system = options.system;
    this.sampling = options.sampling;
  }

  /** The turns, without the system's. */
  get messages(): readonly ChatMessage[] {
    return this.#messages;
  }

  set messages(messages: readonly ChatMessage[]) {
    this.#messages = [...messages];
  }

  /** Tokens that the context holds; Infinity where there is no limit. */
  get limit(): number {
    return this.#session.limit;
  }

  get position(): number {
    return this.#session.position;
  }

  close(): void {
    this.#session.close();
  }

  /**
   * Asks, and gives the answer when it has ended. Throws `ContextLimitError` for a question that the context has no
   * room for, and what templates and tokenizers throw; the question is then not part of the conversation.
   */
  async answer(question: string, request: AnswerRequest): Promise<Answer> {
    const before = this.#messages;
    this.#messages = [...before, { role: "user", content: question }];
    try {
      const started = performance.now();
      const prompt = this.#prepare();
      if (prompt.forgottenTurns > 0) request.onForgotten?.(prompt.forgottenTurns);
      const answer = await this.#write(prompt, request, started);
      this.#messages.push({ role: "assistant", content: answer.text });
      return answer;
    } catch (error) {
      this.#messages = before;
      this.#read = undefined;
      throw error;
    }
  }

  /** What is to be read now; the oldest turns are dropped until there is room for an answer. */
  #prepare(): Prompt {
    const { limit } = this.#session;
    const reserved = Math.max(1, Math.min(this.#maxTokens, Math.floor(limit / 4)));
    let forgottenTurns = 0;
    for (;;) {
      const text = this.#render();
      const isContinued = this.#read !== undefined && this.#read.text !== "" && text.startsWith(this.#read.text);
      const fresh = isContinued ? text.slice(this.#read!.text.length) : text;
      const encoded = this.#format.encode(fresh, !isContinued);
      const tokens = isContinued ? [...this.#read!.pending, ...encoded] : [...encoded];
      const keptTokens = isContinued ? this.#session.position : 0;
      if (keptTokens + tokens.length + reserved <= limit) {
        const pendingTokens = tokens.length - encoded.length;
        return { text, tokens, pendingTokens, keptTokens, isContinued, forgottenTurns };
      }
      const next = this.#messages.findIndex(({ role }, index) => index > 0 && role === "user");
      if (next < 0) throw tooLong(tokens.length, limit, reserved);
      this.#messages = this.#messages.slice(next);
      forgottenTurns++;
    }
  }

  #render(): string {
    const system = this.system === undefined ? [] : [{ role: "system", content: this.system }];
    return this.#format.render([...system, ...this.#messages]);
  }

  /** Reads what is new and writes the answer. */
  async #write(prompt: Prompt, { signal, onText }: AnswerRequest, started: number): Promise<Answer> {
    const { model, tokenizer } = this.#loaded;
    const session = this.#session;
    this.#read = undefined; // until it is known what was read
    if (!prompt.isContinued) {
      session.reset();
      this.#stream = tokenizer.stream();
    }
    const tokens = prompt.tokens.length > 0 ? prompt.tokens : [tokenizer.specialTokens.bos ?? 0];
    for (const token of tokens.slice(prompt.pendingTokens)) this.#stream.push(token);
    const rest = await this.#readPieces(tokens, signal);
    const promptEnd = session.position + rest.length;
    const given: number[] = [];
    let [raw, firstTokenSeconds, endedBy]: [string, number, Answer["endedBy"]] = ["", 0, "tokens"];
    const maxTokens = Math.min(this.#maxTokens, session.limit - promptEnd + 1);
    if (maxTokens < this.#maxTokens) endedBy = "context";
    const stop = (token: number): boolean => {
      const isStop = tokenizer.stopTokens.includes(token);
      if (isStop) endedBy = "stop-token";
      return isStop;
    };
    const show = (piece: string): void => {
      raw += piece;
      if (piece !== "") onText(piece);
    };
    if (signal.aborted) endedBy = "interrupt";
    else {
      const sampler = new Sampler(model.vocabSize, this.sampling);
      for await (const token of session.generate(rest, { sampler, maxTokens, stop })) {
        if (given.length === 0) firstTokenSeconds = (performance.now() - started) / 1000;
        given.push(token);
        show(this.#stream.push(token));
        await setImmediate(); // signals are heard, and the text is written, between tokens
        if (!signal.aborted) continue;
        endedBy = "interrupt";
        break;
      }
      // An answer that ends in the middle of a character shows that; the stream then starts afresh.
      show(this.#stream.end());
      this.#read = { text: prompt.text + raw, pending: given.slice(session.position - promptEnd) };
    }
    const seconds = (performance.now() - started) / 1000 - firstTokenSeconds;
    const tokensPerSecond = given.length > 1 ? (given.length - 1) / seconds : 0;
    const { keptTokens, forgottenTurns } = prompt;
    const counts = { tokens: given.length, promptTokens: tokens.length, keptTokens };
    return { text: raw, ...counts, firstTokenSeconds, tokensPerSecond, forgottenTurns, endedBy };
  }

  /** Reads all but the last piece, so that Ctrl-C is heard in a long prompt. Gives what is left. */
  async #readPieces(tokens: readonly number[], signal: AbortSignal): Promise<readonly number[]> {
    let read = 0;
    for (; tokens.length - read > PIECE_TOKENS && !signal.aborted; read += PIECE_TOKENS) {
      await this.#session.prefill(tokens.slice(read, read + PIECE_TOKENS));
      await setImmediate();
    }
    return tokens.slice(read);
  }
}

/** What a turn reads. */
interface Prompt {
  /** Of the whole conversation. */
  readonly text: string;
  /** What is to be read now: what the last answer left, then what is new. */
  readonly tokens: readonly number[];
  readonly pendingTokens: number;
  readonly keptTokens: number;
  readonly isContinued: boolean;
  readonly forgottenTurns: number;
}

/** Opens a conversation. Throws what `openSession` throws. */
export async function openConversation(
  loaded: Omit<LoadedModel, "info">,
  format: ChatFormat,
  options: ConversationOptions,
): Promise<Conversation> {
  const { model, parameters, device } = loaded;
  const capacity = model.contextLimit === null ? undefined : options.capacity;
  const session = await openSession(model, parameters, device, { capacity });
  return new Conversation(loaded, format, session, options);
}

function tooLong(tokens: number, limit: number, reserved: number): ContextLimitError {
  return new ContextLimitError("the message is too long for the context", {
    expected: `at most ${limit - reserved} tokens, so that ${reserved} are left for the answer`,
    got: `${tokens} tokens`,
    hint: "shorten it, or give the model more room with --context",
  });
}

// A conversation: its turns, and the tokens that stand for them. A turn reads only what is new, as long as the text of
// the turns before is the one that was read; which session knows it is the pool's business, so that a conversation
// holds nothing and need not be closed. When the context is full the oldest turns go.

import { ContextLimitError } from "@fidelity/models";
import type { ChatMessage } from "@fidelity/models";
import { Generation, MAX_TOKENS } from "../generation.ts";
import type { GenerationHome } from "../generation.ts";
import type { GenerateOptions } from "../generation-types.ts";
import type { ChatFormat } from "./chat-format.ts";

export interface ChatSettings extends GenerateOptions {
  /** What the model is told before the conversation. */
  readonly system?: string;
  /** Turns to go on from. */
  readonly messages?: readonly ChatMessage[];
}

/** Made by `LanguageModel.chat`. */
export class Chat {
  /** What the model is told before the conversation. */
  system: string | undefined;
  /** How answers are generated, where `send` says nothing else. */
  options: GenerateOptions;
  readonly #home: GenerationHome;
  readonly #format: ChatFormat;
  #messages: readonly ChatMessage[];
  /** The text of the turns with its tokens, as they were read and written. */
  #known: { readonly text: string; readonly tokens: readonly number[] } = { text: "", tokens: [] };
  #forgottenTurns = 0;

  constructor(home: GenerationHome, format: ChatFormat, { system, messages = [], ...options }: ChatSettings) {
    this.#home = home;
    this.#format = format;
    this.#messages = messages;
    this.system = system;
    this.options = options;
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
    return this.#home.pool.limit;
  }

  /** Tokens of the conversation, as it was read and written last. */
  get tokenCount(): number {
    return this.#known.tokens.length;
  }

  /** How many of the oldest turns had to go, since the conversation began. */
  get forgottenTurns(): number {
    return this.#forgottenTurns;
  }

  /**
   * Asks, and gives the answer in the making. Question and answer are part of the conversation when the answer has
   * ended, also where it was interrupted, and not where it failed. Throws `ContextLimitError` for a question that the
   * context has no room for, and what templates and tokenizers throw.
   */
  send(question: string | ChatMessage, options: GenerateOptions = {}): Generation {
    const chosen = { ...this.options, ...options };
    const asked = [...this.#messages, messageOf(question)];
    const { text, tokens, messages, forgotten } = this.#prepare(asked, chosen.maxTokens);
    const prompt = { tokens: tokens.length > 0 ? tokens : [this.#home.tokenizer.specialTokens.bos ?? 0] };
    return new Generation(this.#home, { ...prompt, ...this.#format.turnEnd }, chosen, (answer) => {
      this.#messages = [...messages, { role: "assistant", content: answer.text }];
      this.#known = { text: text + answer.rawText, tokens: [...prompt.tokens, ...answer.tokens] };
      this.#forgottenTurns += forgotten;
    });
  }

  /** How many of the oldest turns go before this is asked. Throws as `send`. */
  turnsToForget(question: string | ChatMessage, options: GenerateOptions = {}): number {
    const { maxTokens } = { ...this.options, ...options };
    return this.#prepare([...this.#messages, messageOf(question)], maxTokens).forgotten;
  }

  /** What is to be read; the oldest turns are dropped until there is room for an answer. */
  #prepare(messages: readonly ChatMessage[], maxTokens = MAX_TOKENS) {
    const { limit } = this;
    const reserved = Math.max(1, Math.min(maxTokens, Math.floor(limit / 4)));
    for (let forgotten = 0; ; forgotten++) {
      const text = this.#render(messages);
      const isContinued = this.#known.text !== "" && text.startsWith(this.#known.text);
      const fresh = isContinued ? text.slice(this.#known.text.length) : text;
      const encoded = this.#format.encode(fresh, !isContinued);
      const tokens = isContinued ? [...this.#known.tokens, ...encoded] : [...encoded];
      if (tokens.length + reserved <= limit) return { text, tokens, messages, forgotten };
      const next = messages.findIndex(({ role }, index) => index > 0 && role === "user");
      if (next < 0) throw tooLong(tokens.length, limit, reserved);
      messages = messages.slice(next);
    }
  }

  #render(messages: readonly ChatMessage[]): string {
    const system = this.system === undefined ? [] : [{ role: "system", content: this.system }];
    return this.#format.render([...system, ...messages]);
  }
}

function messageOf(question: string | ChatMessage): ChatMessage {
  return typeof question === "string" ? { role: "user", content: question } : question;
}

function tooLong(tokens: number, limit: number, reserved: number): ContextLimitError {
  return new ContextLimitError("the message is too long for the context", {
    expected: `at most ${limit - reserved} tokens, so that ${reserved} are left for the answer`,
    got: `${tokens} tokens`,
    hint: "shorten it, or give the model more context",
  });
}

// How a conversation becomes the text that a model reads: by a chat template, or for a model without one as a text that
// it continues.

import type { ChatMessage, ChatOptions, ChatTemplate, Tokenizer } from "@fidelity/models";
import { NO_TURN_END, turnEndOf } from "./turn-end.ts";
import type { TurnEnd } from "./turn-end.ts";

export interface ChatFormat {
  readonly kind: "template" | "plain";
  /** What ends an answer besides the tokenizer's tokens. */
  readonly turnEnd: TurnEnd;
  /** The text up to where the answer begins. Throws `ChatTemplateError`. */
  render(messages: readonly ChatMessage[]): string;
  /**
   * The tokens of a rendered text.
   * @param isStart false for what follows a text that was read before
   */
  encode(text: string, isStart: boolean): Int32Array;
}

/** A conversation by a template. `options` are what the template sees besides messages and special tokens. */
export function templateFormat(template: ChatTemplate, tokenizer: Tokenizer, options: ChatOptions = {}): ChatFormat {
  const textOf = (token: number | undefined): string => (token === undefined ? "" : tokenizer.tokenText(token));
  const { bos, eos } = tokenizer.specialTokens;
  const seen: ChatOptions = { bosToken: textOf(tokenizer.bosToken ?? bos), eosToken: textOf(eos), ...options };
  return {
    kind: "template",
    turnEnd: turnEndOf(template, tokenizer, seen),
    render: (messages) => template.render(messages, seen),
    encode: (text) => tokenizer.encode(text, { specials: true }),
  };
}

/** What people write and what the model wrote, one after another, a line apart. */
export function plainFormat(tokenizer: Tokenizer): ChatFormat {
  return {
    kind: "plain",
    turnEnd: NO_TURN_END,
    render: (messages) => {
      // An answer continues the line before it.
      return messages
        .map(({ role, content }, i) => (i > 0 && role !== "assistant" ? "\n" : "") + String(content))
        .join("");
    },
    encode: (text, isStart) => tokenizer.encode(text, { addBos: isStart }),
  };
}

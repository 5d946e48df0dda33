// How a conversation becomes the text that a model reads: by a chat template, or for a model without one as a text that
// it continues.

import type { ChatMessage, ChatTemplate, Tokenizer } from "@fidelity/models";

export interface ChatFormat {
  readonly kind: "template" | "plain";
  /** The text up to where the answer begins. Throws `ChatTemplateError`. */
  render(messages: readonly ChatMessage[]): string;
  /**
   * The tokens of a rendered text.
   * @param isStart false for what follows a text that was read before
   */
  encode(text: string, isStart: boolean): Int32Array;
}

/** A conversation by a template. `now` is what templates that name a date see. */
export function templateFormat(template: ChatTemplate, tokenizer: Tokenizer, now: Date): ChatFormat {
  const textOf = (token: number | undefined): string => (token === undefined ? "" : tokenizer.tokenText(token));
  const { bos, eos } = tokenizer.specialTokens;
  const options = { bosToken: textOf(tokenizer.bosToken ?? bos), eosToken: textOf(eos), now };
  return {
    kind: "template",
    render: (messages) => template.render(messages, options),
    encode: (text) => tokenizer.encode(text, { specials: true }),
  };
}

/** What people write and what the model wrote, one after another, a line apart. */
export function plainFormat(tokenizer: Tokenizer): ChatFormat {
  return {
    kind: "plain",
    render: (messages) => {
      // An answer continues the line before it.
      return messages
        .map(({ role, content }, i) => (i > 0 && role !== "assistant" ? "\n" : "") + String(content))
        .join("");
    },
    encode: (text, isStart) => tokenizer.encode(text, { addBos: isStart }),
  };
}

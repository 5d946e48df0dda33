// What ends a turn, by its template: a template may write an end of turn that the vocabulary has no token for (a format
// that the model was not made with), or one that the file does not name as an end. A conversation of known words is
// rendered, and what follows the answer in it is how an answer ends; where that is blank, an answer ends where the
// header of the next turn begins.

import { ChatTemplateError } from "@fidelity/models";
import type { ChatMessage, ChatOptions, ChatTemplate, Tokenizer } from "@fidelity/models";

/** What ends an answer besides the tokenizer's own tokens. */
export interface TurnEnd {
  readonly stop: readonly string[];
  readonly stopTokens: readonly number[];
}

export const NO_TURN_END: TurnEnd = { stop: [], stopTokens: [] };
const [ASKED, ANSWERED, ASKED_AGAIN] = ["zebra-asks", "yodel-answers", "xenon-asks"];

/** How a template ends the model's turn; one that refuses a plain conversation leaves it to the tokenizer. */
export function turnEndOf(template: ChatTemplate, tokenizer: Tokenizer, options: ChatOptions = {}): TurnEnd {
  const turns: readonly ChatMessage[] = [
    { role: "user", content: ASKED },
    { role: "assistant", content: ANSWERED },
    { role: "user", content: ASKED_AGAIN },
  ];
  let [closing, between]: (string | undefined)[] = [];
  try {
    closing = behind(template.render(turns.slice(0, 2), { ...options, addGenerationPrompt: false }))?.trim();
    if (closing === "") between = behind(template.render(turns, { ...options, addGenerationPrompt: false }));
  } catch (error) {
    if (error instanceof ChatTemplateError) return NO_TURN_END;
    throw error;
  }
  if (closing !== undefined && closing !== "") return endAt(closing, tokenizer);
  const header = between?.split(ASKED_AGAIN)[0] ?? "";
  if (header.trim() === "") return NO_TURN_END;
  // A line of its own, so that the same word within a sentence does not end it.
  return endAt(`${/^\s*\n/.test(header) ? "\n" : ""}${header.trim()}`, tokenizer);
}

/** What stands behind the answer; undefined where the template left it out. */
function behind(text: string): string | undefined {
  const at = text.indexOf(ANSWERED);
  return at < 0 ? undefined : text.slice(at + ANSWERED.length);
}

/** The end as a token, where it begins with one that is written as no text, or as its first line. */
function endAt(mark: string, tokenizer: Tokenizer): TurnEnd {
  const [first] = tokenizer.encode(mark.trim(), { specials: true });
  if (first !== undefined && tokenizer.tokenBytes(first).length === 0) return { stop: [], stopTokens: [first] };
  const line = /^\n?[^\n]+/.exec(mark)![0].trimEnd();
  return { stop: [line], stopTokens: [] };
}

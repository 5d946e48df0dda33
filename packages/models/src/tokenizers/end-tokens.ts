// Tokens that end an answer, by their text: many files name only the one that ends a document, while the model ends its
// turns with another (the list of llama.cpp, in llama-vocab.cpp).

import type { AddedToken } from "./pipeline-spec.ts";

const TURN_ENDS: ReadonlySet<string> = new Set([
  "<|eot_id|>",
  "<|im_end|>",
  "<|end|>",
  "<end_of_turn>",
  "<|endoftext|>",
  "<|end_of_text|>",
  "<EOT>",
  "_<EOT>",
  "[EOT]",
  "<｜end▁of▁sentence｜>",
  "<end_of_utterance>",
]);

const OTHER_ENDS: ReadonlySet<string> = new Set([
  "<|eom_id|>",
  "<|return|>",
  "<|call|>",
  "<|flush|>",
  "<|calls|>",
  "</s>",
  "[EOS]",
  "<eos>",
  "<turn|>",
  "<|tool_response>",
  "[e~[",
  // Ends of what was to be filled in.
  "<|fim_pad|>",
  "<|fim_repo|>",
  "<|repo_name|>",
  "<|file_sep|>",
]);

/** Whether a token of this text ends a turn of a conversation. */
export function endsTurn(text: string): boolean {
  return TURN_ENDS.has(text);
}

/** Whether a token of this text, if it is an added one, ends what a model generates. */
export function endsText(text: string): boolean {
  return TURN_ENDS.has(text) || OTHER_ENDS.has(text);
}

/** The tokens that end what a model generates: those that the file names, and added ones whose text says so. */
export function stopTokens(named: readonly (number | undefined)[], added: readonly AddedToken[]): number[] {
  const stops = new Set(named.filter((token) => token !== undefined));
  const byText = new Map<string, number>();
  for (const { text, token } of added) if (endsText(text)) byText.set(text, token);
  for (const token of byText.values()) stops.add(token);
  // In OpenAI's harmony and its likes, <|end|> ends a message, and the answer goes on.
  const end = byText.get("<|end|>");
  const goesOn =
    (byText.has("<|call|>") && byText.has("<|return|>")) || (byText.has("<|calls|>") && byText.has("<|flush|>"));
  if (end !== undefined && goesOn) stops.delete(end);
  return [...stops].sort((a, b) => a - b);
}

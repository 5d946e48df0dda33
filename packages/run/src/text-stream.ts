// Text that is generated: from tokens to what may be shown, held back while it could still turn into a stop string.

import { UnknownCharacterError } from "@fidelity/models";
import type { Tokenizer } from "@fidelity/models";

/** Lets text through up to the first of some strings. */
export class StopFilter {
  readonly #stops: readonly string[];
  #held = "";
  #found: string | undefined;

  /** @param stops strings that end the text and are not part of it; empty ones never match */
  constructor(stops: readonly string[]) {
    this.#stops = stops.filter((stop) => stop !== "");
  }

  /** The string that ended the text; undefined while none did. */
  get found(): string | undefined {
    return this.#found;
  }

  /** Takes a piece of text and gives what is certain not to belong to a stop string. */
  push(piece: string): string {
    if (this.#found !== undefined) return "";
    const text = this.#held + piece;
    const hits = this.#stops
      .map((stop) => ({ stop, at: text.indexOf(stop) }))
      .filter(({ at }) => at >= 0)
      .sort((a, b) => a.at - b.at);
    if (hits.length > 0) {
      this.#found = hits[0].stop;
      this.#held = "";
      return text.slice(0, hits[0].at);
    }
    const keep = Math.max(0, ...this.#stops.map((stop) => overlap(text, stop)));
    this.#held = text.slice(text.length - keep);
    return text.slice(0, text.length - keep);
  }

  /** The text that was held back and turned out to be text. */
  end(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }
}

/** The longest end of `text` that `stop` begins with. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(stop.length - 1, text.length); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length;
  }
  return 0;
}

/**
 * The tokens of a prompt: the tokenizer's BOS first, where it has one. A model without BOS starts an empty prompt after
 * a newline, or after token 0 where the vocabulary has no newline. Throws `UnknownCharacterError`.
 */
export function beginText(tokenizer: Tokenizer, prompt: string): Int32Array {
  const encoded = tokenizer.encode(prompt, { addBos: true });
  return encoded.length > 0 ? encoded : Int32Array.of(newlineToken(tokenizer));
}

function newlineToken(tokenizer: Tokenizer): number {
  try {
    return tokenizer.encode("\n")[0] ?? 0;
  } catch (error) {
    if (error instanceof UnknownCharacterError) return 0;
    throw error;
  }
}

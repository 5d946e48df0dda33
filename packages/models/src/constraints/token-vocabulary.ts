// The bytes of all tokens of a vocabulary, as a tree in the order of a walk through it: a node is a byte, then come the
// nodes below it, and `after` tells where to go on when they are of no use. Made once a tokenizer, read by every walk.

import { toLatin1 } from "../tokenizers/byte-text.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";

/** Longer tokens are not used. */
const TOKEN_BYTES_MAX = 0xffff;

export class TokenVocabulary {
  readonly size: number;
  readonly stopTokens: readonly number[];
  /** [nodes] */
  readonly bytes: Uint8Array;
  /** [nodes]: how many bytes come before it. */
  readonly depths: Uint16Array;
  /** [nodes]: the first node that is not below. */
  readonly after: Int32Array;
  /** [nodes]: the token that ends here; -1 where none does. */
  readonly tokens: Int32Array;
  /** [size]: another token of the same bytes; -1 where there is none. */
  readonly twins: Int32Array;
  readonly depth: number;
  readonly #all: Uint8Array;
  readonly #starts: Int32Array; // [size + 1]: where the bytes of each token begin in #all

  /** Reads `tokenBytes` of every token: some tenths of a second for 128,000. Tokens without bytes are in no text. */
  constructor(tokenizer: Pick<Tokenizer, "vocabSize" | "stopTokens" | "tokenBytes">) {
    this.size = tokenizer.vocabSize;
    this.stopTokens = tokenizer.stopTokens;
    const stops = new Set(this.stopTokens);
    const texts = Array.from({ length: this.size }, (_, token) => {
      const bytes = tokenizer.tokenBytes(token);
      // A token that ends the text has no other meaning.
      return stops.has(token) || bytes.length > TOKEN_BYTES_MAX ? "" : toLatin1(bytes);
    });
    this.#starts = new Int32Array(this.size + 1);
    for (let token = 0; token < this.size; token++) this.#starts[token + 1] = this.#starts[token] + texts[token].length;
    this.#all = new Uint8Array(this.#starts[this.size]);
    for (const [token, text] of texts.entries()) {
      for (let at = 0; at < text.length; at++) this.#all[this.#starts[token] + at] = text.charCodeAt(at);
    }
    const order = texts.map((_, token) => token).filter((token) => texts[token] !== "");
    order.sort((a, b) => (texts[a] < texts[b] ? -1 : texts[a] > texts[b] ? 1 : a - b));
    const shared = order.map((token, rank) => (rank === 0 ? 0 : commonLength(texts[order[rank - 1]], texts[token])));
    const count = order.reduce((sum, token, rank) => sum + texts[token].length - shared[rank], 0);
    this.bytes = new Uint8Array(count);
    this.depths = new Uint16Array(count);
    this.after = new Int32Array(count);
    this.tokens = new Int32Array(count).fill(-1);
    this.twins = new Int32Array(this.size).fill(-1);
    let node = 0;
    for (const [rank, token] of order.entries()) {
      const text = texts[token];
      for (let at = shared[rank]; at < text.length; at++, node++) {
        this.bytes[node] = text.charCodeAt(at);
        this.depths[node] = at;
      }
      if (shared[rank] === text.length) this.twins[token] = this.tokens[node - 1];
      this.tokens[node - 1] = token;
    }
    this.depth = order.reduce((most, token) => Math.max(most, texts[token].length), 0);
    const next = new Int32Array(this.depth + 1).fill(count); // by depth: the next node that is no deeper
    for (node = count - 1; node >= 0; node--) {
      const depth = this.depths[node];
      this.after[node] = next[depth];
      next.fill(node, depth);
    }
  }

  /** The bytes that a token adds to a text; none for those that only mark something, and for what is no token. */
  bytesOf(token: number): Uint8Array {
    return this.#all.subarray(this.#starts[token], this.#starts[token + 1]);
  }
}

function commonLength(a: string, b: string): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

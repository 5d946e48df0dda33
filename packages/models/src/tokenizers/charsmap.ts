// SentencePiece's precompiled normalisation: a double-array trie from texts to their replacements (Kanda 2018;
// normalizer.cc of google/sentencepiece, darts.h). At each place the longest text that the trie has is replaced.
//
// The map: a 32-bit size of the trie, its units of 32 bits, and then the replacements, each ended by a zero byte.

import { VocabularyError } from "./tokenizer.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

export class CharacterMap {
  readonly #units: Uint32Array;
  readonly #replacements: Uint8Array;

  /** Throws `VocabularyError` for a map that is damaged; it is checked here, so that `normalize` cannot fail. */
  constructor(data: Uint8Array) {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const sizeBytes = data.byteLength < 4 ? -1 : view.getUint32(0, true);
    if (sizeBytes < 0 || sizeBytes % 4 !== 0 || sizeBytes > data.byteLength - 4) {
      throw new VocabularyError("the tokenizer's map of characters is damaged", {
        expected: "the size of a trie, the trie, and texts",
        got: `${data.byteLength} bytes, with a trie of ${sizeBytes}`,
      });
    }
    this.#units = Uint32Array.from({ length: sizeBytes / 4 }, (_, index) => view.getUint32(4 + 4 * index, true));
    this.#replacements = data.subarray(4 + sizeBytes);
  }

  normalize(text: string): string {
    const bytes = encoder.encode(text);
    const result: string[] = [];
    let kept = 0;
    for (let at = 0; at < bytes.length;) {
      const [length, replacement] = this.#longest(bytes, at);
      if (length === 0) {
        at++;
        while (at < bytes.length && (bytes[at] & 0xc0) === 0x80) at++;
        continue;
      }
      result.push(decoder.decode(bytes.subarray(kept, at)), this.#replacementAt(replacement));
      at += length;
      kept = at;
    }
    result.push(decoder.decode(bytes.subarray(kept)));
    return result.join("");
  }

  /** The length of the longest text of the trie at `at`, in bytes and up to a whole character, and its replacement. */
  #longest(bytes: Uint8Array, at: number): readonly [length: number, replacement: number] {
    let found: readonly [number, number] = [0, 0];
    let node = offsetOf(this.#units[0] ?? 0);
    for (let end = at; end < bytes.length && bytes[end] !== 0; end++) {
      node ^= bytes[end];
      const unit = this.#units[node];
      if (unit === undefined || (unit & 0x800000ff) !== bytes[end]) break;
      node ^= offsetOf(unit);
      const isCharacterEnd = end + 1 === bytes.length || (bytes[end + 1] & 0xc0) !== 0x80;
      const leaf = this.#units[node];
      if ((unit & 0x100) !== 0 && isCharacterEnd && leaf !== undefined) found = [end + 1 - at, leaf & 0x7fffffff];
    }
    return found;
  }

  #replacementAt(offset: number): string {
    const end = this.#replacements.indexOf(0, offset);
    // Replacements of a damaged map could otherwise be as long as the map, at every character.
    if (end < 0 || end - offset > 256) return "";
    return decoder.decode(this.#replacements.subarray(offset, end));
  }
}

/** Where the children of a unit lie. */
function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}

// From tokens back to bytes, token by token: what a token adds to the text, given whether it is the first that adds
// any.

import { fromByteText, fromEscapes, namedByte } from "./byte-text.ts";
import type { DecoderSpec } from "./pipeline-spec.ts";

const encoder = new TextEncoder();
const noBytes = new Uint8Array(0);
const space = encoder.encode(" ");

export interface TokenDecoder {
  /** The bytes that the text of a token adds; `isFirst` where nothing came before it. */
  bytes(text: string, isFirst: boolean): Uint8Array;
  /** What stands between the words of a text but not at its end: held back until a word follows. */
  readonly between: Uint8Array | undefined;
  /** Whether a token's text ends a word, so that `between` comes before the next. */
  endsWord(text: string): boolean;
}

export function createDecoder(spec: DecoderSpec): TokenDecoder {
  const plain = { between: undefined, endsWord: () => false };
  switch (spec.type) {
    case "bytes":
      return { ...plain, bytes: fromByteText };
    case "escaped":
      return { ...plain, bytes: fromEscapes };
    case "pieces":
      return { ...plain, bytes: (text, isFirst) => pieceBytes(spec, text, isFirst) };
    case "wordpiece":
      return { ...plain, bytes: (text, isFirst) => encoder.encode(wordText(spec, text, isFirst)) };
    case "suffix": {
      const { suffix } = spec;
      const endsWord = (text: string): boolean => suffix !== "" && text.endsWith(suffix);
      const bytes = (text: string): Uint8Array =>
        encoder.encode(endsWord(text) ? text.slice(0, text.length - suffix.length) : text);
      return { bytes, between: space, endsWord };
    }
  }
}

type Pieces = Extract<DecoderSpec, { type: "pieces" }>;

function pieceBytes({ replace, byteFallback, stripSpaces }: Pieces, text: string, isFirst: boolean): Uint8Array {
  if (byteFallback) {
    const byte = namedByte(text);
    if (byte >= 0) return Uint8Array.of(byte);
  }
  let result = text;
  for (const [from, to] of replace) if (from !== "") result = result.replaceAll(from, () => to);
  if (isFirst) {
    let spaces = 0;
    while (spaces < stripSpaces && result[spaces] === " ") spaces++;
    result = result.slice(spaces);
  }
  return result === "" ? noBytes : encoder.encode(result);
}

type Words = Extract<DecoderSpec, { type: "wordpiece" }>;

function wordText({ prefix, cleanup }: Words, text: string, isFirst: boolean): string {
  const continues = prefix !== "" && text.startsWith(prefix);
  const result = continues ? text.slice(prefix.length) : isFirst ? text : ` ${text}`;
  // Punctuation and English contractions stand close to the word before them.
  return cleanup ? result.replace(/^ ([.?!,]|n't|'(?:m|s|ve|re))/, "$1").replace(" ' ", "'") : result;
}

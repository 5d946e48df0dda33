// Whether two tokenizers are the same in use: not by their descriptions, which differ from format to format, but by
// what they make of texts in which vocabularies differ.

import { TokenizerError } from "./tokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

const TEXTS: readonly string[] = [
  "Once upon a time, there was a little girl named Lily.",
  " leading, trailing  and   several spaces ",
  "\ttabs\n\nlines\r\n  indented\n",
  "It's the 3rd of 12345 (or 3.14); they'LL say: DON'T!? fooBar_baz.qux(1+2)==[3];//x",
  "«déjà vu» naïve e\u0301 İ ß Σας ﬁ Ⅷ ½ ١٢٣ \u00a0\u3000",
  "日本語のテキスト, 한국어, العربية, हिन्दी, ไทย",
  "😀👩‍👩‍👧 𝒳 <s> <|im_end|> [CLS]",
  "a",
];

/**
 * The first of some texts that two tokenizers make different tokens of, or read back differently; undefined where they
 * agree. A text that the first cannot spell is passed over.
 */
export function tokenizersDiffer(expected: Tokenizer, got: Tokenizer): string | undefined {
  return TEXTS.find((text) => {
    const [ours, theirs] = [encodeWhole(expected, text), encodeWhole(got, text)];
    if (ours === undefined) return false;
    if (theirs === undefined || ours.length !== theirs.length) return true;
    if (ours.some((token, at) => token !== theirs[at])) return true;
    // WordPiece does not keep the spaces of a text, and every program puts others in.
    return expected.kind !== "wordpiece" && expected.decode(ours) !== got.decode(ours);
  });
}

function encodeWhole(tokenizer: Tokenizer, text: string): Int32Array | undefined {
  try {
    return tokenizer.encode(text, { addBos: true, addEos: true });
  } catch (error) {
    if (error instanceof TokenizerError) return undefined;
    throw error;
  }
}

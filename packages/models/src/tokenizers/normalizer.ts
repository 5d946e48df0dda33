// Normalisation of a text before it is cut into words: Unicode's forms, and what BERT, SentencePiece and others do
// (normalizers of huggingface/tokenizers). Every step takes time in proportion to the text.

import { toByteText } from "./byte-text.ts";
import { CharacterMap } from "./charsmap.ts";
import { Pattern } from "./pattern.ts";
import type { NormalizerStep } from "./pipeline-spec.ts";
import { VocabularyError } from "./tokenizer.ts";

export type Normalizer = (text: string) => string;

/** Ideographs, each of which BERT takes for a word: the blocks that its code lists. */
const IDEOGRAPHS =
  /[\u4E00-\u9FFF\u3400-\u4DBF\uF900-\uFAFF\u{20000}-\u{2A6DF}\u{2A700}-\u{2CEAF}\u{2F800}-\u{2FA1F}]/gu;

/** Texts do not grow beyond this many times their length, as compatibility forms can (U+FDFA has 18 characters). */
const GROWTH_LIMIT = 32;

/** All steps, one after the other. Throws `VocabularyError` or `PatternError` for a step that is damaged. */
export function compileNormalizer(steps: readonly NormalizerStep[]): Normalizer {
  const compiled = steps.map(compileStep);
  return (text) => {
    let result = text;
    for (const step of compiled) {
      result = step(result);
      if (result.length > GROWTH_LIMIT * (text.length + GROWTH_LIMIT)) {
        throw new VocabularyError("the tokenizer's normalisation makes a text many times longer", {
          expected: `at most ${GROWTH_LIMIT} times its length`,
          got: `${result.length} characters from ${text.length}`,
        });
      }
    }
    return result;
  };
}

function compileStep(step: NormalizerStep): Normalizer {
  switch (step.type) {
    case "nfc":
      return (text) => normalForm(text, "NFC");
    case "nfd":
      return (text) => normalForm(text, "NFD");
    case "nfkc":
      return (text) => normalForm(text, "NFKC");
    case "nfkd":
      return (text) => normalForm(text, "NFKD");
    case "lowercase":
      return lowerCase;
    case "strip-accents":
      return (text) => text.replace(/\p{M}/gu, "");
    case "bytes":
      return toByteText;
    case "strip":
      return (text) => {
        const start = step.left ? text.trimStart() : text;
        return step.right ? start.trimEnd() : start;
      };
    case "prepend":
      return (text) => (text === "" ? "" : step.text + text);
    case "replace":
      return compileReplace(step.pattern, step.literal, step.text);
    case "bert":
      return compileBert(step);
    case "charsmap":
      return compileMap(step.data);
  }
}

/** Marks on one letter, such as accents, that are brought into order together. */
const MARKS_MAX = 256;
const manyMarks = new RegExp(`\\p{M}{${MARKS_MAX}}`, "u");
const markedPieces = new RegExp(`\\P{M}*\\p{M}{0,${MARKS_MAX}}`, "gu");

/** A normal form of Unicode. Engines sort the marks of a letter in the square of their number, so runs are cut. */
function normalForm(text: string, form: "NFC" | "NFD" | "NFKC" | "NFKD"): string {
  if (!manyMarks.test(text)) return text.normalize(form);
  return (text.match(markedPieces) ?? []).map((piece) => piece.normalize(form)).join("");
}

/** Lower case character by character: a sigma at the end of a word is like any other. */
function lowerCase(text: string): string {
  return text.replaceAll("\u03A3", "\u03C3").toLowerCase();
}

function compileReplace(pattern: string, isLiteral: boolean, by: string): Normalizer {
  if (isLiteral) return (text) => (pattern === "" ? text : text.replaceAll(pattern, () => by));
  const compiled = new Pattern(pattern);
  return (text) => {
    const pieces: string[] = [];
    let kept = 0;
    compiled.each(text, (start, end) => {
      pieces.push(text.slice(kept, start), by);
      kept = end;
    });
    pieces.push(text.slice(kept));
    return pieces.join("");
  };
}

function compileBert(step: Extract<NormalizerStep, { type: "bert" }>): Normalizer {
  return (text) => {
    let result = text;
    if (step.clean) {
      result = result.replace(/[\0\uFFFD]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}]/gu, "").replace(/\p{White_Space}/gu, " ");
    }
    if (step.chinese) result = result.replace(IDEOGRAPHS, " $& ");
    if (step.accents) result = normalForm(result, "NFD").replace(/\p{Mn}/gu, "");
    return step.lowercase ? lowerCase(result) : result;
  };
}

function compileMap(data: string): Normalizer {
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.fromBase64(data);
  } catch (cause) {
    throw new VocabularyError("the tokenizer's map of characters is not valid base64", { cause });
  }
  const map = new CharacterMap(bytes);
  return (text) => map.normalize(text);
}

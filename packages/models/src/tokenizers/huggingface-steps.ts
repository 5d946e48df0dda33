// The stages of a tokenizer.json, one by one: normalizers, pre-tokenizers and decoders of huggingface/tokenizers, as
// steps of ours. Their names and fields are those of that library's serialisation.

import type { Fields } from "./fields.ts";
import type { DecoderSpec, NormalizerStep, SplitBehavior, WordStep } from "./pipeline-spec.ts";

/** A sequence of sequences ends here. */
const DEPTH_MAX = 8;

/** GPT-2's words, which the ByteLevel pre-tokenizer cuts on its own account. */
const gpt2Words = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const punctuation = "[\\p{P}!-/:-@\\[-`{-~]";

export function normalizerSteps(fields: Fields | undefined, depth = 0): NormalizerStep[] {
  if (fields === undefined) return [];
  const type = fields.text("type");
  switch (type) {
    case "Sequence":
      return nested(fields, "normalizers", depth).flatMap((step) => normalizerSteps(step, depth + 1));
    case "NFC":
      return [{ type: "nfc" }];
    case "NFD":
      return [{ type: "nfd" }];
    case "NFKC":
      return [{ type: "nfkc" }];
    case "NFKD":
      return [{ type: "nfkd" }];
    case "Lowercase":
      return [{ type: "lowercase" }];
    case "StripAccents":
      return [{ type: "strip-accents" }];
    case "ByteLevel":
      return [{ type: "bytes" }];
    case "Strip":
      return [{ type: "strip", left: fields.flag("strip_left", true), right: fields.flag("strip_right", true) }];
    case "Prepend":
      return [{ type: "prepend", text: fields.text("prepend") }];
    case "Replace":
      return [{ type: "replace", ...patternOf(fields), text: fields.text("content", "") }];
    case "Precompiled":
      return [{ type: "charsmap", data: fields.text("precompiled_charsmap") }];
    case "BertNormalizer": {
      const lowercase = fields.flag("lowercase", true);
      return [
        {
          type: "bert",
          clean: fields.flag("clean_text", true),
          chinese: fields.flag("handle_chinese_chars", true),
          accents: fields.flag("strip_accents", lowercase),
          lowercase,
        },
      ];
    }
    default:
      return fields.refuse("type", "a normalizer that is known");
  }
}

export function wordSteps(fields: Fields | undefined, depth = 0): WordStep[] {
  if (fields === undefined) return [];
  const type = fields.text("type");
  switch (type) {
    case "Sequence":
      return nested(fields, "pretokenizers", depth).flatMap((step) => wordSteps(step, depth + 1));
    case "ByteLevel": {
      const steps: WordStep[] = fields.flag("add_prefix_space", false) ? [{ type: "prefix-space" }] : [];
      if (fields.flag("use_regex", true)) steps.push(cut(gpt2Words, "isolated"));
      return [...steps, { type: "bytes" }];
    }
    case "Metaspace": {
      const otherwise = fields.flag("add_prefix_space", true) ? "always" : "never";
      const prepend = fields.oneOf("prepend_scheme", ["always", "first", "never"], otherwise);
      const replacement = fields.text("replacement", "\u2581");
      return [{ type: "metaspace", replacement, prepend, split: fields.flag("split", true) }];
    }
    case "Split": {
      const invert = fields.flag("invert", false);
      return [{ type: "split", ...patternOf(fields), behavior: behaviorOf(fields, "isolated"), invert }];
    }
    case "Whitespace":
      return [{ ...cut("\\w+|[^\\w\\s]+", "removed"), invert: true }];
    case "WhitespaceSplit":
      return [cut("\\s+", "removed")];
    case "BertPreTokenizer":
      return [cut("\\s+", "removed"), cut(punctuation, "isolated")];
    case "Punctuation":
      return [cut(punctuation, behaviorOf(fields, "isolated"))];
    case "Digits":
      return fields.flag("individual_digits", false) ? [cut("\\p{N}", "isolated")] : [cut("\\p{N}", "contiguous")];
    case "CharDelimiterSplit":
      return [{ type: "split", pattern: fields.text("delimiter"), literal: true, behavior: "removed", invert: false }];
    case "FixedLength":
      return [{ type: "fixed-length", length: fields.integer("length", 1, 4096, 5) }];
    default:
      return fields.refuse("type", "a pre-tokenizer that is known");
  }
}

type CutStep = Extract<WordStep, { type: "split" }>;

function cut(pattern: string, behavior: SplitBehavior): CutStep {
  return { type: "split", pattern, literal: false, behavior, invert: false };
}

function patternOf(fields: Fields): { pattern: string; literal: boolean } {
  const pattern = fields.fields("pattern");
  const literal = pattern.get("Regex") === undefined;
  return { pattern: pattern.text(literal ? "String" : "Regex"), literal };
}

const BEHAVIOR_NAMES = {
  Removed: "removed",
  Isolated: "isolated",
  MergedWithPrevious: "previous",
  MergedWithNext: "next",
  Contiguous: "contiguous",
} as const satisfies Readonly<Record<string, SplitBehavior>>;

function behaviorOf(fields: Fields, otherwise: SplitBehavior): SplitBehavior {
  if (fields.get("behavior") === undefined) return otherwise;
  const names = Object.keys(BEHAVIOR_NAMES) as (keyof typeof BEHAVIOR_NAMES)[];
  return BEHAVIOR_NAMES[fields.oneOf("behavior", names)];
}

function nested(fields: Fields, key: string, depth: number): readonly Fields[] {
  return depth < DEPTH_MAX ? fields.each(key) : fields.refuse(key, `at most ${DEPTH_MAX} sequences in one another`);
}

/** A file without decoder joins its tokens with spaces. */
export function decoderOf(fields: Fields | undefined): DecoderSpec {
  if (fields === undefined) return { type: "wordpiece", prefix: "", cleanup: false };
  switch (fields.text("type")) {
    case "ByteLevel":
      return { type: "bytes" };
    case "WordPiece":
      return { type: "wordpiece", prefix: fields.text("prefix", "##"), cleanup: fields.flag("cleanup", true) };
    case "BPEDecoder":
      return { type: "suffix", suffix: fields.text("suffix", "</w>") };
    default:
      return piecesOf(fields);
  }
}

/** Decoders that replace texts and read the names of bytes, alone or in a sequence. */
function piecesOf(fields: Fields): DecoderSpec {
  const replace: [from: string, to: string][] = [];
  let [byteFallback, stripSpaces] = [false, 0];
  const steps = fields.text("type") === "Sequence" ? fields.each("decoders") : [fields];
  if (steps.length === 1 && steps[0] !== fields) return decoderOf(steps[0]);
  for (const step of steps) {
    switch (step.text("type")) {
      case "Fuse":
        break;
      case "ByteFallback":
        byteFallback = true;
        break;
      case "Replace": {
        const { pattern, literal } = patternOf(step);
        if (!literal) step.refuse("pattern", "a text, where tokens are decoded");
        replace.push([pattern, step.text("content", "")]);
        break;
      }
      case "Metaspace": {
        replace.push([step.text("replacement", "\u2581"), " "]);
        const prepends = step.text("prepend_scheme", "always") !== "never" && step.flag("add_prefix_space", true);
        stripSpaces = prepends ? 1 : 0;
        break;
      }
      case "Strip":
        if (step.text("content", " ") !== " " || step.integer("stop", 0, 32, 0) !== 0) {
          step.refuse("content", "spaces to be stripped at the start");
        }
        stripSpaces = step.integer("start", 0, 32, 0);
        break;
      default:
        step.refuse("type", "a decoder that is known");
    }
  }
  return { type: "pieces", replace, byteFallback, stripSpaces };
}

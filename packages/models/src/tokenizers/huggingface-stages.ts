// Our steps as the stages of a tokenizer.json, the way back of huggingface-steps.ts: names and fields are those of the
// serialisation of huggingface/tokenizers.

import type { DecoderSpec, NormalizerStep, SplitBehavior, WordStep } from "./pipeline-spec.ts";
import { VocabularyError } from "./tokenizer.ts";

/** A value of JSON. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

const FORMS = { nfc: "NFC", nfd: "NFD", nfkc: "NFKC", nfkd: "NFKD" } as const;

/** The field `normalizer`: null where there is none. */
export function normalizerJson(steps: readonly NormalizerStep[]): Json {
  return sequence("normalizers", steps.map(normalizerStage));
}

function normalizerStage(step: NormalizerStep): Json {
  switch (step.type) {
    case "nfc":
    case "nfd":
    case "nfkc":
    case "nfkd":
      return { type: FORMS[step.type] };
    case "lowercase":
      return { type: "Lowercase" };
    case "strip-accents":
      return { type: "StripAccents" };
    case "bytes":
      return { type: "ByteLevel" };
    case "strip":
      return { type: "Strip", strip_left: step.left, strip_right: step.right };
    case "prepend":
      return { type: "Prepend", prepend: step.text };
    case "replace":
      return { type: "Replace", pattern: patternJson(step), content: step.text };
    case "charsmap":
      return { type: "Precompiled", precompiled_charsmap: step.data };
    case "bert": {
      const { clean, chinese, accents, lowercase } = step;
      const flags = { clean_text: clean, handle_chinese_chars: chinese, strip_accents: accents, lowercase };
      return { type: "BertNormalizer", ...flags };
    }
  }
}

/** The field `pre_tokenizer`: null where there is none. */
export function wordsJson(steps: readonly WordStep[]): Json {
  const stages: Json[] = [];
  for (let at = 0; at < steps.length; at++) {
    stages.push(wordStage(steps[at], steps[at + 1]));
    // A space before the first word is no stage of its own, but a flag of the one that cuts and maps bytes.
    if (steps[at].type === "prefix-space") at += steps[at + 1]?.type === "split" ? 2 : 1;
  }
  return sequence("pretokenizers", stages);
}

const BEHAVIORS: Readonly<Record<SplitBehavior, string>> = {
  removed: "Removed",
  isolated: "Isolated",
  previous: "MergedWithPrevious",
  next: "MergedWithNext",
  contiguous: "Contiguous",
};

function wordStage(step: WordStep, next: WordStep | undefined): Json {
  switch (step.type) {
    case "prefix-space":
    case "bytes": {
      const addsSpace = step.type === "prefix-space";
      const flags = { add_prefix_space: addsSpace, trim_offsets: true, use_regex: addsSpace && next?.type === "split" };
      return { type: "ByteLevel", ...flags };
    }
    case "split":
      return { type: "Split", pattern: patternJson(step), behavior: BEHAVIORS[step.behavior], invert: step.invert };
    case "metaspace": {
      const { replacement, prepend, split } = step;
      return { type: "Metaspace", replacement, prepend_scheme: prepend, split };
    }
    case "fixed-length":
      return { type: "FixedLength", length: step.length };
  }
}

/** The field `decoder`: null where tokens are joined with spaces. Throws `VocabularyError` for escapes. */
export function decoderJson(spec: DecoderSpec): Json {
  switch (spec.type) {
    case "bytes":
      return { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true };
    case "wordpiece":
      return spec.prefix === "" ? null : { type: "WordPiece", prefix: spec.prefix, cleanup: spec.cleanup };
    case "suffix":
      return { type: "BPEDecoder", suffix: spec.suffix };
    case "pieces": {
      const replace = spec.replace.map(([String, content]): Json => ({
        type: "Replace",
        pattern: { String },
        content,
      }));
      const bytes: readonly Json[] = spec.byteFallback ? [{ type: "ByteFallback" }] : [];
      const strip: readonly Json[] =
        spec.stripSpaces > 0 ? [{ type: "Strip", content: " ", start: spec.stripSpaces, stop: 0 }] : [];
      return { type: "Sequence", decoders: [...replace, ...bytes, { type: "Fuse" }, ...strip] };
    }
    case "escaped":
      throw new VocabularyError("a tokenizer.json has no stage for a vocabulary of escaped bytes", {
        got: "RWKV's tokenizer",
        hint: "write GGUF or Fidelity's own format, which keep it",
      });
  }
}

function patternJson({ pattern, literal }: { readonly pattern: string; readonly literal: boolean }): Json {
  return literal ? { String: pattern } : { Regex: pattern };
}

function sequence(field: string, stages: readonly Json[]): Json {
  if (stages.length < 2) return stages[0] ?? null;
  return { type: "Sequence", [field]: stages };
}

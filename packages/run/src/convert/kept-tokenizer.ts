// A tokenizer on its way from one model file to another: with as many tokens as the model has, in the other file's
// form, and compared with what it was.

import { PipelineTokenizer, TokenizerError, tokenizersDiffer } from "@fidelity/models";
import type { PipelineSpec, Tokenizer } from "@fidelity/models";

/** What became of the tokenizer. */
export interface KeptTokenizer {
  readonly kind: string;
  readonly vocabSize: number;
}

/** What `read` or `write` gives; undefined, with a notice, where the tokenizer is of a kind that cannot be kept. */
export function orNotice<T>(read: () => T, notices: string[]): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof TokenizerError)) throw error;
    notices.push(`the tokenizer was left out: ${error.summary}`);
    return undefined;
  }
}

/**
 * A tokenizer of exactly `vocabSize` tokens: files pad matrices, so that some have no token, or add tokens that a model
 * has no logits for. Undefined, with a notice, where words of the vocabulary would be lost.
 */
export function fittedTokenizer(
  tokenizer: Tokenizer | undefined,
  vocabSize: number,
  notices: string[],
): Tokenizer | undefined {
  if (tokenizer === undefined || tokenizer.vocabSize === vocabSize) return tokenizer;
  const spec = tokenizer.toJSON();
  const isPipeline = "tokens" in spec;
  const added = new Set(isPipeline ? spec.added.map(({ token }) => token) : []);
  const beyond = Array.from({ length: Math.max(0, tokenizer.vocabSize - vocabSize) }, (_, i) => vocabSize + i);
  if (isPipeline && beyond.every((token) => added.has(token))) return new PipelineTokenizer(resized(spec, vocabSize));
  notices.push(
    `the tokenizer was left out: it has ${tokenizer.vocabSize} tokens, and the model a vocabulary of ${vocabSize}`,
  );
  return undefined;
}

function resized(spec: PipelineSpec, vocabSize: number): PipelineSpec {
  const isKept = (token: number | undefined): token is number => token !== undefined && token < vocabSize;
  const kept = {
    tokens: Array.from({ length: vocabSize }, (_, token) => spec.tokens[token] ?? null),
    added: spec.added.filter(({ token }) => isKept(token)),
    special: Object.fromEntries(Object.entries(spec.special).filter(([, token]) => isKept(token))),
    before: spec.before.filter(isKept),
    after: spec.after.filter(isKept),
    stop: spec.stop.filter(isKept),
  };
  if (spec.kind !== "scored-bpe" && spec.kind !== "unigram") return { ...spec, ...kept };
  return { ...spec, ...kept, scores: kept.tokens.map((_, token) => spec.scores[token] ?? 0) };
}

/** Adds a notice where the tokenizer that was read back makes other tokens of some text. */
export function compareTokenizers(expected: Tokenizer, got: Tokenizer | undefined, notices: string[]): void {
  const text = got === undefined ? "" : tokenizersDiffer(expected, got);
  if (text === undefined) return;
  const what =
    text === "" ? "does not read back" : `cuts some texts differently there, such as ${JSON.stringify(text)}`;
  notices.push(`the tokenizer ${what}`);
}

// What a generation is asked for, and what it says when it has ended.

import type { Grammar, SamplerOptions } from "@fidelity/models";
import { gbnfGrammar, jsonSchemaGrammar, regexGrammar } from "@fidelity/models";
import type { LanguageModel } from "./language-model.ts";

/** What a text must be. */
export type ConstraintSource =
  | { readonly jsonSchema: unknown }
  | { readonly regex: string }
  /** In llama.cpp's notation. */
  | { readonly gbnf: string }
  | Grammar;

/** Throws `GrammarError` and `SchemaError` for what cannot be used. */
export function grammarFrom(source: ConstraintSource): Grammar {
  if ("rules" in source) return source;
  if ("regex" in source) return regexGrammar(source.regex);
  return "gbnf" in source ? gbnfGrammar(source.gbnf) : jsonSchemaGrammar(source.jsonSchema);
}

/** How to generate; sampling options are `SamplerOptions`, at their defaults the model's own distribution. */
export interface GenerateOptions extends SamplerOptions {
  /** The most tokens to generate. Default 256. */
  readonly maxTokens?: number;
  /** The text ends before any of these strings. Those of a chat template come by themselves. */
  readonly stop?: readonly string[];
  /** What the text must be. */
  readonly constraint?: ConstraintSource;
  /** How many of the likeliest tokens to report for each token, besides its own log-probability. Default: no report. */
  readonly logprobs?: number;
  /** Guesses what comes next, to read several tokens at once. Default: nobody does. */
  readonly speculation?: SpeculationOptions;
  /** Ends the generation when it is aborted, without an error: the result says "interrupt". */
  readonly signal?: AbortSignal;
}

/** How to guess. The text has the same distribution as without, and without a draft model is the very same. */
export interface SpeculationOptions {
  /** A smaller model of the same vocabulary that guesses; without one, what followed the last tokens before. */
  readonly draftModel?: LanguageModel;
  /** The longest guess: 1, 3, 7 or 15 tokens. Default 7. */
  readonly draftTokens?: number;
}

/** What became of guesses. */
export interface SpeculationReport {
  readonly draftedTokens: number;
  readonly acceptedTokens: number;
  /** Of those that were drafted; 0 where none were. */
  readonly acceptanceRate: number;
}

/** Why a text ended; a loop that was left and a signal are both an interrupt. */
export type EndedBy = "tokens" | "stop-string" | "stop-token" | "complete" | "context" | "interrupt";

/** Tokens of a generation. */
export interface Usage {
  /** Of the whole prompt. */
  readonly promptTokens: number;
  /** Of these, the ones that the model had read before and did not read again. */
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

/** Where the time went. What whoever reads the pieces does between two of them is not counted. */
export interface Timings {
  /** From the call that opened the model until it was open. */
  readonly loadSeconds: number;
  /** Making and compiling programs, which happens the first time only. */
  readonly compileSeconds: number;
  /** From the start of the generation to its first token, compiling and reading included; 0 where none came. */
  readonly firstTokenSeconds: number;
  /** Reading the part of the prompt that was not known, up to the first token. */
  readonly prefillSeconds: number;
  /** Tokens of the prompt that were read in a second; 0 where none were. */
  readonly prefillTokensPerSecond: number;
  /** From the first token to the last. */
  readonly decodeSeconds: number;
  /** Tokens after the first in a second; 0 where there are none. */
  readonly decodeTokensPerSecond: number;
  /** Where there was speculation. */
  readonly speculation?: SpeculationReport;
}

/** A token with the natural logarithm of its probability, before penalties and filters. */
export interface ReportedToken {
  readonly token: number;
  readonly text: string;
  readonly logprob: number;
}

/** A token that was generated, and what else was likely. */
export interface TokenReport extends ReportedToken {
  readonly top: readonly ReportedToken[];
}

/** A generation that has ended. */
export interface GenerationResult {
  readonly text: string;
  /** Without the one that ended the text. */
  readonly tokens: readonly number[];
  readonly endedBy: EndedBy;
  /** Of a text with a constraint: whether it is all that it asks for. */
  readonly isComplete?: boolean;
  readonly usage: Usage;
  readonly timings: Timings;
  /** One for each token, where they were asked for. */
  readonly logprobs?: readonly TokenReport[];
}

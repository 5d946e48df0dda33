// What a sampler can be told, with the ranges and defaults of every option.

import { FidelityError } from "@fidelity/units";
import { isSeed } from "../random.ts";

/** How to choose a token; every field has the default that leaves the model's distribution alone. */
export interface SamplerOptions {
  /** 0 takes the likeliest token, the lowest id among equals; 1 samples the model's own distribution. Default 1. */
  readonly temperature?: number;
  /** Keep the k likeliest tokens; 0 keeps all. Default 0. */
  readonly topK?: number;
  /** Keep the most typical tokens whose probabilities reach this together; 1 keeps all. Default 1. */
  readonly typicalP?: number;
  /** Keep the fewest likeliest tokens whose probabilities reach p together; 1 keeps all. Default 1. */
  readonly topP?: number;
  /** Keep tokens at least this fraction as likely as the likeliest; 0 keeps all. Default 0. */
  readonly minP?: number;
  /** Keep the surprise of a token near `mirostatTau`: version 1 or 2, in place of the filters above. Default 0, off. */
  readonly mirostat?: number;
  /** The surprise that mirostat aims at, in bits a token. Default 5. */
  readonly mirostatTau?: number;
  /** How fast mirostat learns. Default 0.1. */
  readonly mirostatEta?: number;
  /** Above 1, tokens seen in the window become less likely; 1 does nothing. Default 1. */
  readonly repetitionPenalty?: number;
  /** Subtracted from the logits of tokens in the window. Default 0. */
  readonly presencePenalty?: number;
  /** Subtracted from a token's logit once for each time it stands in the window. Default 0. */
  readonly frequencyPenalty?: number;
  /** How many of the last tokens the penalties remember. Default 64. */
  readonly repetitionWindow?: number;
  /** Added to the logits of tokens, by their ids; -Infinity bans a token. Default: none. */
  readonly logitBias?: Readonly<Record<number, number>>;
  /** An integer from 0 to 2^53 - 1; the same seed and logits give the same tokens. Default 0. */
  readonly seed?: number;
}

/** A sampling option outside what it can mean. */
export class SamplingOptionError extends FidelityError {}

interface OptionRule {
  readonly fallback: number;
  readonly range: string;
  readonly accepts: (value: number) => boolean;
}

const largestWindow = 1 << 20;
const largestBias = 1000;
const share = (value: number): boolean => value > 0 && value <= 1;
const penalty: OptionRule = {
  fallback: 0,
  range: "a number from -100 to 100, usually 0 to 2",
  accepts: (value) => Math.abs(value) <= 100,
};

const optionRules: Readonly<Record<Exclude<keyof SamplerOptions, "logitBias">, OptionRule>> = {
  temperature: { fallback: 1, range: "a number from 0 to 100", accepts: (value) => value >= 0 && value <= 100 },
  topK: { fallback: 0, range: "an integer, 0 for no limit", accepts: isSeed },
  typicalP: { fallback: 1, range: "a number above 0 and up to 1", accepts: share },
  topP: { fallback: 1, range: "a number above 0 and up to 1", accepts: share },
  minP: { fallback: 0, range: "a number from 0 to 1", accepts: (value) => value >= 0 && value <= 1 },
  mirostat: { fallback: 0, range: "0 (off), 1 or 2", accepts: (value) => [0, 1, 2].includes(value) },
  mirostatTau: {
    fallback: 5,
    range: "a number of bits above 0 and up to 100",
    accepts: (value) => value > 0 && value <= 100,
  },
  mirostatEta: { fallback: 0.1, range: "a number above 0 and up to 1", accepts: share },
  repetitionPenalty: {
    fallback: 1,
    range: "a number above 0 and up to 100, usually 1 to 1.5",
    accepts: (value) => value > 0 && value <= 100,
  },
  presencePenalty: penalty,
  frequencyPenalty: penalty,
  repetitionWindow: {
    fallback: 64,
    range: `an integer from 0 to ${largestWindow}`,
    accepts: (value) => isSeed(value) && value <= largestWindow,
  },
  seed: { fallback: 0, range: "an integer from 0 to 2^53 - 1", accepts: isSeed },
};

/** Fills in the defaults. Throws `SamplingOptionError` that names the first option with an impossible value. */
export function samplerOptions(options: SamplerOptions): Required<SamplerOptions> {
  const option = (name: keyof typeof optionRules): number => {
    const rule = optionRules[name];
    const value = options[name] ?? rule.fallback;
    if (rule.accepts(value)) return value;
    throw new SamplingOptionError(`${name} cannot be ${value}`, {
      where: `sampling option ${name}`,
      expected: rule.range,
      got: String(value),
      hint: `leave ${name} out for its default`,
    });
  };
  return {
    temperature: option("temperature"),
    topK: option("topK"),
    typicalP: option("typicalP"),
    topP: option("topP"),
    minP: option("minP"),
    mirostat: option("mirostat"),
    mirostatTau: option("mirostatTau"),
    mirostatEta: option("mirostatEta"),
    repetitionPenalty: option("repetitionPenalty"),
    presencePenalty: option("presencePenalty"),
    frequencyPenalty: option("frequencyPenalty"),
    repetitionWindow: option("repetitionWindow"),
    logitBias: checkedBias(options.logitBias ?? {}),
    seed: option("seed"),
  };
}

function checkedBias(bias: Readonly<Record<number, number>>): Readonly<Record<number, number>> {
  for (const [token, value] of Object.entries(bias)) {
    if (isSeed(Number(token)) && (value === -Infinity || Math.abs(value) <= largestBias)) continue;
    throw new SamplingOptionError(`logitBias cannot be ${value} for token ${token}`, {
      where: "sampling option logitBias",
      expected: `ids of tokens, each with a number from -${largestBias} to ${largestBias}, or -Infinity to ban it`,
      got: `${token}: ${value}`,
    });
  }
  return bias;
}

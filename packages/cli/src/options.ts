// Options that check their values: the error names the option, what it takes and what it got. Defaults are shown by
// the help. Sampling options are checked by the sampler, which knows their ranges; here they only must be numbers.

import { availableParallelism } from "node:os";
import { CACHE_DTYPES } from "@fidelity/core";
import { Option } from "commander";
import { UsageError } from "./errors.ts";

interface NumberRange {
  readonly min?: number;
  readonly max?: number;
}

/** A whole number. Limits keep sizes far from overflow; whether they fit the machine is for who allocates. */
export function integerOption(flags: string, description: string, range: NumberRange = {}): Option {
  const { min = 1, max = Number.MAX_SAFE_INTEGER } = range;
  const expected =
    max === Number.MAX_SAFE_INTEGER ? `a whole number, at least ${min}` : `a whole number from ${min} to ${max}`;
  return new Option(flags, description).argParser((text) => {
    const value = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
    throw wrongValue(flags, expected, text);
  });
}

/** Whole numbers with commas between them. */
export function integersOption(flags: string, description: string, range: NumberRange = {}): Option {
  const { min = 1, max = Number.MAX_SAFE_INTEGER } = range;
  return new Option(flags, description).argParser((text) => {
    const values = text.split(",").map((part) => (/^\s*\d+\s*$/.test(part) ? Number(part) : Number.NaN));
    if (values.every((value) => Number.isSafeInteger(value) && value >= min && value <= max)) return values;
    throw wrongValue(flags, `whole numbers from ${min} to ${max} with commas between them`, text);
  });
}

/** A number that may have a fraction. */
export function numberOption(flags: string, description: string, range: NumberRange = {}): Option {
  const { min = -Infinity, max = Infinity } = range;
  return new Option(flags, description).argParser((text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (Number.isFinite(value) && value >= min && value <= max) return value;
    const limits = [min > -Infinity ? ` from ${min}` : "", max < Infinity ? ` up to ${max}` : ""].join("");
    throw wrongValue(flags, `a number${limits}`, text);
  });
}

/** One of a few words. */
export function choiceOption(flags: string, description: string, choices: readonly string[]): Option {
  const any = [choices.slice(0, -1).join(", "), ...choices.slice(-1)].join(" or ");
  return new Option(flags, `${description}: ${any}`).argParser((text) => {
    if (choices.includes(text)) return text;
    throw wrongValue(flags, any, text);
  });
}

/**
 * A value that the command cannot do without. Commander's own check comes before that for unknown options, so that
 * `--modle x` would read as a missing --model instead of a misspelt one.
 */
export function required<T>(value: T | undefined, flags: string, expected: string): T {
  if (value !== undefined) return value;
  throw new UsageError(`${flags.split(" ")[0]} is missing`, { where: `option ${flags}`, expected, got: "nothing" });
}

function wrongValue(flags: string, expected: string, got: string): UsageError {
  const flag = flags.split(/[ ,]+/).find((part) => part.startsWith("--")) ?? flags;
  return new UsageError(`${flag} cannot take this value`, { where: `option ${flags}`, expected, got: `"${got}"` });
}

export const TARGETS = ["wasm", "native", "cuda", "interpreter"] as const;
export type Target = (typeof TARGETS)[number];

export const targetOption = (): Option =>
  choiceOption(
    "--target <name>",
    "compile to WebAssembly, to native code (LLVM 19), for an NVIDIA GPU, or walk the graph slowly in float64",
    TARGETS,
  ).default("wasm");

export const cacheDtypeOption = (): Option =>
  choiceOption(
    "--cache-dtype <dtype>",
    "what attention keeps of the conversation, f16 in half of the memory",
    CACHE_DTYPES,
  ).default("f32");

export const threadsOption = (): Option =>
  integerOption("--threads <count>", "threads that compute", { max: 256 }).default(
    availableParallelism(),
    `all ${availableParallelism()}`,
  );

/** Options of the device that compute with it, besides --target and --threads. */
export interface DeviceChoice {
  /** A folder of native code, or true for the one beside the model. */
  readonly prebuilt?: string | true;
  readonly pin?: readonly number[] | true;
}

export const prebuiltOption = (): Option =>
  new Option(
    "--prebuilt [folder]",
    "run native code that `fidelity build` made, which needs no LLVM (default folder: beside the model)",
  );

export const pinOption = (): Option =>
  new Option("--pin [processors]", "keep each thread on a processor of its own (such as 0,1; Linux)").argParser(
    (text) => {
      const processors = text.split(",").map((number) => (/^\d+$/.test(number.trim()) ? Number(number) : Number.NaN));
      if (processors.every((number) => Number.isSafeInteger(number))) return processors;
      throw wrongValue("--pin [processors]", "numbers of processors with commas between them", text);
    },
  );

export const jsonOption = (): Option =>
  new Option("--json", "print one JSON document on standard output, and the rest on standard error");

export const dataOption = (): Option =>
  new Option("--data <path...>", "text to read: files, folders or quoted globs (notes/**/*.md)");

export const seedOption = (): Option =>
  integerOption("--seed <number>", "the same seed gives the same result", { min: 0 }).default(0);

export const modelOption = (): Option =>
  new Option("--model <path>", "a run folder, a model file, or a llama2.c checkpoint");

export const tokenizerOption = (): Option =>
  new Option(
    "--tokenizer <file>",
    "a vocabulary in place of the model's own: tokenizer.bin of llama2.c, tokenizer.json",
  );

/** The path of --model. Throws `UsageError` where it is missing. */
export function requiredModel(model: string | undefined): string {
  return required(model, "--model <path>", "a run folder such as runs/quickstart, or a model file");
}

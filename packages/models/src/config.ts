// Configurations of models come from files, flags and people, so each field is read by a rule: what it may be, and what
// it is when it is absent. The result is plain values, which a model file's metadata can hold.

import { FidelityError } from "@fidelity/units";
import { nearestName } from "./nearest.ts";

/** A value that JSON, and so the configuration in a model container, can hold. */
export type PlainValue = string | number | boolean | readonly number[];

/** A configuration as the world hands it in. */
export type PlainConfig = Readonly<Record<string, PlainValue>>;

/** A configuration that no model can be built from. */
export class ModelConfigError extends FidelityError {}

/** What one field may be. */
export interface FieldRule<T extends PlainValue> {
  readonly expected: string;
  accepts(value: unknown): value is T;
  /** The value when the field is absent, from the fields read before it; required where this is missing. */
  readonly fallback?: (before: PlainConfig) => T;
  /** Whether a field without a value stays absent. */
  readonly optional?: true;
}

/** Rules for all fields of a configuration, read in their order. */
export type ConfigRules<C extends { readonly [K in keyof C]?: PlainValue }> = {
  readonly [K in keyof C]-?: FieldRule<Exclude<C[K], undefined>>;
};

/** The largest sizes that any architecture here accepts: well above real models, and safe to multiply. */
export const SIZE_LIMITS = {
  dim: 1 << 17,
  hiddenDim: 1 << 20,
  layerCount: 1 << 12,
  headCount: 1 << 12,
  headDim: 1 << 14,
  vocabSize: 1 << 24,
  contextLength: 1 << 24,
} as const;

export function integerField(high: number, fallback?: (before: PlainConfig) => number): FieldRule<number> {
  return {
    expected: `an integer from 1 to ${high}`,
    accepts: (value): value is number => Number.isInteger(value) && Number(value) >= 1 && Number(value) <= high,
    fallback,
  };
}

/** Like `integerField`, but 0 is allowed: it says that there is none. */
export function countField(high: number, fallback: (before: PlainConfig) => number): FieldRule<number> {
  return {
    expected: `an integer from 0 to ${high}`,
    accepts: (value): value is number => Number.isInteger(value) && Number(value) >= 0 && Number(value) <= high,
    fallback,
  };
}

/** The kinds of a model's layers, one letter each; repeated until every layer has one. The first is the default. */
export function patternField(letters: string): FieldRule<string> {
  return {
    expected: `a text of 1 to ${SIZE_LIMITS.layerCount} of the letters ${[...letters].join(", ")}`,
    accepts: (value): value is string =>
      typeof value === "string" &&
      value.length >= 1 &&
      value.length <= SIZE_LIMITS.layerCount &&
      [...value].every((letter) => letters.includes(letter)),
    fallback: () => letters.slice(0, 1),
  };
}

export function positiveField(high: number, fallback: number | ((before: PlainConfig) => number)): FieldRule<number> {
  return {
    expected: `a number above 0 and up to ${high}`,
    accepts: (value): value is number => typeof value === "number" && value > 0 && value <= high,
    fallback: typeof fallback === "number" ? () => fallback : fallback,
  };
}

export function flagField(fallback: boolean): FieldRule<boolean> {
  return {
    expected: "true or false",
    accepts: (value): value is boolean => typeof value === "boolean",
    fallback: () => fallback,
  };
}

/** One of a few words, the first of which is the default. */
export function wordField<W extends string>(...words: readonly [W, ...W[]]): FieldRule<W> {
  return {
    expected: words.map((word) => `"${word}"`).join(" or "),
    accepts: (value): value is W => words.some((word) => word === value),
    fallback: () => words[0],
  };
}

/** Numbers above 0, at most `countMax` of them. */
export function positiveListField(countMax: number): FieldRule<readonly number[]> {
  const isPositive = (value: unknown): boolean => typeof value === "number" && value > 0 && Number.isFinite(value);
  return {
    expected: `1 to ${countMax} numbers above 0`,
    accepts: (value): value is readonly number[] =>
      Array.isArray(value) && value.length >= 1 && value.length <= countMax && value.every(isPositive),
  };
}

/** The rule for a field that may be absent, and then stays so. */
export function optionalField<T extends PlainValue>({ expected, accepts }: FieldRule<T>): FieldRule<T> {
  return { expected, accepts, optional: true };
}

/**
 * Reads a configuration by its rules, defaults filled in. Throws `ModelConfigError` that names the first field that is
 * missing, impossible or unknown.
 */
export function readConfig<C extends { readonly [K in keyof C]?: PlainValue }>(
  architecture: string,
  rules: ConfigRules<C>,
  value: unknown,
): C {
  const where = `configuration of a ${architecture} model`;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ModelConfigError("a model's configuration is not an object", { where, got: showValue(value) });
  }
  const given = new Map<string, unknown>(Object.entries(value));
  const names = Object.keys(rules);
  const unknownName = [...given.keys()].find((name) => !names.includes(name));
  if (unknownName !== undefined) {
    throw new ModelConfigError(`a ${architecture} model has no field "${unknownName}"`, {
      where,
      expected: names.join(", "),
      hint: `did you mean "${nearestName(unknownName, names)}"?`,
    });
  }
  const config: Record<string, PlainValue> = {};
  for (const name of names) {
    const rule = rules[name as keyof C] as FieldRule<PlainValue>;
    const field = given.get(name) ?? rule.fallback?.(config);
    if (field === undefined && rule.optional) continue;
    if (!rule.accepts(field)) {
      throw new ModelConfigError(`${name} is ${field === undefined ? "missing" : "impossible"}`, {
        where,
        expected: `${name}: ${rule.expected}`,
        got: showValue(field),
      });
    }
    config[name] = field;
  }
  return config as C;
}

/** Throws a `ModelConfigError` unless the sizes of a configuration fit each other. */
export function requireSizes(architecture: string, fits: boolean, expected: string, got: string): void {
  if (fits) return;
  throw new ModelConfigError("the sizes do not fit", {
    where: `configuration of a ${architecture} model`,
    expected,
    got,
    hint: "change one of the fields",
  });
}

/** A value from outside as an error shows it. */
export function showValue(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = typeof value === "number" ? String(value) : (JSON.stringify(value) ?? typeof value);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}

/** `value` rounded up to a multiple of `step`, as widths of feed-forward layers are. */
export function roundUpWidth(value: number, step: number): number {
  return step * Math.ceil(value / step);
}

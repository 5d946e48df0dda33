// How architectures are called, configured and named in the files of other programs. A naming is a table per
// architecture: the configuration from a file's metadata and back, and for each parameter the tensors that it comes
// from. GGUF: the constants of gguf-py in ggml-org/llama.cpp. Hugging Face: config.json and the state dictionaries of
// huggingface/transformers.
//
// This room knows no file format: a file comes in as `ForeignModel`, values as float32.

import { FidelityError } from "@fidelity/units";
import type { PlainConfig } from "../config.ts";
import { showValue } from "../config.ts";

/** A file whose metadata does not describe a model that can be built. */
export class ForeignModelError extends FidelityError {}

/** What a naming may ask of a file. */
export interface ForeignModel {
  /** The file, for errors. */
  readonly where: string;
  /** An entry of GGUF's metadata, or a field of config.json by its path with dots; undefined where it is missing. */
  get(key: string): unknown;
  /** The shape of a tensor, outermost axis first; undefined where there is none of this name. */
  shape(name: string): readonly number[] | undefined;
  /** The type in which a tensor's values are stored, such as "f16" or "tq2_0"; undefined where there is none. */
  dtype(name: string): string | undefined;
  /** The values of a small tensor that belongs to the configuration, such as the factors of rotary frequencies. */
  values(name: string): Float32Array;
}

/** The tensors that a parameter is made of. */
export interface ParameterOrigin {
  readonly names: readonly string[];
  /**
   * The parameter's values, row-major, from those of the tensors in the order of `names`. Without it the parameter is
   * the one tensor as it stands, axes of length 1 aside.
   */
  readonly read?: (tensors: readonly Float32Array[]) => Float32Array;
  /** The way back: the values of each tensor. */
  readonly write?: (values: Float32Array) => readonly Float32Array[];
  /** Shapes of the tensors in a file that is written; the parameter's own where absent. */
  readonly shapes?: readonly (readonly number[])[];
}

/** An entry of metadata to write, with the type that GGUF gives it. */
export interface MetadataEntry {
  readonly key: string;
  readonly type: "u8" | "u32" | "i32" | "f32" | "bool" | "string";
  readonly value: number | string | boolean | readonly number[] | readonly string[];
}

/** One kind of file for one architecture. */
export interface FileNaming {
  /** What files call the architecture (`general.architecture`, `model_type`); the first is written. */
  readonly names: readonly string[];
  /** A configuration for `createModel`, with its field `architecture`. Throws `ForeignModelError`. */
  config(file: ForeignModel): Record<string, unknown>;
  /**
   * The tensors of the parameter at `path`; undefined where the naming knows no such parameter. `file` is what is read,
   * where names depend on it; it is absent where a file is written.
   */
  origin(path: string, config: PlainConfig, file?: ForeignModel): ParameterOrigin | undefined;
  /** What a file says of a model of this configuration; absent where files of this kind are not written. */
  metadata?(config: PlainConfig): readonly MetadataEntry[];
  /** Tensors [elements] of a written file that hold what is configuration here. */
  constants?(config: PlainConfig): ReadonlyMap<string, Float32Array>;
}

/** How one architecture looks in files. */
export interface Naming {
  readonly gguf?: FileNaming;
  readonly huggingFace?: FileNaming;
}

/**
 * Origins by patterns: `{i}` (a layer) and `{j}` (a part of it) stand for numbers, on both sides. A value is a name, or
 * an origin whose names are patterns.
 */
export function originsByPattern(
  patterns: Readonly<Record<string, string | ParameterOrigin>>,
): (path: string) => ParameterOrigin | undefined {
  return (path) => {
    const numbers = path.match(/(?<=\.)\d+(?=\.|$)/g) ?? [];
    let next = 0;
    const pattern = path.replaceAll(/(?<=\.)\d+(?=\.|$)/g, () => ["{i}", "{j}"][next++] ?? "{k}");
    if (!Object.hasOwn(patterns, pattern)) return undefined;
    const found = patterns[pattern];
    const fill = (name: string): string => name.replace("{i}", numbers[0] ?? "").replace("{j}", numbers[1] ?? "");
    return typeof found === "string" ? { names: [fill(found)] } : { ...found, names: found.names.map(fill) };
  };
}

/** A whole number of a file's metadata. Throws `ForeignModelError` where it is missing, unless there is a fallback. */
export function integerOf(file: ForeignModel, key: string, fallback?: number): number {
  return valueOf(file, key, fallback, "a whole number", (value) => {
    const number = typeof value === "bigint" ? Number(value) : value;
    return typeof number === "number" && Number.isSafeInteger(number) ? number : undefined;
  });
}

/** A number of a file's metadata. Throws as `integerOf`. */
export function numberOf(file: ForeignModel, key: string, fallback?: number): number {
  return valueOf(file, key, fallback, "a number", (value) => {
    const number = typeof value === "bigint" ? Number(value) : value;
    return typeof number === "number" && Number.isFinite(number) ? number : undefined;
  });
}

/** A truth value of a file's metadata. Throws as `integerOf`. */
export function flagOf(file: ForeignModel, key: string, fallback?: boolean): boolean {
  return valueOf(file, key, fallback, "true or false", (value) => (typeof value === "boolean" ? value : undefined));
}

/** A text of a file's metadata. Throws as `integerOf`. */
export function textOf(file: ForeignModel, key: string, fallback?: string): string {
  return valueOf(file, key, fallback, "a text", (value) => (typeof value === "string" ? value : undefined));
}

function valueOf<T>(
  file: ForeignModel,
  key: string,
  fallback: T | undefined,
  expected: string,
  accept: (value: unknown) => T | undefined,
): T {
  const value = file.get(key) ?? undefined;
  if (value === undefined && fallback !== undefined) return fallback;
  const accepted = value === undefined ? undefined : accept(value);
  if (accepted !== undefined) return accepted;
  throw new ForeignModelError(`the file's "${key}" is ${value === undefined ? "missing" : "impossible"}`, {
    where: file.where,
    expected,
    got: showValue(value),
    hint: "the file is damaged, or was made by a program that leaves this out; convert the model again",
  });
}

// Reading plain values that came from outside: JSON of a tokenizer file, or of a model file. Each question names a
// field, and an answer of the wrong kind is a `VocabularyError` that says where and what was expected.

import { VocabularyError } from "./tokenizer.ts";

/** The fields of an object from outside. Only its own fields count. */
export class Fields {
  readonly where: string;
  readonly #values: object;

  /** @param where how errors call the object; throws `VocabularyError` where `value` is none */
  constructor(value: unknown, where: string) {
    this.where = where;
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new VocabularyError("the tokenizer's description is not of the expected form", {
        where,
        expected: "an object",
        got: shortened(value),
      });
    }
    this.#values = value;
  }

  /** The value of a field; undefined where it is absent or null. */
  get(key: string): unknown {
    if (!Object.hasOwn(this.#values, key)) return undefined;
    const value: unknown = Reflect.get(this.#values, key);
    return value === null ? undefined : value;
  }

  text(key: string, otherwise?: string): string {
    const value = this.get(key) ?? otherwise;
    return typeof value === "string" ? value : this.refuse(key, "a text");
  }

  flag(key: string, otherwise?: boolean): boolean {
    const value = this.get(key) ?? otherwise;
    return typeof value === "boolean" ? value : this.refuse(key, "true or false");
  }

  /** An integer from `least` to `most`. */
  integer(key: string, least: number, most: number, otherwise?: number): number {
    const value = this.get(key) ?? otherwise;
    if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
    return this.refuse(key, `an integer from ${least} to ${most}`);
  }

  /** Like `integer`, but undefined where the field is absent. */
  optionalInteger(key: string, least: number, most: number): number | undefined {
    return this.get(key) === undefined ? undefined : this.integer(key, least, most);
  }

  oneOf<T extends string>(key: string, names: readonly T[], otherwise?: T): T {
    const value = this.get(key) ?? otherwise;
    const found = names.find((name) => name === value);
    return found ?? this.refuse(key, `one of ${names.join(", ")}`);
  }

  list(key: string, otherwise?: readonly unknown[]): readonly unknown[] {
    const value = this.get(key) ?? otherwise;
    return Array.isArray(value) ? value : this.refuse(key, "a list");
  }

  texts(key: string, otherwise?: readonly string[]): readonly string[] {
    return this.list(key, otherwise).map((value) => (typeof value === "string" ? value : this.refuse(key, "texts")));
  }

  numbers(key: string, otherwise?: readonly number[]): readonly number[] {
    return this.list(key, otherwise).map((value) => {
      return typeof value === "number" && Number.isFinite(value) ? value : this.refuse(key, "finite numbers");
    });
  }

  /** The fields of an object in a field. */
  fields(key: string): Fields {
    return new Fields(this.get(key), `${this.where}.${key}`);
  }

  optionalFields(key: string): Fields | undefined {
    return this.get(key) === undefined ? undefined : this.fields(key);
  }

  /** The objects of a list in a field. */
  each(key: string, otherwise?: readonly unknown[]): readonly Fields[] {
    return this.list(key, otherwise).map((value, index) => new Fields(value, `${this.where}.${key}[${index}]`));
  }

  keys(): readonly string[] {
    return Object.keys(this.#values);
  }

  refuse(key: string, expected: string): never {
    throw new VocabularyError("the tokenizer's description is not of the expected form", {
      where: `${this.where}.${key}`,
      expected,
      got: shortened(this.get(key)),
      hint: "the file may be damaged; fetch it again",
    });
  }
}

function shortened(value: unknown): string {
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? `${value.length} values` : "an object";
  return (typeof value === "string" ? JSON.stringify(value) : String(value)).slice(0, 120);
}

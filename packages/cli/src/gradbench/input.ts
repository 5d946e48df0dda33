// Reading an evaluation's input: plain JSON that nobody has checked yet. Every read names the place in the input, and
// sizes are checked against each other before anything is made of them.

import { GradBenchInputError } from "./errors.ts";

/** Rows of equal length, one after the other. */
export interface NumberRows {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float64Array;
}

/** An object of the input; reads throw `GradBenchInputError`. */
export class InputReader {
  readonly #value: Readonly<Record<string, unknown>>;
  readonly #path: string;

  constructor(value: unknown, path = "input") {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(path, "an object", value);
    this.#value = value as Readonly<Record<string, unknown>>;
    this.#path = path;
  }

  /** Whether it is a list without elements. */
  isEmpty(key: string): boolean {
    return readList(this.#value[key], this.#at(key)).length === 0;
  }

  object(key: string): InputReader {
    return new InputReader(this.#value[key], this.#at(key));
  }

  number(key: string): number {
    return readNumber(this.#value[key], this.#at(key));
  }

  /** A whole number from `min` to `max`. */
  integer(key: string, min: number, max: number): number {
    const value = this.#value[key];
    if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return value as number;
    throw wrong(this.#at(key), `a whole number from ${min} to ${max}`, value);
  }

  boolean(key: string): boolean {
    const value = this.#value[key];
    if (typeof value !== "boolean") throw wrong(this.#at(key), "true or false", value);
    return value;
  }

  /** Numbers, `length` of them where it is given. */
  vector(key: string, length?: number): Float64Array {
    return readVector(this.#value[key], this.#at(key), length);
  }

  /** Whole numbers from `min` to `max`. */
  integers(key: string, min: number, max: number): Int32Array {
    const values = this.vector(key);
    const wrongAt = values.findIndex((value) => !Number.isInteger(value) || value < min || value > max);
    if (wrongAt >= 0) {
      throw wrong(`${this.#at(key)}[${wrongAt}]`, `a whole number from ${min} to ${max}`, values[wrongAt]);
    }
    return Int32Array.from(values);
  }

  /** A list of rows of numbers: `rows` of `columns` where these are given; where there is no row, of 0 columns. */
  matrix(key: string, rows?: number, columns?: number): NumberRows {
    return readRows(readList(this.#value[key], this.#at(key), rows), this.#at(key), columns);
  }

  /** A list of matrices of one size, as rows: [count, rows of each, columns]. */
  matrices(key: string, count: number, rows: number, columns: number): Float64Array {
    const lists = readList(this.#value[key], this.#at(key), count);
    const all = new Float64Array(count * rows * columns);
    for (const [i, list] of lists.entries()) {
      const path = `${this.#at(key)}[${i}]`;
      all.set(readRows(readList(list, path, rows), path, columns).values, i * rows * columns);
    }
    return all;
  }

  #at(key: string): string {
    return `${this.#path}.${key}`;
  }
}

/** One number, which is the whole input. */
export function readNumber(value: unknown, path = "input"): number {
  if (typeof value !== "number") throw wrong(path, "a number", value);
  return value;
}

function readList(value: unknown, path: string, length?: number): readonly unknown[] {
  if (!Array.isArray(value)) throw wrong(path, "a list", value);
  if (length !== undefined && value.length !== length) throw wrong(path, `a list of ${length}`, value);
  return value;
}

function readVector(value: unknown, path: string, length?: number): Float64Array {
  const list = readList(value, path, length);
  const numbers = new Float64Array(list.length);
  for (let i = 0; i < list.length; i++) numbers[i] = readNumber(list[i], `${path}[${i}]`);
  return numbers;
}

function readRows(lists: readonly unknown[], path: string, columns?: number): NumberRows {
  const width = columns ?? (lists.length === 0 ? 0 : readList(lists[0], `${path}[0]`).length);
  const values = new Float64Array(lists.length * width);
  for (const [i, list] of lists.entries()) values.set(readVector(list, `${path}[${i}]`, width), i * width);
  return { rows: lists.length, columns: width, values };
}

const SHOWN_CHARACTERS = 60;

function wrong(path: string, expected: string, got: unknown): GradBenchInputError {
  const text = got === undefined ? "nothing" : Array.isArray(got) ? `a list of ${got.length}` : JSON.stringify(got);
  return new GradBenchInputError("an evaluation's input does not fit", {
    where: path,
    expected,
    got: text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}...` : text,
  });
}

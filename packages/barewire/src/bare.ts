// BARE schemas as TypeScript values (draft-devault-bare): each combinator gives a schema that reads and writes one type
// and from which the TypeScript type is inferred, `TypeOf<typeof schema>`. Unions are discriminated unions,
// `{ kind, value }`. Left out for now: the schema language, encoders compiled ahead, layouts that are read in place.

import { FidelityError } from "@fidelity/units";
import { BARE_LIMITS, BareReader, BareWriter } from "./bare-io.ts";
import type { BareLimits } from "./bare-io.ts";

/** A type of BARE: how it reads and writes a `T`, and the fewest bytes that one takes. */
export interface Schema<T> {
  readonly kind: string;
  readonly sizeBytesMin: number;
  read(reader: BareReader): T;
  write(writer: BareWriter, value: T): void;
}

/** The TypeScript type of a schema's values. */
export type TypeOf<S> = S extends Schema<infer T> ? T : never;

/** The schema itself breaks a rule of BARE: repeated tags, a float as map key, an empty struct. */
export class SchemaError extends FidelityError {}

/** Decodes exactly one value from all of `bytes`. Throws `BareError`, with the offset, on anything not canonical. */
export function decode<T>(schema: Schema<T>, bytes: Uint8Array, limits: BareLimits = BARE_LIMITS): T {
  const reader = new BareReader(bytes, limits);
  const value = schema.read(reader);
  reader.end();
  return value;
}

/** Encodes one value. Throws `BareError`, with the path, where the value does not fit its schema. */
export function encode<T>(schema: Schema<T>, value: T, limits: BareLimits = BARE_LIMITS): Uint8Array<ArrayBuffer> {
  const writer = new BareWriter(limits);
  schema.write(writer, value);
  return writer.finish();
}

type Primitive = "bool" | "u8" | "u16" | "u32" | "u64" | "i8" | "i16" | "i32" | "i64" | "f32" | "f64" | "uint" | "int";
type PrimitiveType<K extends Primitive> = ReturnType<BareReader[K]>;

// The readers and writers are methods of the same name, so a primitive is its name and its least size.
function primitive<K extends Primitive | "uintSafe" | "str">(
  kind: K,
  sizeBytesMin: number,
): Schema<ReturnType<BareReader[K]>> {
  type Value = ReturnType<BareReader[K]>;
  return {
    kind,
    sizeBytesMin,
    read: (reader) => reader[kind]() as Value,
    write: (writer, value) => (writer[kind] as (value: Value) => void).call(writer, value),
  };
}

export const bool: Schema<PrimitiveType<"bool">> = primitive("bool", 1);
export const u8: Schema<PrimitiveType<"u8">> = primitive("u8", 1);
export const u16: Schema<PrimitiveType<"u16">> = primitive("u16", 2);
export const u32: Schema<PrimitiveType<"u32">> = primitive("u32", 4);
export const u64: Schema<PrimitiveType<"u64">> = primitive("u64", 8);
export const i8: Schema<PrimitiveType<"i8">> = primitive("i8", 1);
export const i16: Schema<PrimitiveType<"i16">> = primitive("i16", 2);
export const i32: Schema<PrimitiveType<"i32">> = primitive("i32", 4);
export const i64: Schema<PrimitiveType<"i64">> = primitive("i64", 8);
export const f32: Schema<PrimitiveType<"f32">> = primitive("f32", 4);
export const f64: Schema<PrimitiveType<"f64">> = primitive("f64", 8);
export const uint: Schema<PrimitiveType<"uint">> = primitive("uint", 1);
export const int: Schema<PrimitiveType<"int">> = primitive("int", 1);
export const str: Schema<string> = primitive("str", 1);

/** `uint` as a number; values from 2^53 on are refused. */
export const uintSafe: Schema<number> = { ...primitive("uintSafe", 1), kind: "uint" };

/** `u64` as a number; values from 2^53 on are refused. */
export const u64Safe: Schema<number> = {
  kind: "u64",
  sizeBytesMin: 8,
  read(reader) {
    const start = reader.offset;
    const value = reader.u64();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      reader.fail("an integer is too large", "at most 2^53 - 1", `${value}`, start);
    }
    return Number(value);
  },
  write(writer, value) {
    if (!Number.isSafeInteger(value)) writer.fail("a number is out of range", "a whole number to 2^53 - 1", `${value}`);
    writer.u64(BigInt(value));
  },
};

/** Bytes of any length. */
export const data: Schema<Uint8Array> = {
  kind: "data",
  sizeBytesMin: 1,
  read: (reader) => reader.data(),
  write: (writer, value) => writer.data(value),
};

/** Nothing at all; allowed as a member of a union only. */
export const nothing: Schema<undefined> = {
  kind: "void",
  sizeBytesMin: 0,
  read: () => undefined,
  write: () => undefined,
};

/** Exactly `sizeBytes` bytes. */
export function fixedData(sizeBytes: number): Schema<Uint8Array> {
  requireLength(sizeBytes, "fixed data");
  return {
    kind: "data",
    sizeBytesMin: sizeBytes,
    read: (reader) => reader.data(sizeBytes),
    write(writer, value) {
      if (value.length !== sizeBytes) writer.fail("data has the wrong size", `${sizeBytes} bytes`, `${value.length}`);
      writer.raw(value);
    },
  };
}

/** A value or `undefined`. */
export function optional<T>(item: Schema<T>): Schema<T | undefined> {
  requireNotVoid(item, "an optional");
  return {
    kind: "optional",
    sizeBytesMin: 1,
    read(reader) {
      if (!reader.bool()) return undefined;
      reader.enter("value");
      const value = item.read(reader);
      reader.leave();
      return value;
    },
    write(writer, value) {
      writer.bool(value !== undefined);
      if (value === undefined) return;
      writer.enter("value");
      item.write(writer, value);
      writer.leave();
    },
  };
}

/** A list of any length. */
export function list<T>(item: Schema<T>): Schema<readonly T[]> {
  requireNotVoid(item, "a list");
  return {
    kind: "list",
    sizeBytesMin: 1,
    read: (reader) => readItems(reader, item, reader.count(item.sizeBytesMin)),
    write(writer, value) {
      writer.uintSafe(value.length);
      writeItems(writer, item, value);
    },
  };
}

/** A list of exactly `length` entries. */
export function fixedList<T>(item: Schema<T>, length: number): Schema<readonly T[]> {
  requireNotVoid(item, "a list");
  requireLength(length, "a fixed list");
  return {
    kind: "list",
    sizeBytesMin: length * item.sizeBytesMin,
    read: (reader) => readItems(reader, item, length),
    write(writer, value) {
      if (value.length !== length) writer.fail("a list has the wrong length", `${length}`, `${value.length}`);
      writeItems(writer, item, value);
    },
  };
}

const MAP_KEYS = ["bool", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "uint", "int", "str", "enum"];

/** A map; keys are integers, bools, strings or enums, each of them once. Entries keep the order of insertion. */
export function map<K extends string | number | bigint | boolean, V>(
  key: Schema<K>,
  value: Schema<V>,
): Schema<ReadonlyMap<K, V>> {
  requireNotVoid(value, "a map");
  if (!MAP_KEYS.includes(key.kind)) {
    throw new SchemaError("a map cannot have such keys", { expected: MAP_KEYS.join(", "), got: key.kind });
  }
  return {
    kind: "map",
    sizeBytesMin: 1,
    read(reader) {
      const count = reader.count(key.sizeBytesMin + value.sizeBytesMin);
      const entries = new Map<K, V>();
      for (let i = 0; i < count; i++) {
        const start = reader.offset;
        reader.enter(i);
        const name = key.read(reader);
        if (entries.has(name)) reader.fail("a map has a key twice", "distinct keys", JSON.stringify(`${name}`), start);
        entries.set(name, value.read(reader));
        reader.leave();
      }
      return entries;
    },
    write(writer, entries) {
      writer.uintSafe(entries.size);
      for (const [name, item] of entries) {
        writer.enter(`${name}`);
        key.write(writer, name);
        value.write(writer, item);
        writer.leave();
      }
    },
  };
}

/** Fields one after the other, in the order of the object's keys. */
export function struct<F extends Record<string, Schema<unknown>>>(
  fields: F,
): Schema<{ readonly [K in keyof F]: TypeOf<F[K]> }> {
  type Value = { readonly [K in keyof F]: TypeOf<F[K]> };
  const names = Object.keys(fields);
  if (names.length === 0) throw new SchemaError("a struct has no fields", { expected: "at least one" });
  for (const name of names) requireNotVoid(fields[name], "a struct");
  return {
    kind: "struct",
    sizeBytesMin: names.reduce((sum, name) => sum + fields[name].sizeBytesMin, 0),
    read(reader) {
      const value: Record<string, unknown> = {};
      for (const name of names) {
        reader.enter(name);
        value[name] = fields[name].read(reader);
        reader.leave();
      }
      return value as Value;
    },
    write(writer, value) {
      for (const name of names) {
        writer.enter(name);
        fields[name].write(writer, value[name]);
        writer.leave();
      }
    },
  };
}

/** The values of a union: `{ kind: "name", value }` for each of its members. */
export type UnionValue<M extends Record<string, readonly [number, Schema<unknown>]>> = {
  [K in keyof M]: { readonly kind: K; readonly value: TypeOf<M[K][1]> };
}[keyof M];

/** One of several types, told apart by a tag: `union({ text: [0, str], count: [1, uint] })`; tags ascend. */
export function union<M extends Record<string, readonly [number, Schema<unknown>]>>(members: M): Schema<UnionValue<M>> {
  const names = Object.keys(members);
  requireAscending(names, (name) => members[name][0], "a union");
  const nameOfTag = new Map(names.map((name) => [members[name][0], name]));
  return {
    kind: "union",
    sizeBytesMin: 1 + Math.min(...names.map((name) => members[name][1].sizeBytesMin)),
    read(reader) {
      const start = reader.offset;
      const tag = reader.uintSafe();
      const name = nameOfTag.get(tag);
      if (name === undefined) {
        return reader.fail("a union has a tag that its schema does not know", tagsOf(nameOfTag), `${tag}`, start);
      }
      reader.enter(name);
      const value = members[name][1].read(reader);
      reader.leave();
      return { kind: name, value } as UnionValue<M>;
    },
    write(writer, value) {
      const name = value.kind as string;
      if (!Object.hasOwn(members, name)) writer.fail("a union has no such member", names.join(", "), name);
      writer.uintSafe(members[name][0]);
      writer.enter(name);
      members[name][1].write(writer, value.value);
      writer.leave();
    },
  };
}

/** One of several names, each with its number: `enumeration({ red: 0, green: 1 })`; numbers ascend. */
export function enumeration<M extends Record<string, number>>(members: M): Schema<keyof M & string> {
  const names = Object.keys(members);
  requireAscending(names, (name) => members[name], "an enum");
  const nameOfTag = new Map(names.map((name) => [members[name], name]));
  return {
    kind: "enum",
    sizeBytesMin: 1,
    read(reader) {
      const start = reader.offset;
      const tag = reader.uintSafe();
      const name = nameOfTag.get(tag);
      if (name === undefined) {
        return reader.fail("an enum has a value that its schema does not know", tagsOf(nameOfTag), `${tag}`, start);
      }
      return name;
    },
    write(writer, name) {
      if (!Object.hasOwn(members, name)) writer.fail("an enum has no such member", names.join(", "), name);
      writer.uintSafe(members[name]);
    },
  };
}

/** A schema that is made when it is first used, for types that contain themselves. */
export function lazy<T>(make: () => Schema<T>): Schema<T> {
  let made: Schema<T> | undefined;
  const get = (): Schema<T> => (made ??= make());
  return {
    kind: "lazy",
    sizeBytesMin: 1,
    read: (reader) => get().read(reader),
    write: (writer, value) => get().write(writer, value),
  };
}

function readItems<T>(reader: BareReader, item: Schema<T>, count: number): T[] {
  const items: T[] = [];
  for (let i = 0; i < count; i++) {
    reader.enter(i);
    items.push(item.read(reader));
    reader.leave();
  }
  return items;
}

function writeItems<T>(writer: BareWriter, item: Schema<T>, items: readonly T[]): void {
  for (let i = 0; i < items.length; i++) {
    writer.enter(i);
    item.write(writer, items[i]);
    writer.leave();
  }
}

function tagsOf(nameOfTag: ReadonlyMap<number, string>): string {
  return [...nameOfTag].map(([tag, name]) => `${tag} (${name})`).join(", ");
}

function requireNotVoid(schema: Schema<unknown>, where: string): void {
  if (schema.kind === "void") throw new SchemaError(`${where} cannot hold void`, { expected: "void in a union only" });
}

function requireLength(length: number, what: string): void {
  if (Number.isSafeInteger(length) && length > 0) return;
  throw new SchemaError(`${what} has an impossible length`, { expected: "a whole number above 0", got: `${length}` });
}

function requireAscending(names: readonly string[], tagOf: (name: string) => number, what: string): void {
  if (names.length === 0) throw new SchemaError(`${what} has no members`, { expected: "at least one" });
  let previous = -1;
  for (const name of names) {
    const tag = tagOf(name);
    if (!Number.isSafeInteger(tag) || tag <= previous) {
      throw new SchemaError(`the tags of ${what} do not ascend`, {
        where: name,
        expected: `a whole number above ${previous}`,
        got: `${tag}`,
      });
    }
    previous = tag;
  }
}

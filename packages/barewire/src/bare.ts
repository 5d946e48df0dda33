// BARE schemas as TypeScript values (draft-devault-bare): each call gives a schema value (schema/ast.ts), the same that
// the reader of the schema language gives, and the TypeScript type of its values is inferred, `TypeOf<typeof schema>`.
// Unions are discriminated unions, `{ kind, value }`; lists of numbers of a fixed width are typed arrays; names and
// recursion go through `named` and `lazy`.

import type { BareLimits } from "./bare-io.ts";
import type { ArrayKind, ArrayOfKind } from "./codec/arrays.ts";
import { compile } from "./codec/codec.ts";
import { LENGTH_MAX } from "./schema/ast.ts";
import type { AliasType, BareSchema, BareType, Definition, ScalarKind, Typed, TypeOf } from "./schema/ast.ts";
import { recursionWithoutName, SchemaError } from "./schema/errors.ts";
import { isMapKey, MAP_KEYS, partsOf } from "./schema/walk.ts";

export { Codec, compile } from "./codec/codec.ts";
export { SchemaError } from "./schema/errors.ts";
export type { TypeOf } from "./schema/ast.ts";

/** A type of BARE and the TypeScript type of its values. */
export type Schema<T> = Typed<T>;

/** Decodes exactly one value from all of `bytes`. Throws `BareError`, with the offset, on anything not canonical. */
export function decode<T>(schema: Schema<T>, bytes: Uint8Array, limits?: BareLimits): T {
  return compile(schema).decode(bytes, limits);
}

/**
 * Encodes one value. Throws `BareError`, with the path, where the value does not fit its schema. The bytes may share
 * their buffer with other messages; `slice()` gives a copy whose buffer is its own.
 */
export function encode<T>(schema: Schema<T>, value: T, limits?: BareLimits): Uint8Array<ArrayBuffer> {
  return compile(schema).encode(value, limits);
}

/** A type without parts. */
export type Scalar<K extends ScalarKind, T> = { readonly kind: K; readonly _value?: () => T };

/** An integer of up to 64 bits as a number: 2^53 and more, on either side of zero, is refused. */
export type SafeScalar<K extends ScalarKind> = Scalar<K, number> & { readonly safe: true };

export const bool: Scalar<"bool", boolean> = { kind: "bool" };
export const u8: Scalar<"u8", number> = { kind: "u8" };
export const u16: Scalar<"u16", number> = { kind: "u16" };
export const u32: Scalar<"u32", number> = { kind: "u32" };
export const u64: Scalar<"u64", bigint> = { kind: "u64" };
export const i8: Scalar<"i8", number> = { kind: "i8" };
export const i16: Scalar<"i16", number> = { kind: "i16" };
export const i32: Scalar<"i32", number> = { kind: "i32" };
export const i64: Scalar<"i64", bigint> = { kind: "i64" };
export const f32: Scalar<"f32", number> = { kind: "f32" };
export const f64: Scalar<"f64", number> = { kind: "f64" };
export const uint: Scalar<"uint", bigint> = { kind: "uint" };
export const int: Scalar<"int", bigint> = { kind: "int" };
export const str: Scalar<"str", string> = { kind: "str" };

/** `uint` as a number. */
export const uintSafe: SafeScalar<"uint"> = { kind: "uint", safe: true };
/** `int` as a number. */
export const intSafe: SafeScalar<"int"> = { kind: "int", safe: true };
/** `u64` as a number. */
export const u64Safe: SafeScalar<"u64"> = { kind: "u64", safe: true };
/** `i64` as a number. */
export const i64Safe: SafeScalar<"i64"> = { kind: "i64", safe: true };

/** Bytes of any length. */
export const data: { readonly kind: "data"; readonly _value?: () => Uint8Array } = { kind: "data" };

/** Nothing at all; allowed as a member of a union, or alone. */
export const nothing: Scalar<"void", undefined> = { kind: "void" };

/** Exactly `sizeBytes` bytes. */
export function fixedData(sizeBytes: number): { kind: "data"; length: number; _value?: () => Uint8Array } {
  requireLength(sizeBytes, "fixed data");
  return { kind: "data", length: sizeBytes };
}

/**
 * A value or `undefined`. JavaScript has one `undefined`: of an optional of an optional, one that is there and holds
 * nothing is read as one that is not there.
 */
export function optional<T>(item: Schema<T>): Schema<T | undefined> {
  requireNotVoid(item, "an optional");
  return { kind: "optional", type: item };
}

// The kind of number, as far as the compiler knows: `never` for other types, and for a type declared as
// `Schema<number>`.
type ArrayKindOf<I> = [I] extends [{ readonly safe: true }]
  ? never
  : [I] extends [{ readonly kind: ArrayKind }]
    ? I["kind"]
    : "_array" extends keyof I
      ? Extract<I["_array"], ArrayKind>
      : never;

/** What a list of items of a type is: a typed array for numbers of a fixed width, an array otherwise. */
export type ListOf<I> = [ArrayKindOf<I>] extends [never] ? readonly TypeOf<I>[] : ArrayOfKind<ArrayKindOf<I>>;

/** A list of any length. */
export function list<I extends Schema<unknown>>(item: I): Schema<ListOf<I>> {
  requireNotVoid(item, "a list");
  return { kind: "list", type: item };
}

/** A list of exactly `length` entries. */
export function fixedList<I extends Schema<unknown>>(item: I, length: number): Schema<ListOf<I>> {
  requireNotVoid(item, "a list");
  requireLength(length, "a fixed list");
  return { kind: "list", type: item, length };
}

/**
 * A map; keys are integers, bools, strings, bytes or enums, each of them once. Entries keep the order of insertion.
 * Keys that are bytes are told apart by their content, though JavaScript's `Map` finds them by identity only.
 */
export function map<K extends string | number | bigint | boolean | Uint8Array, V>(
  key: Schema<K>,
  value: Schema<V>,
): Schema<ReadonlyMap<K, V>> {
  requireNotVoid(value, "a map");
  // What a lazy type stands for cannot be asked yet.
  if (key.kind !== "alias" && !isMapKey(key)) {
    throw new SchemaError("a map cannot have such keys", { expected: MAP_KEYS, got: key.kind });
  }
  return { kind: "map", key, value };
}

/** The values of a struct. */
export type StructValue<F extends Record<string, Schema<unknown>>> = { readonly [K in keyof F]: TypeOf<F[K]> };

/** A struct with its fields' types at hand. */
export type Struct<F extends Record<string, Schema<unknown>>> = Extract<BareType, { kind: "struct" }> & {
  readonly _value?: () => StructValue<F>;
};

/** Fields one after the other, in the order of the object's keys. */
export function struct<F extends Record<string, Schema<unknown>>>(fields: F): Struct<F> {
  const entries = Object.entries(fields);
  if (entries.length === 0) throw new SchemaError("a struct has no fields", { expected: "at least one" });
  for (const [name, type] of entries) {
    requireNotVoid(type, "a struct");
    if (!/^\d/.test(name) && name !== "__proto__") continue;
    // JavaScript puts keys that look like numbers first, whatever the order in the text.
    throw new SchemaError("a field has a name that JavaScript objects treat apart", {
      expected: "a name that does not start with a digit, and not __proto__",
      got: name,
    });
  }
  return { kind: "struct", fields: entries.map(([name, type]) => ({ name, type })) };
}

/** The values of a union: `{ kind: "name", value }` for each of its members. */
export type UnionValue<M extends Record<string, readonly [number, Schema<unknown>]>> = {
  [K in keyof M]: { readonly kind: K; readonly value: TypeOf<M[K][1]> };
}[keyof M];

/** One of several types, told apart by a tag: `union({ text: [0, str], count: [1, uint] })`; tags ascend. */
export function union<M extends Record<string, readonly [number, Schema<unknown>]>>(members: M): Schema<UnionValue<M>> {
  const found = Object.entries(members).map(([name, [tag, type]]) => ({ name, tag, type }));
  requireAscending(found, "a union");
  return { kind: "union", members: found };
}

/** One of several names, each with its number: `enumeration({ red: 0, green: 1 })`; numbers ascend. */
export function enumeration<M extends Record<string, number>>(
  members: M,
): Extract<BareType, { kind: "enum" }> & { readonly _value?: () => keyof M & string } {
  const found = Object.entries(members).map(([name, tag]) => ({ name, tag }));
  requireAscending(found, "an enum");
  return { kind: "enum", members: found };
}

/** A type that is made when it is first used, for types that contain themselves. */
export function lazy<T>(make: () => Schema<T>): Schema<T> {
  let made: Schema<T> | undefined;
  return { kind: "alias", name: "", target: () => (made ??= make()) };
}

/** A type that has a name. */
export type Named<S> = AliasType & { readonly _value?: () => TypeOf<S>; readonly _array?: ArrayKindOf<S> };

/** A type with a name, which schemas and their texts refer to it by. */
export function named<S extends Schema<unknown>>(name: string, type: S): Named<S> {
  if (!/^[A-Z][A-Za-z0-9]*$/.test(name)) {
    const expected = "a capital letter, then letters and digits";
    throw new SchemaError("a type's name has a form that BARE does not allow", { expected, got: JSON.stringify(name) });
  }
  return { kind: "alias", name, target: () => type };
}

/**
 * A whole schema: the named types given, and those that they use, each before its first use. Throws `SchemaError` where
 * two types have one name, or a type leads back to itself without one.
 */
export function schema(...types: readonly Schema<unknown>[]): BareSchema {
  const definitions: Definition[] = [];
  const targets = new Map<string, BareType>();
  const inside = new Set<BareType>(); // what stands behind aliases without names
  const collect = (type: BareType): void => {
    if (type.kind !== "alias") return partsOf(type).forEach(collect);
    const target = type.target();
    if (targets.get(type.name) === target) return;
    if (type.name === "") {
      if (inside.has(target)) throw recursionWithoutName();
      inside.add(target);
      collect(target);
      inside.delete(target);
      return;
    }
    if (targets.has(type.name)) {
      throw new SchemaError("two types have one name", { expected: "a name for each", got: type.name });
    }
    targets.set(type.name, target);
    collect(target);
    definitions.push({ name: type.name, type: target });
  };
  for (const type of types) {
    if (type.kind === "alias" && type.name !== "") collect(type);
    else throw new SchemaError("a schema is made of named types", { got: type.kind, hint: 'bare.named("Name", ...)' });
  }
  return { definitions };
}

function requireNotVoid(type: Schema<unknown>, where: string): void {
  if (type.kind === "void") throw new SchemaError(`${where} cannot hold void`, { expected: "void in a union only" });
}

function requireLength(length: number, what: string): void {
  if (Number.isSafeInteger(length) && length > 0 && length <= LENGTH_MAX) return;
  throw new SchemaError(`${what} has an impossible length`, {
    expected: `a whole number from 1 to ${LENGTH_MAX}`,
    got: `${length}`,
  });
}

function requireAscending(members: readonly { readonly name: string; readonly tag: number }[], what: string): void {
  if (members.length === 0) throw new SchemaError(`${what} has no members`, { expected: "at least one" });
  let previous = -1;
  for (const { name, tag } of members) {
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

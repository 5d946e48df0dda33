// Reading and writing values of any type by walking the type: slow, plain, and sure of where it is. The fast codec
// calls it to say what is wrong with a message or a value, and tests hold the fast codec to it. Nothing here is
// optimised.

import { describe } from "../bare-io.ts";
import type { BareReader, BareWriter } from "../bare-io.ts";
import type { BareType, TypeOfKind, WideKind } from "../schema/ast.ts";
import type { Analysis } from "./analysis.ts";
import { ARRAYS, arrayKind } from "./arrays.ts";
import type { NumberArray } from "./arrays.ts";

const NUMBER_MAX = BigInt(Number.MAX_SAFE_INTEGER);

/** Reads one value. Throws `BareError`. */
export function readValue(type: BareType, reader: BareReader, analysis: Analysis): unknown {
  const levels = analysis.recursive.get(type) ?? 0;
  reader.descend(levels);
  const value = readHere(type, reader, analysis);
  reader.descend(-levels);
  return value;
}

function readHere(type: BareType, reader: BareReader, analysis: Analysis): unknown {
  const read = (part: BareType): unknown => readValue(part, reader, analysis);
  switch (type.kind) {
    case "void":
      return undefined;
    case "uint":
    case "int":
    case "u64":
    case "i64":
      return readWide(type, reader);
    case "data":
      return reader.data(type.length);
    case "optional":
      return reader.bool() ? within(reader, "value", () => read(type.type)) : undefined;
    case "list":
      return readList(type, reader, analysis);
    case "map":
      return readMap(type, reader, analysis);
    case "struct":
      return Object.fromEntries(
        type.fields.map((field) => [field.name, within(reader, field.name, () => read(field.type))]),
      );
    case "union":
      return readUnion(type, reader, analysis);
    case "enum":
      return readTag(type.members, reader, "an enum has a value that its schema does not know").name;
    case "alias":
      return read(type.target());
    default:
      return reader[type.kind]();
  }
}

/** Writes one value. Throws `BareError`. */
export function writeValue(type: BareType, writer: BareWriter, value: unknown, analysis: Analysis): void {
  const levels = analysis.recursive.get(type) ?? 0;
  writer.descend(levels);
  writeHere(type, writer, value, analysis);
  writer.descend(-levels);
}

function writeHere(type: BareType, writer: BareWriter, value: unknown, analysis: Analysis): void {
  const write = (part: BareType, item: unknown): void => writeValue(part, writer, item, analysis);
  switch (type.kind) {
    case "void":
      return;
    case "uint":
    case "int":
    case "u64":
    case "i64":
      return writeWide(type, writer, value);
    case "data":
      return writeData(type, writer, value as Uint8Array);
    case "optional":
      writer.bool(value !== undefined);
      if (value !== undefined) within(writer, "value", () => write(type.type, value));
      return;
    case "list":
      return writeList(type, writer, value, analysis);
    case "map":
      return writeMap(type, writer, value, analysis);
    case "struct":
      for (const field of type.fields) {
        const part = partOf(writer, value, field.name);
        within(writer, field.name, () => write(field.type, part));
      }
      return;
    case "union":
      return writeUnion(type, writer, value, analysis);
    case "enum":
      return writer.uintSafe(memberNamed(type.members, writer, value, "an enum has no such member").tag);
    case "alias":
      return write(type.target(), value);
    default:
      // The writer's method of the kind's name takes values of that kind, and checks that it was given one.
      (writer[type.kind] as (item: unknown) => void).call(writer, value);
  }
}

// What readers and writers share for keeping track of the place.
type Tracker = Pick<BareReader, "enter" | "leave">;

function within<T>(tracker: Tracker, step: string | number, go: () => T): T {
  tracker.enter(step);
  const result = go();
  tracker.leave();
  return result;
}

function readWide({ kind, safe }: TypeOfKind<WideKind>, reader: BareReader): bigint | number {
  const start = reader.offset;
  const value = reader[kind]();
  if (safe !== true) return value;
  if (value > NUMBER_MAX || value < -NUMBER_MAX) {
    reader.fail("an integer is too large", "at most 2^53 - 1", `${value}`, start);
  }
  return Number(value);
}

function writeWide({ kind, safe }: TypeOfKind<WideKind>, writer: BareWriter, value: unknown): void {
  if (safe !== true) return writer[kind](value as bigint);
  if (!Number.isSafeInteger(value)) {
    writer.fail("a number is out of range", "a whole number to 2^53 - 1", describe(value));
  }
  writer[kind](BigInt(value as number));
}

function writeData({ length }: TypeOfKind<"data">, writer: BareWriter, value: Uint8Array): void {
  if (length === undefined) return writer.data(value);
  if (value?.length !== length) {
    writer.fail("data has the wrong size", `${length} bytes`, describe(value?.length));
  }
  writer.raw(value);
}

function readList(type: TypeOfKind<"list">, reader: BareReader, analysis: Analysis): unknown {
  const least = analysis.sizes.get(type.type)!;
  const count = type.length ?? reader.count(least);
  if (count > reader.remainingBytes / least) {
    reader.fail("a message ends too early", `${count} entries`, `${reader.remainingBytes} bytes`);
  }
  const items: unknown[] = [];
  for (let i = 0; i < count; i++) items.push(within(reader, i, () => readValue(type.type, reader, analysis)));
  const kind = arrayKind(type.type);
  if (kind === undefined) return items;
  const Numbers = ARRAYS[kind] as new (items: readonly unknown[]) => NumberArray;
  return new Numbers(items);
}

function writeList(type: TypeOfKind<"list">, writer: BareWriter, value: unknown, analysis: Analysis): void {
  const isList = Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
  if (!isList) writer.fail("a list is missing", "an array", describe(value));
  const items = value as readonly unknown[] | NumberArray;
  if (type.length === undefined) writer.uintSafe(items.length);
  else if (items.length !== type.length) {
    writer.fail("a list has the wrong length", `${type.length}`, `${items.length}`);
  }
  for (let i = 0; i < items.length; i++) {
    within(writer, i, () => writeValue(type.type, writer, items[i], analysis));
  }
}

function readMap(type: TypeOfKind<"map">, reader: BareReader, analysis: Analysis): Map<unknown, unknown> {
  const least = analysis.sizes.get(type.key)! + analysis.sizes.get(type.value)!;
  const count = reader.count(least);
  const entries = new Map<unknown, unknown>();
  const seen = new Set<unknown>();
  for (let i = 0; i < count; i++) {
    const start = reader.offset;
    reader.enter(i);
    const key = readValue(type.key, reader, analysis);
    const identity = keyIdentity(key);
    if (seen.has(identity)) {
      reader.fail("a map has a key twice", "distinct keys", JSON.stringify(String(identity)), start);
    }
    seen.add(identity);
    entries.set(key, readValue(type.value, reader, analysis));
    reader.leave();
  }
  return entries;
}

function writeMap(type: TypeOfKind<"map">, writer: BareWriter, value: unknown, analysis: Analysis): void {
  if (!(value instanceof Map)) writer.fail("a map is missing", "a Map", describe(value));
  const entries = value as ReadonlyMap<unknown, unknown>;
  writer.uintSafe(entries.size);
  const seen = new Set<unknown>();
  for (const [key, item] of entries) {
    writer.enter(String(keyIdentity(key)));
    if (seen.has(keyIdentity(key))) writer.fail("a map has a key twice", "distinct keys");
    seen.add(keyIdentity(key));
    writeValue(type.key, writer, key, analysis);
    writeValue(type.value, writer, item, analysis);
    writer.leave();
  }
}

/** What tells keys apart: bytes by their content, which a JavaScript `Map` does not. */
export function keyIdentity(key: unknown): unknown {
  return key instanceof Uint8Array ? Array.from(key, (byte) => String.fromCharCode(byte)).join("") : key;
}

function readUnion(type: TypeOfKind<"union">, reader: BareReader, analysis: Analysis): unknown {
  const member = readTag(type.members, reader, "a union has a tag that its schema does not know");
  return within(reader, member.name, () => ({
    kind: member.name,
    value: readValue(member.type, reader, analysis),
  }));
}

function writeUnion(type: TypeOfKind<"union">, writer: BareWriter, value: unknown, analysis: Analysis): void {
  const kind = partOf(writer, value, "kind");
  const member = memberNamed(type.members, writer, kind, "a union has no such member");
  writer.uintSafe(member.tag);
  const part = partOf(writer, value, "value");
  within(writer, member.name, () => writeValue(member.type, writer, part, analysis));
}

interface Member {
  readonly name: string;
  readonly tag: number;
}

function readTag<M extends Member>(members: readonly M[], reader: BareReader, summary: string): M {
  const start = reader.offset;
  const tag = reader.uintSafe();
  const known = members.map((member) => `${member.tag} (${member.name})`).join(", ");
  return members.find((member) => member.tag === tag) ?? reader.fail(summary, known, `${tag}`, start);
}

function memberNamed<M extends Member>(members: readonly M[], writer: BareWriter, name: unknown, summary: string): M {
  const names = members.map((member) => member.name).join(", ");
  return members.find((member) => member.name === name) ?? writer.fail(summary, names, describe(name));
}

function partOf(writer: BareWriter, value: unknown, name: string): unknown {
  if (typeof value === "object" && value !== null) return Reflect.get(value, name);
  return writer.fail("an object is missing", "an object", describe(value));
}

// From a type to a function that reads it: closures over closures, made once. Nothing is generated, so pages that
// forbid `eval` can use it. Types that the engine would have to tell apart in one place are kept in places of their
// own: see struct-readers.ts.

import { resolveType } from "../schema/ast.ts";
import type { BareType, ScalarKind, TypeOfKind } from "../schema/ast.ts";
import type { Analysis } from "./analysis.ts";
import { arrayKind, ARRAYS, IS_LITTLE_ENDIAN } from "./arrays.ts";
import type { ArrayKind } from "./arrays.ts";
import * as input from "./input.ts";
import { keyIdentity } from "./reference.ts";
import { CHAIN_FIELDS_MAX, FIELDS_PER_PART, READ_PARTS } from "./struct-readers.ts";
import type { Read, ReadFields } from "./struct-readers.ts";
import { readStr } from "./text.ts";

const SCALAR_READERS: Readonly<Record<ScalarKind, Read>> = {
  u8: input.readU8,
  u16: input.readU16,
  u32: input.readU32,
  u64: input.readU64,
  i8: input.readI8,
  i16: input.readI16,
  i32: input.readI32,
  i64: input.readI64,
  f32: input.readF32,
  f64: input.readF64,
  uint: input.readUint,
  int: input.readInt,
  bool: input.readBool,
  str: readStr,
  void: () => undefined,
};

const SAFE_READERS = {
  uint: input.readVarint,
  int: input.readIntSafe,
  u64: input.readU64Safe,
  i64: input.readI64Safe,
} as const;

/** The reader of a type. `analysis` is that of the type, or of one that holds it. */
export function compileReader(type: BareType, analysis: Analysis): Read {
  return new ReaderCompiler(analysis).compile(type);
}

class ReaderCompiler {
  readonly #analysis: Analysis;
  readonly #done = new Map<BareType, Read>();

  constructor(analysis: Analysis) {
    this.#analysis = analysis;
  }

  compile(type: BareType): Read {
    const known = this.#done.get(type);
    if (known !== undefined) return known;
    const levels = this.#analysis.recursive.get(type);
    if (levels === undefined) {
      const read = this.#compile(type);
      this.#done.set(type, read);
      return read;
    }
    // A type that holds itself: whoever needs it while it is being made gets a way to it.
    const deep: Read = (from) => {
      from.depth += levels;
      if (from.depth > from.depthMax) input.reject();
      const value = inner(from);
      from.depth -= levels;
      return value;
    };
    this.#done.set(type, deep);
    const inner = this.#compile(type);
    return deep;
  }

  #compile(type: BareType): Read {
    switch (type.kind) {
      case "alias":
        return this.compile(type.target());
      case "uint":
      case "int":
      case "u64":
      case "i64":
        return type.safe === true ? SAFE_READERS[type.kind] : SCALAR_READERS[type.kind];
      case "data":
        return dataReader(type.length);
      case "optional": {
        const read = this.compile(type.type);
        return (from) => (input.readBool(from) ? read(from) : undefined);
      }
      case "list":
        return this.#list(type);
      case "map":
        return this.#map(type);
      case "struct":
        return this.#struct(type);
      case "union":
        return this.#union(type);
      case "enum":
        return enumReader(type);
      default:
        return SCALAR_READERS[type.kind];
    }
  }

  #list({ type, length }: TypeOfKind<"list">): Read {
    const least = this.#analysis.sizes.get(type)!;
    const kind = arrayKind(type);
    const read = this.compile(type);
    if (kind !== undefined) return arrayReader(kind, least, read, length);
    return (from) => {
      const count = length ?? input.readCount(from, least);
      if (length !== undefined && count * least > from.end - from.offset) input.reject();
      const items: unknown[] = [];
      for (let i = 0; i < count; i++) items.push(read(from));
      return items;
    };
  }

  #map({ key, value }: TypeOfKind<"map">): Read {
    const least = this.#analysis.sizes.get(key)! + this.#analysis.sizes.get(value)!;
    const readKey = this.compile(key);
    const readValue = this.compile(value);
    if (resolveType(key).kind === "data") return bytesMapReader(readKey, readValue, least);
    return (from) => {
      const count = input.readCount(from, least);
      const entries = new Map<unknown, unknown>();
      for (let i = 0; i < count; i++) {
        const name = readKey(from);
        entries.set(name, readValue(from));
        if (entries.size !== i + 1) input.reject();
      }
      return entries;
    };
  }

  #struct({ fields }: TypeOfKind<"struct">): Read {
    const readers = fields.map((field) => this.compile(field.type));
    const names = fields.map((field) => field.name);
    return fields.length > CHAIN_FIELDS_MAX ? loopReader(names, readers) : partsReader(names, readers);
  }

  #union({ members }: TypeOfKind<"union">): Read {
    const byTag = new Map(
      members.map((member) => [member.tag, { name: member.name, read: this.compile(member.type) }]),
    );
    // Small tags, as they mostly are, are looked up by index.
    const bySmallTag = Array.from({ length: SMALL_TAGS }, (_, tag) => byTag.get(tag));
    return (from) => {
      const tag = input.readVarint(from);
      const member = (tag < SMALL_TAGS ? bySmallTag[tag] : byTag.get(tag)) ?? input.reject();
      return { kind: member.name, value: member.read(from) };
    };
  }
}

const SMALL_TAGS = 16;

// Plain objects: their prototype is that of `{}`. Each struct has a constructor, and so a shape, of its own.
function makeStruct(): new () => Record<string, unknown> {
  const Struct = function () {} as unknown as new () => Record<string, unknown>;
  Struct.prototype = Object.prototype;
  return Struct;
}

function loopReader(names: readonly string[], readers: readonly Read[]): Read {
  const Struct = makeStruct();
  return (from) => {
    const struct = new Struct();
    for (let i = 0; i < names.length; i++) struct[names[i]] = readers[i](from);
    return struct;
  };
}

function partsReader(names: readonly string[], readers: readonly Read[]): Read {
  const Struct = makeStruct();
  let rest: ReadFields | undefined;
  for (let end = names.length; end > 0;) {
    const start = FIELDS_PER_PART * Math.floor((end - 1) / FIELDS_PER_PART);
    const part = {
      Struct,
      names: filled(names.slice(start, end), ""),
      readers: filled(readers.slice(start, end), SCALAR_READERS.void),
      count: end - start,
      rest,
    };
    rest = nextPart()(part);
    end = start;
  }
  return rest!;
}

function enumReader({ members }: TypeOfKind<"enum">): Read {
  const byTag = new Map(members.map(({ tag, name }) => [tag, name]));
  const bySmallTag = Array.from({ length: SMALL_TAGS }, (_, tag) => byTag.get(tag));
  return (from) => {
    const tag = input.readVarint(from);
    return (tag < SMALL_TAGS ? bySmallTag[tag] : byTag.get(tag)) ?? input.reject();
  };
}

function dataReader(length: number | undefined): Read {
  if (length !== undefined) return (from) => input.readBytes(from, length);
  return (from) => input.readBytes(from, input.readVarint(from));
}

// Keys that are bytes are told apart by their content.
function bytesMapReader(readKey: Read, readValue: Read, least: number): Read {
  return (from) => {
    const count = input.readCount(from, least);
    const entries = new Map<unknown, unknown>();
    const seen = new Set<unknown>();
    for (let i = 0; i < count; i++) {
      const name = readKey(from);
      if (seen.size === seen.add(keyIdentity(name)).size) input.reject();
      entries.set(name, readValue(from));
    }
    return entries;
  };
}

function arrayReader(kind: ArrayKind, least: number, read: Read, length: number | undefined): Read {
  const Numbers = ARRAYS[kind] as new (from: number | ArrayBuffer) => Float32Array | BigInt64Array;
  return (from) => {
    const count = length ?? input.readVarint(from);
    const sizeBytes = count * least;
    if (sizeBytes > from.end - from.offset) input.reject();
    if (sizeBytes > input.LOOP_BYTES_MAX && IS_LITTLE_ENDIAN)
      return new Numbers(input.readBytes(from, sizeBytes).buffer);
    const numbers = new Numbers(count);
    for (let i = 0; i < count; i++) numbers[i] = read(from) as never;
    return numbers;
  };
}

function filled<T>(items: readonly T[], filler: T): readonly T[] {
  return Array.from({ length: FIELDS_PER_PART }, (_, i) => items[i] ?? filler);
}

let partsTaken = 0;

function nextPart(): (typeof READ_PARTS)[number] {
  return READ_PARTS[Math.min(partsTaken++, READ_PARTS.length - 1)];
}

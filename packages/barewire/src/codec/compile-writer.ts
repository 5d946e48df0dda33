// From a type to a function that writes it; the mirror image of compile-reader.ts.

import { resolveType } from "../schema/ast.ts";
import type { BareType, ScalarKind, TypeOfKind } from "../schema/ast.ts";
import type { Analysis } from "./analysis.ts";
import { arrayKind, ARRAYS, IS_LITTLE_ENDIAN } from "./arrays.ts";
import type { ArrayKind, NumberArray } from "./arrays.ts";
import { reject } from "./input.ts";
import * as output from "./output.ts";
import { keyIdentity } from "./reference.ts";
import { CHAIN_FIELDS_MAX, FIELDS_PER_PART } from "./struct-readers.ts";
import { WRITE_PARTS } from "./struct-writers.ts";
import type { Write, WriteFields } from "./struct-writers.ts";

const SCALAR_WRITERS: Readonly<Record<ScalarKind, Write>> = {
  u8: output.writeU8,
  u16: output.writeU16,
  u32: output.writeU32,
  u64: output.writeU64,
  i8: output.writeI8,
  i16: output.writeI16,
  i32: output.writeI32,
  i64: output.writeI64,
  f32: output.writeF32,
  f64: output.writeF64,
  uint: output.writeUint,
  int: output.writeInt,
  bool: output.writeBool,
  str: output.writeStr,
  void: () => undefined,
};

const SAFE_WRITERS = {
  uint: output.writeVarint,
  int: output.writeIntSafe,
  u64: output.writeU64Safe,
  i64: output.writeI64Safe,
} as const;

/** The writer of a type. `analysis` is that of the type, or of one that holds it. */
export function compileWriter(type: BareType, analysis: Analysis): Write {
  return new WriterCompiler(analysis).compile(type);
}

class WriterCompiler {
  readonly #analysis: Analysis;
  readonly #done = new Map<BareType, Write>();

  constructor(analysis: Analysis) {
    this.#analysis = analysis;
  }

  compile(type: BareType): Write {
    const known = this.#done.get(type);
    if (known !== undefined) return known;
    const levels = this.#analysis.recursive.get(type);
    if (levels === undefined) {
      const write = this.#compile(type);
      this.#done.set(type, write);
      return write;
    }
    const deep: Write = (to, value) => {
      to.depth += levels;
      if (to.depth > to.limits.depthMax) reject();
      inner(to, value);
      to.depth -= levels;
    };
    this.#done.set(type, deep);
    const inner = this.#compile(type);
    return deep;
  }

  #compile(type: BareType): Write {
    switch (type.kind) {
      case "alias":
        return this.compile(type.target());
      case "uint":
      case "int":
      case "u64":
      case "i64":
        return type.safe === true ? SAFE_WRITERS[type.kind] : SCALAR_WRITERS[type.kind];
      case "data":
        return dataWriter(type.length);
      case "optional": {
        const write = this.compile(type.type);
        return (to, value: unknown) => {
          output.writeBool(to, value !== undefined);
          if (value !== undefined) write(to, value as never);
        };
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
        return enumWriter(type);
      default:
        return SCALAR_WRITERS[type.kind];
    }
  }

  #list({ type, length }: TypeOfKind<"list">): Write {
    const kind = arrayKind(type);
    const write = this.compile(type);
    const writeItems: Write = (to, items: readonly never[] | NumberArray) => {
      if (!Array.isArray(items) && !(ArrayBuffer.isView(items) && !(items instanceof DataView))) reject();
      if (length === undefined) output.writeVarint(to, items.length);
      else if (items.length !== length) reject();
      for (let i = 0; i < items.length; i++) write(to, items[i] as never);
    };
    return kind !== undefined && IS_LITTLE_ENDIAN ? arrayWriter(kind, writeItems, length) : writeItems;
  }

  #map({ key, value }: TypeOfKind<"map">): Write {
    const writeKey = this.compile(key);
    const writeValue = this.compile(value);
    const isBytes = resolveType(key).kind === "data";
    return (to, entries: ReadonlyMap<never, never>) => {
      if (!(entries instanceof Map)) reject();
      if (isBytes && new Set([...entries.keys()].map(keyIdentity)).size !== entries.size) reject();
      output.writeVarint(to, entries.size);
      for (const [name, item] of entries) {
        writeKey(to, name);
        writeValue(to, item);
      }
    };
  }

  #struct({ fields }: TypeOfKind<"struct">): Write {
    const writers = fields.map((field) => this.compile(field.type));
    const names = fields.map((field) => field.name);
    const writeFields = fields.length > CHAIN_FIELDS_MAX ? loopWriter(names, writers) : partsWriter(names, writers);
    return (to, struct: Readonly<Record<string, never>>) => {
      // Text has a length, too, and optional fields may be missing: what is no object would pass for one.
      if (typeof struct !== "object" || struct === null) reject();
      writeFields(to, struct);
    };
  }

  #union({ members }: TypeOfKind<"union">): Write {
    const choices = members.map(({ name, tag, type }) => ({ name, tag, write: this.compile(type) }));
    const byName = new Map(choices.map((choice) => [choice.name, choice]));
    return (to, { kind, value }: { readonly kind: string; readonly value: never }) => {
      const choice = byName.get(kind) ?? reject();
      output.writeVarint(to, choice.tag);
      choice.write(to, value);
    };
  }
}

function loopWriter(names: readonly string[], writers: readonly Write[]): WriteFields {
  return (to, struct) => {
    for (let i = 0; i < names.length; i++) writers[i](to, struct[names[i]]);
  };
}

function partsWriter(names: readonly string[], writers: readonly Write[]): WriteFields {
  let rest: WriteFields | undefined;
  for (let end = names.length; end > 0;) {
    const start = FIELDS_PER_PART * Math.floor((end - 1) / FIELDS_PER_PART);
    const part = {
      names: filled(names.slice(start, end), ""),
      writers: filled(writers.slice(start, end), SCALAR_WRITERS.void),
      count: end - start,
      rest,
    };
    rest = nextPart()(part);
    end = start;
  }
  return rest!;
}

function enumWriter({ members }: TypeOfKind<"enum">): Write {
  const tags = new Map(members.map(({ name, tag }) => [name, tag]));
  return (to, name: string) => output.writeVarint(to, tags.get(name) ?? reject());
}

function dataWriter(length: number | undefined): Write {
  if (length === undefined) return output.writeData;
  return (to, value: Uint8Array) => {
    if (!(value instanceof Uint8Array) || value.length !== length) reject();
    output.writeBytes(to, value);
  };
}

// A typed array of the right kind is copied whole; other arrays are written number by number, and checked.
function arrayWriter(kind: ArrayKind, writeItems: Write, length: number | undefined): Write {
  const Numbers = ARRAYS[kind];
  return (to, items: NumberArray) => {
    if (!(items instanceof Numbers) || items.byteLength <= output.SMALL_ARRAY_BYTES_MAX) {
      return writeItems(to, items as never);
    }
    if (length === undefined) output.writeVarint(to, items.length);
    else if (items.length !== length) reject();
    output.writeBytes(to, new Uint8Array(items.buffer, items.byteOffset, items.byteLength));
  };
}

function filled<T>(items: readonly T[], filler: T): readonly T[] {
  return Array.from({ length: FIELDS_PER_PART }, (_, i) => items[i] ?? filler);
}

let partsTaken = 0;

function nextPart(): (typeof WRITE_PARTS)[number] {
  return WRITE_PARTS[Math.min(partsTaken++, WRITE_PARTS.length - 1)];
}

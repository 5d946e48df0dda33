// Random schemas as texts, and random values of any type. Texts rather than built types, so that one generator serves
// the reader of the language, the codec and the peers alike.

import { resolveType } from "@fidelity/barewire";
import type { BareType } from "@fidelity/barewire";
import { pick, randomSize } from "./random.ts";
import type { Random } from "./random.ts";

/** What a random schema may contain. */
export interface Dialect {
  /** Recursion and use before the definition, as older drafts allow; such a schema may be refused. */
  readonly recursive?: boolean;
  /** What @bare-ts/tools writes right: keys that are no bytes; unions whose members are all named, or none of them. */
  readonly peer?: boolean;
}

const SCALARS = ["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "uint", "int", "f32", "f64", "bool", "str"];
const KEYS = ["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "uint", "int", "str", "bool"];
const DEFINITIONS_MAX = 5;
const DEPTH_MAX = 3;
const TAGS = [1, 2, 100, 127, 128, 300, 2 ** 20];

/** Text of a schema that defines `T0` and more. */
export function randomSchemaText(random: Random, dialect: Dialect = {}): string {
  return new SchemaWriter(random, dialect).text();
}

class SchemaWriter {
  readonly #random: Random;
  readonly #dialect: Dialect;
  readonly #count: number;
  readonly #names: string[] = [];
  readonly #keyNames: string[] = [];

  constructor(random: Random, dialect: Dialect) {
    this.#random = random;
    this.#dialect = dialect;
    this.#count = 1 + random(DEFINITIONS_MAX);
  }

  text(): string {
    const lines: string[] = [];
    for (let i = 0; i < this.#count; i++) {
      const name = `T${i}`;
      const isKey = this.#random(4) === 0;
      const type = isKey ? this.#keyType() : this.#type(DEPTH_MAX);
      lines.push(`${this.#random(8) === 0 ? "# A type.\n" : ""}type ${name} ${type}`);
      this.#names.push(name);
      if (isKey) this.#keyNames.push(name);
    }
    return `${lines.join("\n")}\n`;
  }

  #keyType(): string {
    const kind = this.#random(4);
    if (kind === 0) return this.#enum();
    if (kind === 1 && this.#dialect.peer !== true) return pick(this.#random, ["data", "data[4]"]);
    return pick(this.#random, KEYS);
  }

  #type(depth: number): string {
    const random = this.#random;
    const name = this.#name();
    if (name !== undefined && random(6) === 0) return name;
    if (depth === 0) return pick(random, SCALARS);
    switch (random(12)) {
      case 0:
        return `optional<${this.#type(depth - 1)}>`;
      case 1:
        return `list<${this.#type(depth - 1)}>`;
      case 2:
        return `list<${this.#type(depth - 1)}>[${1 + random(4)}]`;
      case 3:
        return `map<${this.#key()}><${this.#type(depth - 1)}>`;
      case 4:
      case 5:
        return this.#struct(depth);
      case 6:
        return this.#enum();
      case 7:
        return random(2) === 0 ? "data" : `data[${1 + random(8)}]`;
      case 8:
      case 9:
        return this.#union(depth);
      default:
        return pick(random, SCALARS);
    }
  }

  #name(): string | undefined {
    if (this.#dialect.recursive === true) return `T${this.#random(this.#count)}`;
    return this.#names.length === 0 ? undefined : pick(this.#random, this.#names);
  }

  #key(): string {
    if (this.#keyNames.length > 0 && this.#random(2) === 0) return pick(this.#random, this.#keyNames);
    if (this.#random(4) === 0 && this.#dialect.peer !== true) return "data";
    return pick(this.#random, KEYS);
  }

  #struct(depth: number): string {
    const count = 1 + randomSize(this.#random, 20);
    return `struct { ${Array.from({ length: count }, (_, i) => `f${i}: ${this.#type(depth - 1)}`).join(" ")} }`;
  }

  #enum(): string {
    return `enum { A B${this.#tag()} C${this.#tag(400)} }`;
  }

  #union(depth: number): string {
    const random = this.#random;
    const isNamed = this.#dialect.peer === true && this.#names.length > 0 && random(2) === 0;
    const members = new Set<string>();
    for (let count = 1 + random(5); count > 0; count--) {
      if (isNamed) members.add(pick(random, this.#names));
      else if (random(4) === 0) members.add("void");
      else members.add(this.#type(depth - 1));
    }
    // A name among types without one: the peer forgets to write their tags.
    const kept = [...members].filter((text) => isNamed || this.#dialect.peer !== true || !/^T\d/.test(text));
    if (kept.length === 0) return "u8";
    let least = 0;
    const tagged = kept.map((text) => {
      const tag = random(4) === 0 ? least + pick(random, TAGS) : least;
      const written = tag === least ? text : `${text} = ${tag}`;
      least = tag + 1;
      return written;
    });
    return `union { ${tagged.join(" | ")} }`;
  }

  #tag(least = 2): string {
    return this.#random(2) === 0 ? "" : ` = ${least + this.#random(300)}`;
  }
}

/** A type whose values are too large, or never end as they are drawn. */
export class TooLargeError extends Error {}

const LETTERS = ["a", "Z", "0", " ", "\u00e9", "\u20ac", "\u{1f600}", "\u0000"];
const VALUE_DEPTH_MAX = 40;
const PARTS_MAX = 1000;

/** A value of a type. Throws `TooLargeError` where it would be large. */
export function randomValue(type: BareType, random: Random): unknown {
  return new ValueMaker(random).value(type, 0);
}

class ValueMaker {
  readonly #random: Random;
  #parts = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  value(type: BareType, depth: number): unknown {
    const random = this.#random;
    if (depth > VALUE_DEPTH_MAX || ++this.#parts > PARTS_MAX) throw new TooLargeError();
    switch (type.kind) {
      case "alias":
        return this.value(resolveType(type), depth);
      case "bool":
        return random(2) === 1;
      case "str":
        return Array.from({ length: random(40) }, () => LETTERS[random(4 + random(5))]).join("");
      case "void":
        return undefined;
      case "data":
        return Uint8Array.from({ length: this.#length(type.length, depth, 50) }, () => random(256));
      case "optional":
        return random(3) === 0 || depth > 8 ? undefined : this.value(type.type, depth + 1);
      case "list":
        return this.#list(type, depth);
      case "map": {
        const entries = Array.from({ length: this.#length(undefined, depth, 4) }, () =>
          [type.key, type.value].map((part) => this.value(part, depth + 1)),
        );
        return distinctKeys(entries as [unknown, unknown][]);
      }
      case "struct":
        return Object.fromEntries(type.fields.map((field) => [field.name, this.value(field.type, depth + 1)]));
      case "union": {
        const scalars = type.members.filter((member) => resolveType(member.type).kind in NUMBERS);
        const member = pick(random, depth > 8 && scalars.length > 0 ? scalars : type.members);
        return { kind: member.name, value: this.value(member.type, depth + 1) };
      }
      case "enum":
        return pick(random, type.members).name;
      default:
        return NUMBERS[type.kind](random);
    }
  }

  #length(length: number | undefined, depth: number, most: number): number {
    const drawn = length ?? (depth > 8 ? 0 : this.#random(most));
    if (drawn > PARTS_MAX) throw new TooLargeError();
    return drawn;
  }

  #list({ type, length }: Extract<BareType, { kind: "list" }>, depth: number): unknown {
    const count = this.#length(length, depth, this.#random(4) === 0 ? 40 : 5);
    const items = Array.from({ length: count }, () => this.value(type, depth + 1));
    const kind = resolveType(type).kind;
    if (!(kind in ARRAYS)) return items;
    const Numbers = ARRAYS[kind as keyof typeof ARRAYS] as new (items: readonly unknown[]) => object;
    return new Numbers(items);
  }
}

// JavaScript's maps tell bytes apart by identity.
function distinctKeys(entries: readonly [unknown, unknown][]): Map<unknown, unknown> {
  const byText = new Map(entries.map((entry) => [String(entry[0]), entry]));
  return new Map(byText.values());
}

type Draw = (random: Random) => number | bigint;

const whole =
  (bits: number, isSigned: boolean): Draw =>
  (random) =>
    random(2 ** bits) - (isSigned ? 2 ** (bits - 1) : 0);

const wide =
  (isSigned: boolean): Draw =>
  (random) => {
    const all = (BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32));
    const some = all >> BigInt(random(64));
    return isSigned ? BigInt.asIntN(64, random(2) === 0 ? some : ~some) : some;
  };

const SHARP_FLOATS = [0, -0, Infinity, -Infinity, NaN, 1, Number.MIN_VALUE];

const float: Draw = (random) => (random(8) === 0 ? pick(random, SHARP_FLOATS) : (random(2 ** 30) - 2 ** 29) / 3);

const NUMBERS: Readonly<Record<string, Draw>> = {
  u8: whole(8, false),
  u16: whole(16, false),
  u32: whole(32, false),
  i8: whole(8, true),
  i16: whole(16, true),
  i32: whole(32, true),
  u64: wide(false),
  i64: wide(true),
  uint: wide(false),
  int: wide(true),
  f32: (random) => Math.fround(Number(float(random))),
  f64: float,
};

const ARRAYS = {
  u8: Uint8Array,
  i8: Int8Array,
  u16: Uint16Array,
  i16: Int16Array,
  u32: Uint32Array,
  i32: Int32Array,
  u64: BigUint64Array,
  i64: BigInt64Array,
  f32: Float32Array,
  f64: Float64Array,
} as const;

// Random types and values of them, the same for a seed in every place. All kinds of BARE are among them, types that
// contain themselves too. The generator is mulberry32 (Tommy Ettinger), whose 32-bit steps are exact everywhere.

import { arrayKind, ARRAYS } from "../codec/arrays.ts";
import type { BareType } from "../schema/ast.ts";

/** Seeded chance. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** A whole number of 32 bits. */
  u32(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** A whole number from 0 to `count` - 1. */
  below(count: number): number {
    return this.u32() % count;
  }

  bool(): boolean {
    return this.below(2) === 1;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)];
  }

  list<T>(count: number, make: (index: number) => T): T[] {
    return Array.from({ length: count }, (_, i) => make(i));
  }

  /** An integer of up to `bits` bits, often a small one. */
  bits(bits: number): bigint {
    const all = (BigInt(this.u32()) << 32n) | BigInt(this.u32());
    return BigInt.asUintN(this.pick([4, 8, 17, 33, bits].filter((width) => width <= bits)), all);
  }
}

const NAMES = ["a", "b", "c", "d", "e"];
const TAG_STEPS = [1, 3, 200, 70_000];
const TEXTS = [
  "",
  "a",
  "zero copy",
  "Größe ∑ 😀",
  "long enough to need an encoder, and plain",
  "länger, und 日本語 dazu 🎛️",
];
const NUMBERS = [0, -0, 1, -1.5, 0.1, 3e38, 5e-324, 2 ** -149, Infinity, -Infinity, NaN];
const SCALARS = ["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f32", "f64", "uint", "int", "bool"] as const;
const SAFE = ["u64", "i64", "uint", "int"] as const;
const KEYS: readonly BareType[] = [{ kind: "str" }, { kind: "u16" }, { kind: "i64" }, { kind: "bool" }];

/** A type that contains itself in every way that it may. */
export const TREE: BareType = {
  kind: "struct",
  fields: [
    { name: "label", type: { kind: "str" } },
    { name: "left", type: { kind: "optional", type: { kind: "alias", name: "Tree", target: () => TREE } } },
    { name: "children", type: { kind: "list", type: { kind: "alias", name: "Tree", target: () => TREE } } },
    {
      name: "named",
      type: { kind: "map", key: { kind: "str" }, value: { kind: "alias", name: "Tree", target: () => TREE } },
    },
  ],
};

function randomLeaf(chance: Chance): BareType {
  switch (chance.below(6)) {
    case 0:
      return { kind: chance.pick(SAFE), safe: true };
    case 1:
      return { kind: "str" };
    case 2:
      return chance.bool() ? { kind: "data" } : { kind: "data", length: 5 };
    case 3: {
      const step = chance.pick(TAG_STEPS);
      const members = NAMES.slice(0, 1 + chance.below(4)).map((name, i) => ({ name, tag: i * step }));
      return { kind: "enum", members };
    }
    default:
      return { kind: chance.pick(SCALARS) };
  }
}

/** A type of up to `depth` levels. */
export function randomType(chance: Chance, depth: number): BareType {
  if (depth === 0) return randomLeaf(chance);
  const part = (): BareType => randomType(chance, chance.below(depth));
  switch (chance.below(7)) {
    case 0:
      return { kind: "optional", type: part() };
    case 1:
      return { kind: "list", type: part() };
    case 2:
      return { kind: "list", type: part(), length: 1 + chance.below(4) };
    case 3:
      return { kind: "map", key: chance.pick(KEYS), value: part() };
    case 4: {
      const types: BareType[] = [...chance.list(1 + chance.below(3), part), { kind: "void" }];
      const step = chance.pick(TAG_STEPS);
      return { kind: "union", members: types.map((type, i) => ({ name: `m${i}`, tag: i * step, type })) };
    }
    case 5:
      return { kind: "alias", name: "Tree", target: () => TREE };
    default:
      return { kind: "struct", fields: chance.list(1 + chance.below(5), (i) => ({ name: NAMES[i], type: part() })) };
  }
}

/** A value of a type. What contains itself ends within a few levels. */
export function randomValue(chance: Chance, type: BareType, depth = 0): unknown {
  switch (type.kind) {
    case "str":
      return chance.pick(TEXTS);
    case "void":
      return undefined;
    case "data":
      return Uint8Array.from(chance.list(type.length ?? chance.below(80), () => chance.below(256)));
    case "enum":
      return chance.pick(type.members).name;
    case "optional":
      return depth > 4 || chance.bool() ? undefined : randomValue(chance, type.type, depth + 1);
    case "alias":
      return randomValue(chance, type.target(), depth + 1);
    case "list":
      return randomList(chance, type, depth);
    case "map": {
      const count = depth > 3 ? 0 : chance.below(3);
      return new Map(
        chance.list(count, () => [randomValue(chance, type.key), randomValue(chance, type.value, depth + 1)]),
      );
    }
    case "struct":
      return Object.fromEntries(
        type.fields.map((field) => [field.name, randomValue(chance, field.type, depth + 1)] as const),
      );
    case "union": {
      const { name, type: member } = chance.pick(type.members);
      return { kind: name, value: randomValue(chance, member, depth + 1) };
    }
    default:
      return randomNumber(chance, type.kind, "safe" in type && type.safe === true);
  }
}

function randomList(chance: Chance, type: Extract<BareType, { kind: "list" }>, depth: number): unknown {
  const count = type.length ?? (depth > 3 ? 0 : chance.below(4));
  const items = chance.list(count, () => randomValue(chance, type.type, depth + 1));
  const kind = arrayKind(type.type);
  if (kind === undefined) return items;
  const array = new ARRAYS[kind](count);
  for (const [i, item] of items.entries()) array[i] = item as never;
  return array;
}

function randomNumber(chance: Chance, kind: (typeof SCALARS)[number], isSafe: boolean): unknown {
  if (kind === "bool") return chance.bool();
  if (kind === "f64") return chance.bool() ? chance.pick(NUMBERS) : chance.u32() / 7;
  if (kind === "f32") return Math.fround(chance.bool() ? chance.pick(NUMBERS) : chance.u32() / 7);
  const isSigned = kind.startsWith("i");
  const bits = isSafe ? 52 : kind === "uint" || kind === "int" ? 64 : Number(kind.slice(1));
  const value = chance.bits(bits);
  const number = isSafe || bits < 64 ? Number(value) : value;
  if (!isSigned) return number;
  if (isSafe) return chance.bool() ? -Number(value) || 0 : Number(value);
  const signed = BigInt.asIntN(bits, value);
  return bits < 64 ? Number(signed) : signed;
}

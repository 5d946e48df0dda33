// Random schemas and values against @bare-ts/lib: the code that @bare-ts/tools generates from our printed schema must
// write the same bytes and read them back. A difference throws, with the seed, the schema and the value. Run it: node
// bench/src/fuzz/bare-peer.ts [VALUES [SEED]].

import assert from "node:assert/strict";

import { bare, BareError, printSchema } from "@fidelity/barewire";
import type { BareType } from "@fidelity/barewire";
import { bareTsModule } from "../peers/bare-ts.ts";

const VALUES_PER_SCHEMA = 200;
const TYPES_PER_SCHEMA = 4;

/** Whole numbers below `limit`, the same for the same seed (mulberry32). */
type Random = (limit: number) => number;

function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
}

/**
 * Compares `count` values; returns how many of as many damaged messages were refused. Values are what both sides can
 * write: maps have no keys that are bytes, for which the peer has no rule.
 */
export async function fuzzAgainstPeer(count: number, seed: number): Promise<number> {
  const random = randomFrom(seed);
  let refused = 0;
  for (let done = 0; done < count;) {
    const types = Array.from({ length: TYPES_PER_SCHEMA }, (_, i) =>
      bare.named(`T${i}`, bare.struct({ value: randomType(random, 3) })),
    );
    const text = printSchema(bare.schema(...types));
    const module = await bareTsModule(text);
    for (let i = 0; i < VALUES_PER_SCHEMA && done < count; i++, done++) {
      const index = random(TYPES_PER_SCHEMA);
      const type = types[index];
      const value = randomValue(type, random);
      const bytes = bare.encode<unknown>(type, value);
      try {
        const peer = module[`encodeT${index}`](value as never) as Uint8Array;
        assert.deepEqual(bytes, peer);
        assert.deepEqual(bare.decode<unknown>(type, peer), value);
        // Its bytes are an ArrayBuffer where ours are an array, so what it read is compared as it writes it.
        assert.deepEqual(module[`encodeT${index}`](module[`decodeT${index}`](bytes as never) as never), bytes);
      } catch (error) {
        throw new Error(`seed ${seed}, value ${done}, T${index} of\n${text}`, { cause: error });
      }
      refused += refusesDamage(type, bytes, random) ? 1 : 0;
    }
  }
  return refused;
}

// A damaged message is read as a value that can be written again, or refused by name.
function refusesDamage(type: bare.Schema<unknown>, bytes: Uint8Array, random: Random): boolean {
  const damaged = bytes.slice(0, bytes.length - random(2));
  if (damaged.length > 0) damaged[random(damaged.length)] = random(256);
  try {
    bare.encode(type, bare.decode(type, damaged));
    return false;
  } catch (error) {
    if (error instanceof BareError) return true;
    throw error;
  }
}

const SCALARS = [
  ...[bare.u8, bare.u16, bare.u32, bare.u64, bare.i8, bare.i16, bare.i32, bare.i64],
  ...[bare.f32, bare.f64, bare.uint, bare.int, bare.bool, bare.str, bare.data],
];
const KEYS = [bare.u8, bare.u32, bare.i64, bare.uint, bare.int, bare.str];

function randomType(random: Random, depth: number): bare.Schema<unknown> {
  const scalar = SCALARS[random(SCALARS.length)];
  if (depth === 0) return scalar;
  const inner = (): bare.Schema<unknown> => randomType(random, depth - 1);
  switch (random(9)) {
    case 0:
      return bare.optional(inner());
    case 1:
      return bare.list(inner());
    case 2:
      return bare.fixedList(inner(), 1 + random(4));
    case 3:
      return bare.map<number | bigint | string, unknown>(KEYS[random(KEYS.length)] as bare.Schema<number>, inner());
    case 4:
      return bare.struct(Object.fromEntries(Array.from({ length: 1 + random(10) }, (_, i) => [`f${i}`, inner()])));
    case 5:
      return bare.enumeration({ A: 0, B: 1 + random(300), C: 1000 });
    case 6:
      return bare.fixedData(1 + random(8));
    default:
      return scalar;
  }
}

const INTEGER_BITS: Readonly<Record<string, number>> = { u8: 8, i8: 8, u16: 16, i16: 16, u32: 32, i32: 32 };
const LETTERS = ["a", "Z", "0", " ", "\u00e9", "\u20ac", "\u{1f600}", "\u0000"];

function randomValue(type: BareType, random: Random): unknown {
  switch (type.kind) {
    case "alias":
      return randomValue(type.target(), random);
    case "bool":
      return random(2) === 1;
    case "str":
      return Array.from({ length: random(40) }, () => LETTERS[random(4 + random(5))]).join("");
    case "f32":
      return Math.fround((random(2 ** 24) - 2 ** 23) / 2 ** random(20));
    case "f64":
      return (random(2 ** 30) - 2 ** 29) / 3;
    case "data":
      return Uint8Array.from({ length: type.length ?? random(50) }, () => random(256));
    case "optional":
      return random(3) === 0 ? undefined : randomValue(type.type, random);
    case "list":
      return randomList(type, random);
    case "map": {
      const entries = Array.from({ length: random(4) }, () =>
        [type.key, type.value].map((it) => randomValue(it, random)),
      );
      return new Map(entries as [unknown, unknown][]);
    }
    case "struct":
      return Object.fromEntries(type.fields.map((field) => [field.name, randomValue(field.type, random)]));
    case "enum":
      // The generated code spells the members in its own way.
      return type.members[random(type.members.length)].name;
    default:
      return randomInteger(type.kind, random);
  }
}

function randomInteger(kind: string, random: Random): number | bigint {
  const isSigned = kind.startsWith("i");
  const bits = INTEGER_BITS[kind];
  if (bits !== undefined) return random(2 ** bits) - (isSigned ? 2 ** (bits - 1) : 0);
  const wide = (BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32));
  const some = wide >> BigInt(random(64));
  return isSigned ? BigInt.asIntN(64, random(2) === 0 ? some : ~some) : some;
}

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

function randomList({ type, length }: Extract<BareType, { kind: "list" }>, random: Random): unknown {
  const items = Array.from({ length: length ?? random(random(4) === 0 ? 40 : 5) }, () => randomValue(type, random));
  if (!(type.kind in ARRAYS)) return items;
  const Numbers = ARRAYS[type.kind as keyof typeof ARRAYS] as new (items: readonly unknown[]) => object;
  return new Numbers(items);
}

if (import.meta.main) {
  const [count = "100000", seed = "1"] = process.argv.slice(2);
  const refused = await fuzzAgainstPeer(Number(count), Number(seed));
  console.log(`${count} values: the same bytes both ways; of as many damaged messages ${refused} were refused by name`);
}

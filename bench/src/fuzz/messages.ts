// Hostile messages: values of rich and of random types are encoded and damaged. What is read must be written again as
// the same bytes, for a message has one form; what is refused must be refused by a `BareError`; and no message may ask
// for memory out of proportion to its size, or for more stack than there is.

import { isDeepStrictEqual } from "node:util";
import { bare, BARE_LIMITS, BareError, readSchema, resolveType, typeNamed } from "@fidelity/barewire";
import type { BareLimits, BareSchema, BareType } from "@fidelity/barewire";
import { withinBytes } from "./allocation.ts";
import { mutateBytes } from "./mutate.ts";
import { pick, randomFor } from "./random.ts";
import type { Random } from "./random.ts";
import { randomSchemaText, randomValue, TooLargeError } from "./random-schema.ts";
import type { FuzzTarget } from "./target.ts";

const RICH = readSchema(`
  type Key data[4]
  type Level enum { LOW HIGH = 127 TOP = 128 MOST = 9007199254740991 }
  type Point struct { x: f32 y: optional<u16> level: Level }
  type Numbers struct {
    a: u8 b: u16 c: u32 d: u64 e: i8 f: i16 g: i32 h: i64 i: uint j: int k: f32 l: f64 m: bool n: str o: data p: Key
  }
  type Lists struct {
    a: list<u8> b: list<i16> c: list<u32> d: list<u64> e: list<f32> f: list<f64> g: list<f64>[3] h: list<bool>
    i: list<uint> j: list<list<list<u8>>> k: list<struct { a: list<str> b: optional<bool> }> l: list<data[3]>[2]
  }
  type Maps struct {
    a: map<str><u8> b: map<Key><list<u16>> c: map<Level><Point> d: map<int><map<bool><str>> e: map<data><data>
  }
  type Any union { void | bool | Point | Numbers = 127 | list<Point> | Level = 100000 | Maps = 9007199254740991 }
  type All struct { numbers: Numbers lists: Lists maps: Maps any: list<Any> last: optional<Any> }
  type Small list<union { u8 | str | void }>
  type Texts map<str><list<str>>
`);

const RECURSIVE = readSchema(
  `  type Tree struct { name: str children: list<Tree> left: optional<Tree> }
  type Json union { void | bool | f64 | str | list<Json> | map<str><Json> }
  type Chain optional<Link>
  type Link struct { next: Chain value: u8 }
  type Lists list<Lists>
  type Keyed map<uint><Keyed>`,
  { legacy: true },
);

/** Cases that share a value, and values that share a random schema. */
const CASES_PER_VALUE = 16;
const VALUES_PER_SCHEMA = 32;
/** How often a value is drawn, until two are not too large. */
const DRAWS_MAX = 6;

/**
 * What a byte of a message may cost at most. The dearest are lists of empty lists of numbers: a byte gives a typed
 * array and its buffer.
 */
export const BYTES_PER_BYTE = 512;

/** Messages, which are BARE or refused. */
export const messages: FuzzTarget = {
  name: "messages",
  about: "damaged messages are refused by BareError, or read and written again as the same bytes",
  open(seed) {
    const draws = new Draws(seed);
    return {
      run(index) {
        const draw = draws.at(Math.floor(index / CASES_PER_VALUE));
        return draw === undefined ? "value too large to draw" : runCase(draw, randomFor(seed, index));
      },
    };
  },
};

// A type and two of its values as messages.
interface Draw {
  readonly type: BareType;
  readonly whole: Uint8Array;
  readonly other: Uint8Array;
}

// What the cases damage. It follows from seed and number as the cases do, each kind from a seed of its own.
class Draws {
  readonly #seed: number;
  readonly #fixed: readonly BareType[];
  #schemaNumber = -1;
  #random: readonly BareType[] = [];
  #number = -1;
  #draw: Draw | undefined;

  constructor(seed: number) {
    this.#seed = seed;
    this.#fixed = [RICH, RECURSIVE].flatMap(typesOf);
  }

  at(number: number): Draw | undefined {
    if (number === this.#number) return this.#draw;
    this.#number = number;
    const random = randomFor(this.#seed + 1e6, number);
    const type = pick(random, random(2) === 0 ? this.#fixed : this.#typesAt(Math.floor(number / VALUES_PER_SCHEMA)));
    const messages: Uint8Array[] = [];
    for (let i = 0; i < DRAWS_MAX && messages.length < 2; i++) {
      const message = encodeRandom(type, random);
      if (message !== undefined) messages.push(message);
    }
    const [whole, other] = messages;
    this.#draw = whole === undefined ? undefined : { type, whole, other: other ?? whole };
    return this.#draw;
  }

  #typesAt(number: number): readonly BareType[] {
    if (number === this.#schemaNumber) return this.#random;
    this.#schemaNumber = number;
    this.#random = typesOf(readSchema(randomSchemaText(randomFor(this.#seed + 2e6, number))));
    return this.#random;
  }
}

function typesOf(schema: BareSchema): BareType[] {
  return schema.definitions.map(({ name }) => typeNamed(schema, name));
}

function runCase({ type, whole, other }: Draw, random: Random): string {
  const mutant = placed(mutateBytes(whole, random, other), random);
  const limits = randomLimits(random);
  try {
    const value = read(type, mutant, limits);
    return value instanceof BareError ? `refused: ${value.summary}` : checkForm(type, value, mutant, limits);
  } catch (error) {
    throw new Error(`the message ${[...mutant].join(" ")}`, { cause: error });
  }
}

function read(type: BareType, bytes: Uint8Array, limits: BareLimits): unknown {
  try {
    return withinBytes(BYTES_PER_BYTE * bytes.length, () => bare.decode<unknown>(type, bytes, limits));
  } catch (error) {
    if (error instanceof BareError) return error;
    throw error;
  }
}

function encodeRandom(type: BareType, random: Random): Uint8Array | undefined {
  try {
    return bare.encode<unknown>(type, randomValue(type, random), { ...BARE_LIMITS, depthMax: 2 ** 10 });
  } catch (error) {
    if (error instanceof TooLargeError) return undefined;
    throw error;
  }
}

// Where a message may lie: anywhere in its buffer, and in memory that is shared.
function placed(bytes: Uint8Array<ArrayBuffer>, random: Random): Uint8Array {
  const kind = random(8);
  if (kind > 1) return bytes;
  const offset = 1 + random(9);
  const size = bytes.length + 16;
  const place = new Uint8Array(kind === 0 ? new ArrayBuffer(size) : new SharedArrayBuffer(size));
  place.fill(0xa5).set(bytes, offset);
  return place.subarray(offset, offset + bytes.length);
}

function randomLimits(random: Random): BareLimits {
  switch (random(8)) {
    case 0:
      return { ...BARE_LIMITS, depthMax: random(12) };
    case 1:
      return { ...BARE_LIMITS, sizeBytesMax: random(200) };
    case 2:
      return { ...BARE_LIMITS, depthMax: 2 ** 30 };
    default:
      return BARE_LIMITS;
  }
}

// A value that was read has one form, and that is what it was read from.
function checkForm(type: BareType, value: unknown, bytes: Uint8Array, limits: BareLimits): string {
  const written = bare.encode(type, value, limits);
  if (isDeepStrictEqual(written, new Uint8Array(bytes))) {
    const target = new Uint8Array(bytes.length);
    if (bare.compile<unknown>(type).encodeInto(value, target, limits) !== bytes.length)
      throw new Error("encodeInto gives another size");
    return "read, and written as the same bytes";
  }
  // JavaScript has one NaN, and one `undefined` for each optional of an optional that holds nothing.
  const again = bare.encode(type, bare.decode(type, written, limits), limits);
  if (!isDeepStrictEqual(again, written)) throw new Error("what was written again is read as something else");
  if (written.length < bytes.length && hasDoubleOptional(type, new Set())) return "read; an optional of an optional";
  if (written.length === bytes.length && holdsNaN(value)) return "read; a NaN of another form";
  throw new Error(`it is written again as ${[...written].join(" ")}`);
}

function hasDoubleOptional(type: BareType, seen: Set<BareType>): boolean {
  const known = resolveType(type);
  if (seen.has(known)) return false;
  seen.add(known);
  switch (known.kind) {
    case "optional":
      return resolveType(known.type).kind === "optional" || hasDoubleOptional(known.type, seen);
    case "list":
      return hasDoubleOptional(known.type, seen);
    case "map":
      return hasDoubleOptional(known.value, seen);
    case "struct":
      return known.fields.some((field) => hasDoubleOptional(field.type, seen));
    case "union":
      return known.members.some((member) => hasDoubleOptional(member.type, seen));
    default:
      return false;
  }
}

function holdsNaN(value: unknown): boolean {
  if (typeof value === "number") return Number.isNaN(value);
  if (value instanceof Float32Array || value instanceof Float64Array) return value.some(Number.isNaN);
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return false;
  return (value instanceof Map ? [...value.values()] : Object.values(value)).some(holdsNaN);
}

// Numbers in place: for each kind how it is read, checked and written at an address, and the accessor property of a
// struct. The properties are written out for each kind on purpose: a getter that reads one typed array compiles to one
// load, where a shared one that picks the array at run time does not.

import type { EnumNode, NumberKind, NumberNode, TagKind } from "../layout/node.ts";
import { ViewError } from "./memory.ts";
import type { Memory, Place } from "./memory.ts";

/** What every view has: its memory, and the address at which it is seated. */
export interface Seat {
  $memory: Memory;
  $at: number;
}

const RANGES: Readonly<Record<Exclude<NumberKind, "u64" | "i64" | "f32" | "f64">, readonly [number, number]>> = {
  u8: [0, 255],
  u16: [0, 65535],
  u32: [0, 4294967295],
  i8: [-128, 127],
  i16: [-32768, 32767],
  i32: [-2147483648, 2147483647],
};

const WORD = 4294967296;

/** A 64-bit integer below 2^53 in size, as a number; without a bigint on the way. */
export function readSafe(memory: Memory, at: number, isSigned: boolean): number {
  const index = at >>> 2;
  return memory.u32[index] + WORD * (isSigned ? memory.i32[index + 1] : memory.u32[index + 1]);
}

/** The number at an address. Each kind names its array: one that is looked up by the kind's name is far slower. */
export function readNumber(node: NumberNode, memory: Memory, at: number): number | bigint {
  switch (node.number) {
    case "f32":
      return memory.f32[at >>> 2];
    case "f64":
      return memory.f64[at >>> 3];
    case "u8":
      return memory.u8[at];
    case "i8":
      return memory.i8[at];
    case "u16":
      return memory.u16[at >>> 1];
    case "i16":
      return memory.i16[at >>> 1];
    case "u32":
      return memory.u32[at >>> 2];
    case "i32":
      return memory.i32[at >>> 2];
    case "u64":
      return node.safe ? readSafe(memory, at, false) : memory.u64[at >>> 3];
    default:
      return node.safe ? readSafe(memory, at, true) : memory.i64[at >>> 3];
  }
}

/** Throws `ViewError` unless the value is one of the kind. */
export function checkNumber(node: NumberNode, value: unknown, path: string | Place): void {
  const { number, safe } = node;
  if (number === "f32" || number === "f64") {
    if (typeof value === "number") return;
    fail(path, "a number", value);
  } else if (number === "u64" || number === "i64") {
    const isUnsigned = number === "u64";
    if (safe) {
      if (Number.isSafeInteger(value) && !(isUnsigned && (value as number) < 0)) return;
      fail(path, `${number}: a whole number of at most 2^53 - 1`, value);
    }
    const isIn =
      typeof value === "bigint" && (isUnsigned ? BigInt.asUintN(64, value) : BigInt.asIntN(64, value)) === value;
    if (!isIn) fail(path, `${number}: a bigint of 64 bits`, value);
  } else {
    const [least, most] = RANGES[number];
    if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return;
    fail(path, `${number}: a whole number from ${least} to ${most}`, value);
  }
}

/** Writes a number that was checked. */
export function writeNumber(node: NumberNode, memory: Memory, at: number, value: unknown): void {
  const { number } = node;
  if (number === "u64" || number === "i64") {
    memory[number][at >>> 3] = node.safe ? BigInt(value as number) : (value as bigint);
  } else if (number === "f64") memory.f64[at >>> 3] = value as number;
  else if (number === "u8" || number === "i8") memory[number][at] = value as number;
  else if (number === "u16" || number === "i16") memory[number][at >>> 1] = value as number;
  else memory[number][at >>> 2] = value as number;
}

/** The tag at an address. */
export function readTag(base: TagKind, memory: Memory, at: number): number {
  if (base === "u8") return memory.u8[at];
  if (base === "u16") return memory.u16[at >>> 1];
  return base === "u32" ? memory.u32[at >>> 2] : readSafe(memory, at, false);
}

export function writeTag(base: TagKind, memory: Memory, at: number, tag: number): void {
  if (base === "u8") memory.u8[at] = tag;
  else if (base === "u16") memory.u16[at >>> 1] = tag;
  else if (base === "u32") memory.u32[at >>> 2] = tag;
  else memory.u64[at >>> 3] = BigInt(tag);
}

/** The member of an enum that has a tag. Throws `ViewError` where none has. */
export function readEnum(node: EnumNode, memory: Memory, at: number): string {
  const tag = readTag(node.base, memory, at);
  // Enums are short, and most of them count from 0.
  const guess = node.members[tag];
  if (guess !== undefined && guess.tag === tag) return guess.name;
  const member = node.members.find((one) => one.tag === tag);
  if (member !== undefined) return member.name;
  throw new ViewError("an enum has a value that its schema does not know", {
    expected: node.members.map((one) => one.tag).join(", "),
    got: `${tag}`,
  });
}

/** The tag of a member's name. Throws `ViewError` where the enum has none of that name. */
export function tagOfName(node: EnumNode, name: unknown, path: string | Place): number {
  const member = node.members.find((one) => one.name === name);
  if (member !== undefined) return member.tag;
  return fail(path, `one of ${node.members.map((one) => one.name).join(", ")}`, name);
}

/** Refuses a value. */
export function fail(path: string | Place, expected: string, value: unknown): never {
  const got =
    typeof value === "bigint" ? `${value}n` : typeof value === "string" ? JSON.stringify(value) : String(value);
  throw new ViewError("a value does not fit its type", { path: String(path), expected, got });
}

/** An accessor property of a struct's view, for a number `offset` bytes from the struct's start. */
export function numberProperty(node: NumberNode, offset: number, name: string): PropertyDescriptor & ThisType<Seat> {
  const descriptor = node.safe ? safeProperty(node, offset, name) : NUMBER_PROPERTIES[node.number](node, offset, name);
  return { ...descriptor, enumerable: true };
}

type MakeProperty = (node: NumberNode, offset: number, name: string) => PropertyDescriptor & ThisType<Seat>;

const NUMBER_PROPERTIES: Readonly<Record<NumberKind, MakeProperty>> = {
  u8: (node, offset, name) => ({
    get() {
      return this.$memory.u8[this.$at + offset];
    },
    set(value) {
      checkNumber(node, value, name);
      this.$memory.u8[this.$at + offset] = value;
    },
  }),
  i8: (node, offset, name) => ({
    get() {
      return this.$memory.i8[this.$at + offset];
    },
    set(value) {
      checkNumber(node, value, name);
      this.$memory.i8[this.$at + offset] = value;
    },
  }),
  u16: (node, offset, name) => ({
    get() {
      return this.$memory.u16[(this.$at + offset) >>> 1];
    },
    set(value) {
      checkNumber(node, value, name);
      this.$memory.u16[(this.$at + offset) >>> 1] = value;
    },
  }),
  i16: (node, offset, name) => ({
    get() {
      return this.$memory.i16[(this.$at + offset) >>> 1];
    },
    set(value) {
      checkNumber(node, value, name);
      this.$memory.i16[(this.$at + offset) >>> 1] = value;
    },
  }),
  u32: (node, offset, name) => ({
    get() {
      return this.$memory.u32[(this.$at + offset) >>> 2];
    },
    set(value) {
      checkNumber(node, value, name);
      this.$memory.u32[(this.$at + offset) >>> 2] = value;
    },
  }),
  i32: (node, offset, name) => ({
    get() {
      return this.$memory.i32[(this.$at + offset) >>> 2];
    },
    set(value) {
      checkNumber(node, value, name);
      this.$memory.i32[(this.$at + offset) >>> 2] = value;
    },
  }),
  u64: (node, offset, name) => ({
    get() {
      return this.$memory.u64[(this.$at + offset) >>> 3];
    },
    set(value) {
      checkNumber(node, value, name);
      this.$memory.u64[(this.$at + offset) >>> 3] = value;
    },
  }),
  i64: (node, offset, name) => ({
    get() {
      return this.$memory.i64[(this.$at + offset) >>> 3];
    },
    set(value) {
      checkNumber(node, value, name);
      this.$memory.i64[(this.$at + offset) >>> 3] = value;
    },
  }),
  f32: (node, offset, name) => ({
    get() {
      return this.$memory.f32[(this.$at + offset) >>> 2];
    },
    set(value) {
      checkNumber(node, value, name);
      this.$memory.f32[(this.$at + offset) >>> 2] = value;
    },
  }),
  f64: (node, offset, name) => ({
    get() {
      return this.$memory.f64[(this.$at + offset) >>> 3];
    },
    set(value) {
      checkNumber(node, value, name);
      this.$memory.f64[(this.$at + offset) >>> 3] = value;
    },
  }),
};

function safeProperty(node: NumberNode, offset: number, name: string): PropertyDescriptor & ThisType<Seat> {
  const isSigned = node.number === "i64";
  return {
    get() {
      return readSafe(this.$memory, this.$at + offset, isSigned);
    },
    set(value) {
      checkNumber(node, value, name);
      writeNumber(node, this.$memory, this.$at + offset, value);
    },
  };
}

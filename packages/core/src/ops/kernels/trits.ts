// Bytes of five ternary codes (`ternary5` of storage.ts) taken apart. In vectors of bytes it is done by tables, where
// one instruction looks up 64 entries: the low field's table, and two that see the byte rotated by three bits, so that
// the high field comes first. Elsewhere it is arithmetic that every target has.

import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { TRITS_ESCAPE } from "../../storage.ts";

/** Codes 0, 1, 2 of one column in each byte, times `scale`, all below 64. */
export interface CodePlane {
  readonly codes: LoopValue;
  readonly scale: number;
}

/** Codes below, in base 3, as fields of two bits. */
const fieldsOf = (value: number): number =>
  (value % 3) | ((Math.floor(value / 3) % 3) << 2) | ((Math.floor(value / 9) % 3) << 4);

/** The ninth pair. */
const LAST_PAIR = fieldsOf(8);
/** Bit 7 of an entry for the low field: the high field belongs to the triple. */
const IS_ESCAPE = 0x80;

const table = (entries: number, entry: (index: number) => number): number[] =>
  Array.from({ length: entries }, (_, i) => entry(i));

const byTables = (lanes: number, entries: number): boolean => entries >= 64 && lanes === 64;

/** The scales of the planes that `decodeTrits` gives for vectors of so many bytes. */
export function tritScales(lanes: number, entries: number): number[] {
  return byTables(lanes, entries) ? [1, 4, 16, 1, 4] : [1, 3, 9, 1, 3];
}

/** The planes of a vector of bytes, by tables where a target has them of 64 `entries`. */
export function decodeTrits(k: KernelBuilder, bytes: LoopValue, entries: number): CodePlane[] {
  return byTables(bytes.type.lanes, entries) ? decodeByTables(k, bytes) : decodeByArithmetic(k, bytes);
}

function decodeByTables(k: KernelBuilder, bytes: LoopValue): CodePlane[] {
  const rotated = k.binary("or", k.shift("shl", bytes, 3), k.shift("shr_u", bytes, 5));
  // Indices have six bits: the field and what happens to be next to it.
  const low = k.lookup(
    bytes,
    table(64, (i) => ((i & 31) < TRITS_ESCAPE ? fieldsOf(i & 31) : IS_ESCAPE)),
  );
  // Low fields from 24 on end in the three bits that are seen here.
  const escaped = k.lookup(
    rotated,
    table(64, (i) => fieldsOf(Math.max(0, 8 * (24 + (i >> 3) - TRITS_ESCAPE)) + (i & 7))),
  );
  const high = k.lookup(
    rotated,
    table(64, (i) => fieldsOf(i & 7)),
  );
  const isEscape = k.compare("lt", low, k.constant(low.type, 0));
  const triple = k.select(isEscape, escaped, low);
  const pair = k.select(isEscape, k.constant(low.type, LAST_PAIR), high);
  return tritScales(bytes.type.lanes, 64).map((scale, plane) => ({
    codes: k.binary("and", plane < 3 ? triple : pair, k.constant(low.type, 3 * scale)),
    scale,
  }));
}

/**
 * Arithmetic, with few constants, as they take registers: with n of the low field and r of the byte rotated by three
 * bits, the triple is the smaller of n and r - 216, which is large where it would be negative; and n mod 3 is the
 * smaller of n and n - 3, twice, up to 8.
 */
function decodeByArithmetic(k: KernelBuilder, bytes: LoopValue): CodePlane[] {
  const { type } = bytes;
  const words = loopType("i32", type.lanes / 4);
  const constant = (value: number): LoopValue => k.constant(type, value);
  const shifted = (op: "shl" | "shr_u", value: LoopValue, bits: number): LoopValue =>
    k.bitcast(type, k.shift(op, k.bitcast(words, value), bits));
  const modulo = (value: LoopValue, divisor: number): LoopValue => {
    const once = k.minUnsigned(value, k.sub(value, constant(divisor)));
    return k.minUnsigned(once, k.sub(once, constant(divisor)));
  };
  const low = k.binary("and", bytes, constant(31));
  const high = k.binary("and", shifted("shr_u", bytes, 5), constant(7));
  const rotated = k.binary("or", shifted("shl", low, 3), high);
  const triple = k.minUnsigned(low, k.sub(rotated, constant(8 * TRITS_ESCAPE)));
  const pair = k.select(k.compare("eq", triple, low), high, constant(8));
  const lower = modulo(triple, 9);
  const [first, fourth] = [modulo(lower, 3), modulo(pair, 3)];
  return [
    { codes: first, scale: 1 },
    { codes: k.sub(lower, first), scale: 3 },
    { codes: k.sub(triple, lower), scale: 9 },
    { codes: fourth, scale: 1 },
    { codes: k.sub(pair, fourth), scale: 3 },
  ];
}

/** The five codes of the byte in each lane of a vector of words. */
export function tritsOfWords(k: KernelBuilder, bytes: LoopValue): LoopValue[] {
  const constant = (value: number): LoopValue => k.constant(bytes.type, value);
  const low = k.binary("and", bytes, constant(31));
  const high = k.shift("shr_u", bytes, 5);
  const isEscape = k.compare("ge", low, constant(TRITS_ESCAPE));
  const excess = k.shift("shl", k.sub(low, constant(TRITS_ESCAPE)), 3);
  const triple = k.select(isEscape, k.add(excess, high), low);
  const pair = k.select(isEscape, constant(8), high);
  // n / 3 of what is below 256.
  const third = (value: LoopValue): LoopValue => k.shift("shr_u", k.mul(value, constant(171)), 9);
  const rest = (value: LoopValue, quotient: LoopValue): LoopValue => k.sub(value, k.mul(quotient, constant(3)));
  const upper = third(triple);
  const top = third(upper);
  const last = third(pair);
  return [rest(triple, upper), rest(upper, top), top, rest(pair, last), last];
}

/** The byte of five codes, in each lane of a vector of words. */
export function wordsOfTrits(k: KernelBuilder, codes: readonly LoopValue[]): LoopValue {
  const [t0, t1, t2, t3, t4] = codes as [LoopValue, LoopValue, LoopValue, LoopValue, LoopValue];
  const constant = (value: number): LoopValue => k.constant(t0.type, value);
  const times3 = (value: LoopValue): LoopValue => k.add(value, k.shift("shl", value, 1));
  const triple = k.add(t0, times3(k.add(t1, times3(t2))));
  const pair = k.add(t3, times3(t4));
  const plain = k.binary("or", k.shift("shl", pair, 5), triple);
  const field = k.shift("shl", k.binary("and", triple, constant(7)), 5);
  const escaped = k.binary("or", field, k.add(k.shift("shr_u", triple, 3), constant(TRITS_ESCAPE)));
  return k.select(k.compare("eq", pair, constant(8)), escaped, plain);
}

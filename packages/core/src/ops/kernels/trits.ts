// Bytes of five ternary codes (`ternary5` of storage.ts) taken apart. In vectors of bytes it is done by tables: of 64
// entries, where one instruction looks them up, the low field's table and two that see the byte rotated by three bits,
// so that the high field comes first; of 16 entries, the same in halves. In vectors of words it is arithmetic.

import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { TRITS_ESCAPE } from "../../storage.ts";

/** Codes of 0..2 in two bits each: t0, t1, t2 of a triple or t3, t4 of a pair. Higher bits are rubbish. */
export interface TritFields {
  readonly triple: LoopValue;
  readonly pair: LoopValue;
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

/** Fields of each byte of a vector of bytes, by tables of at most `entries` entries. */
export function decodeTrits(k: KernelBuilder, bytes: LoopValue, entries: number): TritFields {
  return entries >= 64 && bytes.type.lanes === 64 ? decodeByLargeTables(k, bytes) : decodeByHalves(k, bytes);
}

function decodeByLargeTables(k: KernelBuilder, bytes: LoopValue): TritFields {
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
  return {
    triple: k.select(isEscape, escaped, low),
    pair: k.select(isEscape, k.constant(low.type, LAST_PAIR), high),
  };
}

function decodeByHalves(k: KernelBuilder, bytes: LoopValue): TritFields {
  const { type } = bytes;
  const words = loopType("i32", type.lanes / 4);
  const shifted = (op: "shl" | "shr_u", value: LoopValue, bits: number): LoopValue =>
    k.bitcast(type, k.shift(op, k.bitcast(words, value), bits));
  // An escape's excess over 27 is kept in bits 3 and 6, with bits 0 to 2 free for the high field.
  const lowEntry = (low: number): number => {
    const excess = low - TRITS_ESCAPE;
    return excess < 0 ? fieldsOf(low) : IS_ESCAPE | ((excess & 1) << 3) | ((excess & 2) << 5);
  };
  const isUpper = k.compare("lt", shifted("shl", bytes, 3), k.constant(type, 0));
  const low = k.select(
    isUpper,
    k.lookup(
      bytes,
      table(16, (i) => lowEntry(16 + i)),
    ),
    k.lookup(bytes, table(16, lowEntry)),
  );
  const high = k.binary("and", shifted("shr_u", bytes, 5), k.constant(type, 7));
  const pair = k.lookup(
    high,
    table(16, (i) => fieldsOf(i & 7)),
  );
  const index = k.binary("or", low, high);
  const escaped = k.select(
    // Among escapes, those with bit 6.
    k.compare("gt", low, k.constant(type, (IS_ESCAPE - 256) | 0x3f)),
    k.lookup(
      index,
      table(16, (i) => fieldsOf(16 + i)),
    ),
    k.lookup(index, table(16, fieldsOf)),
  );
  const isEscape = k.compare("lt", low, k.constant(type, 0));
  return { triple: k.select(isEscape, escaped, low), pair: k.select(isEscape, k.constant(type, LAST_PAIR), pair) };
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

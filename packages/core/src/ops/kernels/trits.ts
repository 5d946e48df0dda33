// Bytes of five ternary codes (`ternary5` of storage.ts) taken apart and put together. A byte is a fraction: its
// remainders b, 3b, 9b, ... modulo 256 say one code after another, the last column's first, in what passes 256:
//   256 t = 3 b - b',   b' = 3 b mod 256.
// Written to be read by additions of bytes; where tables of bytes have 128 entries, look-ups tell codes.

import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { tritsValue } from "../../storage.ts";

export const TRITS = 5;

/** Entries of a table for a byte. */
const BYTES = 256;

/** Code `place` of a byte. */
export const tritOf = (byte: number, place: number): number => Math.floor(tritsValue(byte) / 3 ** place) % 3;

/** Three times a vector of bytes, modulo 256. */
function triple(k: KernelBuilder, bytes: LoopValue): LoopValue {
  return k.add(k.add(bytes, bytes), bytes);
}

/** The remainders of a vector of bytes, from the bytes themselves to what is left behind the last code: unsigned. */
export function* remainders(k: KernelBuilder, bytes: LoopValue): Generator<LoopValue> {
  let rest = bytes;
  yield rest;
  for (let place = TRITS - 1; place >= 0; place--) yield (rest = triple(k, rest));
}

/** The codes of a vector of bytes, from the last to the first: a remainder passes 86 with a code of 1, 171 with 2. */
export function* tritsByComparison(k: KernelBuilder, bytes: LoopValue): Generator<LoopValue> {
  const constant = (value: number): LoopValue => k.constant(bytes.type, value);
  // Bytes are compared as signed ones; three times what is 128 too small is, modulo 256, 128 too small.
  let rest = k.binary("xor", bytes, constant(-128));
  for (let place = TRITS - 1; place >= 0; place--) {
    if (place < TRITS - 1) rest = triple(k, rest);
    const low = k.select(k.compare("gt", rest, constant(85 - 128)), constant(1), constant(0));
    yield k.select(k.compare("gt", rest, constant(170 - 128)), constant(2), low);
  }
}

/** The scales of the codes that `tritsByTables` gives, from the first to the last. */
export const TABLE_SCALES: readonly number[] = [1, 4, 16, 1, 4];

/** The codes of a vector of bytes times their scales, from the first to the last: fields of two bits, by two tables. */
export function* tritsByTables(k: KernelBuilder, bytes: LoopValue): Generator<LoopValue> {
  yield* fieldsByTable(k, bytes, 0, TABLE_SCALES.slice(0, 3));
  yield* fieldsByTable(k, bytes, 3, TABLE_SCALES.slice(3));
}

/**
 * The codes that `tritsByHalves` gives, and their scales. In this order, and with vectors made as far ahead as there,
 * a Zen 4 has each of its four units busy: which one an instruction goes to is settled before it is known what it waits
 * for.
 */
export const HALVES_PLACES: readonly number[] = [3, 2, 4, 0, 1];
export const HALVES_SCALES: readonly number[] = [1, 4, 16, 64, 64];

/**
 * The codes of a vector of words' bytes, each 1 larger, times their scales, in the order of `HALVES_PLACES`. The last
 * code of b is in the high bits of 64 + floor(3 b / 4), which is b's average with 127 + floor(b / 2); the others are
 * fields of a sum of two look-ups (`halfTables`).
 */
export function* tritsByHalves(k: KernelBuilder, words: LoopValue): Generator<LoopValue> {
  const bytes = k.bitcast(loopType("i8", 4 * words.type.lanes), words);
  const average = (a: LoopValue, b: LoopValue): LoopValue => k.binary("average", a, b);
  const constant = (value: number): LoopValue => k.constant(bytes.type, value);
  const field = (of: LoopValue, place: number): LoopValue =>
    k.binary("and", k.bitcast(words.type, of), k.constant(words.type, (0x03030303 * HALVES_SCALES[place]!) | 0));
  const [ofLow, ofHigh] = halfTables();
  const fromHigh = k.lookup(average(bytes, constant(0)), ofHigh);
  // One less than floor(b / 2), where 128 entries are told apart.
  const low = average(bytes, constant(253 - 256));
  const fields = k.add(fromHigh, k.lookup(low, [...ofLow.slice(1), ofLow[0]!]));
  const [code2, code3, last] = [field(fields, 2), field(fields, 3), average(bytes, low)];
  yield code3;
  const code1 = field(fields, 1);
  yield code2;
  yield field(last, 4);
  yield field(fields, 0);
  yield code1;
}

/**
 * Two tables of bytes whose sums, of the entry of floor(b / 2) in one and that of ceil(b / 2) in the other, modulo 128,
 * are the codes of b but for the last, each 1 larger, as fields of two bits. Each b shares an entry with b - 1 and the
 * other with b + 1, so that one after the other settles the entry that is left: of all but byte 1, which no codes give.
 */
function halfTables(): [low: number[], high: number[]] {
  const [low, high] = [new Array<number>(BYTES / 2).fill(0), new Array<number>(BYTES / 2).fill(0)];
  for (let next = 2; next <= BYTES; next++) {
    const byte = next % BYTES;
    const fields = [0, 1, 2, 3].reduce((sum, place) => sum + (tritOf(byte, place) + 1) * HALVES_SCALES[place]!, 0);
    const [floor, ceil] = [byte >> 1, ((byte + 1) >> 1) % high.length];
    if (byte % 2 === 0) low[floor] = (fields - high[ceil]!) & 0xff;
    else high[ceil] = (fields - low[floor]!) & 0xff;
  }
  return [low, high];
}

/** Codes of a vector of bytes from place `first` on, times their scales: a table tells them as fields of two bits. */
function* fieldsByTable(
  k: KernelBuilder,
  bytes: LoopValue,
  first: number,
  scales: readonly number[],
): Generator<LoopValue> {
  const table = Array.from({ length: BYTES }, (_, byte) =>
    scales.reduce((sum, scale, i) => sum + tritOf(byte, first + i) * scale, 0),
  );
  const fields = k.lookup(bytes, table);
  for (const scale of scales) yield k.binary("and", fields, k.constant(bytes.type, 3 * scale));
}

/** The five codes of the byte in each lane of a vector of words. */
export function tritsOfWords(k: KernelBuilder, bytes: LoopValue): LoopValue[] {
  const constant = (value: number): LoopValue => k.constant(bytes.type, value);
  const codes: LoopValue[] = [];
  let rest = bytes;
  for (let place = TRITS - 1; place >= 0; place--) {
    const product = k.mul(rest, constant(3));
    codes.unshift(k.shift("shr_u", product, 8));
    rest = k.binary("and", product, constant(255));
  }
  return codes;
}

/** The byte of five codes, in each lane of a vector of words. */
export function wordsOfTrits(k: KernelBuilder, codes: readonly LoopValue[]): LoopValue {
  const constant = (value: number): LoopValue => k.constant(codes[0]!.type, value);
  const value = codes.reduceRight((sum, code) => k.add(k.mul(sum, constant(3)), code));
  // Rounded up, 256 / 243 of it is 13 / 243 of it more; n / 243 of what is below 2^12 is n 270 / 2^16.
  const excess = k.add(k.mul(value, constant(13)), constant(242));
  return k.add(value, k.shift("shr_u", k.mul(excess, constant(270)), 16));
}

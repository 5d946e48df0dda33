// Bytes of five ternary codes (`ternary5` of storage.ts) taken apart and put together. A byte is a fraction: its
// remainders b, 3b, 9b, ... modulo 256 say one code after another, the last column's first, in what passes 256:
//   256 t = 3 b - b',   b' = 3 b mod 256.
// Written to be read by additions of bytes; where tables of bytes have 128 entries, two look-ups tell all five codes,
// and one tells all but the last.

import type { KernelBuilder } from "../../loop/builder.ts";
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

/** The scales of the codes that `remaindersAndTable` gives, from the first on: a table's bytes have room for four. */
export const ONE_TABLE_SCALES: readonly number[] = [1, 4, 16, 64];

/** A vector of bytes, what their last codes leave behind, and the other codes times their scales, from the first on. */
export function* remaindersAndTable(k: KernelBuilder, bytes: LoopValue): Generator<LoopValue> {
  yield bytes;
  yield triple(k, bytes);
  yield* fieldsByTable(k, bytes, 0, ONE_TABLE_SCALES);
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

// Lists in fewer bits than a byte. `bits`: entry i is bit i % 8 of byte i / 8. `ternary-2bit`: codes w + 1, entry i in
// bits 2 (i % 4) and up of byte i / 4. `ternary-1.6bit`: five trits a byte, 3^5 = 243 <= 256: t0 + 3 t1 + ... + 81 t4
// is stored as a fraction of 243 in 256ths, rounded up, so that vector kernels find trit after trit by tripling it.
// Left out: interleaving the rows of a matrix, which is a matter of the kernel that reads it.

import type { Packing } from "./node.ts";

const ENTRIES_PER_BYTE: Readonly<Record<Packing, number>> = { bits: 8, "ternary-2bit": 4, "ternary-1.6bit": 5 };
const TRITS_PER_BYTE = 5;
const POWERS_OF_3 = [1, 3, 9, 27, 81];
const NO_VALUE = 255;

/** The bytes that `count` entries take. */
export function packedBytes(packing: Packing, count: number): number {
  return Math.ceil(count / ENTRIES_PER_BYTE[packing]);
}

// Both directions as tables: value of 0..242 to byte, and byte to value, 255 for the thirteen bytes without one.
const BYTE_OF = new Uint8Array(243);
const VALUE_OF = new Uint8Array(256).fill(NO_VALUE);
for (let value = 0; value < BYTE_OF.length; value++) {
  BYTE_OF[value] = Math.ceil((value * 256) / 243);
  VALUE_OF[BYTE_OF[value]] = value;
}

/** Entry `index` of the list whose bytes start at `from`: 0 or 1 of bits, -1, 0 or 1 of ternary lists. */
export function readPacked(packing: Packing, bytes: Uint8Array, from: number, index: number): number {
  if (packing === "bits") return (bytes[from + (index >>> 3)] >>> (index & 7)) & 1;
  if (packing === "ternary-2bit") return ((bytes[from + (index >>> 2)] >>> (2 * (index & 3))) & 3) - 1;
  const at = Math.floor(index / TRITS_PER_BYTE);
  const value = VALUE_OF[bytes[from + at]];
  return (Math.floor(value / POWERS_OF_3[index - TRITS_PER_BYTE * at]) % 3) - 1;
}

/** Writes entry `index`; the value must be one that the packing has. */
export function writePacked(packing: Packing, bytes: Uint8Array, from: number, index: number, value: number): void {
  if (packing === "bits") {
    const at = from + (index >>> 3);
    bytes[at] = (bytes[at] & ~(1 << (index & 7))) | (value << (index & 7));
  } else if (packing === "ternary-2bit") {
    const at = from + (index >>> 2);
    const shift = 2 * (index & 3);
    bytes[at] = (bytes[at] & ~(3 << shift)) | ((value + 1) << shift);
  } else {
    const at = from + Math.floor(index / TRITS_PER_BYTE);
    const power = POWERS_OF_3[index % TRITS_PER_BYTE];
    const all = VALUE_OF[bytes[at]];
    const old = Math.floor(all / power) % 3;
    bytes[at] = BYTE_OF[all + (value + 1 - old) * power];
  }
}

/** True where the packing can hold the value. */
export function isPackable(packing: Packing, value: unknown): boolean {
  if (packing === "bits") return typeof value === "boolean";
  return value === -1 || value === 0 || value === 1;
}

/** Index of the first entry whose bits are no code, or -1. */
export function findBadCode(packing: Packing, bytes: Uint8Array, from: number, count: number): number {
  if (packing === "bits") return -1;
  const perByte = ENTRIES_PER_BYTE[packing];
  for (let at = 0; at * perByte < count; at++) {
    const byte = bytes[from + at];
    const isBad = packing === "ternary-2bit" ? (byte & (byte >>> 1) & 0x55) !== 0 : VALUE_OF[byte] === NO_VALUE;
    if (isBad) return at * perByte;
  }
  return -1;
}

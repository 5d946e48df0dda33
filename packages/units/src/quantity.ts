// Sizes and positions in memory as types of their own, so that an offset is never passed for a length. The brands are
// erased: at run time both are plain numbers, exact up to 2^53. Arithmetic gives back `number`; the constructors check
// and brand its result. Physical units are in physical.ts.

import { FidelityError } from "./errors.ts";

declare const unit: unique symbol;

/** A size in bytes: a whole number of at least 0. */
export type Bytes = number & { readonly [unit]: "bytes" };

/** A position in a memory, in bytes from its start: a whole number of at least 0. */
export type Addr = number & { readonly [unit]: "address" };

/** A size or a position that is negative, fractional, or beyond 2^53. */
export class QuantityError extends FidelityError {}

/** `count` as a size in bytes; throws `QuantityError` unless it is a whole number from 0 to 2^53 - 1. */
export function bytes(count: number): Bytes {
  return checked(count, "size in bytes") as Bytes;
}

/** `position` as an address; throws `QuantityError` unless it is a whole number from 0 to 2^53 - 1. */
export function addr(position: number): Addr {
  return checked(position, "address") as Addr;
}

/** A size for people: `1.50 MiB`, three significant digits, binary prefixes. */
export function formatBytes(count: number): string {
  const prefixes = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = count;
  let prefix = 0;
  // 999.5 would print as 1.00e+3 in three digits.
  while (Math.abs(value) >= 999.5 && prefix < prefixes.length - 1) {
    value /= 1024;
    prefix++;
  }
  return `${prefix === 0 ? value : value.toPrecision(3)} ${prefixes[prefix]}`;
}

function checked(value: number, what: string): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new QuantityError(`not a ${what}: ${value}`, {
    expected: "a whole number from 0 to 2^53 - 1",
    got: String(value),
    hint: "check the arithmetic that led to it; a size read from a file must be checked against the file's length",
  });
}

// Arithmetic on sizes and addresses that the compiler checks: a size and a size make a size, an address and a size make
// an address, two addresses make a size when subtracted and nothing when added. The rules are those of pointers in C.
// Results are checked to be whole, not negative and below 2^53. Left out: units beside bytes.

import { addr, bytes } from "@fidelity/units";
import type { Addr, Bytes } from "@fidelity/units";

/** size + size = size, address + size = address. Throws `QuantityError` beyond 2^53. */
export function plus(position: Addr, size: Bytes): Addr;
export function plus(size: Bytes, other: Bytes): Bytes;
export function plus(a: Addr | Bytes, b: Bytes): number {
  return addr(a + b);
}

/** size - size = size, address - size = address, address - address = size. Throws `QuantityError` below 0. */
export function minus(position: Addr, other: Addr): Bytes;
export function minus(position: Addr, size: Bytes): Addr;
export function minus(size: Bytes, other: Bytes): Bytes;
export function minus(a: Addr | Bytes, b: Addr | Bytes): number {
  return addr(a - b);
}

/** `count` times a size. */
export function times(size: Bytes, count: number): Bytes {
  return bytes(size * count);
}

/** The next multiple of `alignBytes`, which is a power of two. */
export function roundUpTo<Q extends Addr | Bytes>(value: Q, alignBytes: number): Q {
  return addr(Math.ceil(value / alignBytes) * alignBytes) as number as Q;
}

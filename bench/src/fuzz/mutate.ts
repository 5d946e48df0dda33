// Damage to bytes, of the kinds that have broken decoders before: bits, sharp values, huge counts, spans that are cut
// out, repeated, moved or taken from another message.

import { pick, randomSize } from "./random.ts";
import type { Random } from "./random.ts";

/** Bytes that break things more often than others do. */
const SHARP = [0, 1, 2, 7, 8, 127, 128, 254, 255];
const COUNTS = [0n, 1n, 127n, 128n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 60n, 2n ** 64n - 1n];
const MUTATIONS_MAX = 4;
const REPEATS_MAX = 3000;
/** Mutants do not grow beyond this by much. */
const SIZE_BYTES_MAX = 2 ** 14;

/** Bytes with one to four kinds of damage; `other` is something that spans are taken from. */
export function mutateBytes(bytes: Uint8Array, random: Random, other: Uint8Array = bytes): Uint8Array<ArrayBuffer> {
  let mutant = bytes.slice();
  for (let count = random(MUTATIONS_MAX) + 1; count > 0; count--) mutant = mutateOnce(mutant, random, other);
  return mutant;
}

function mutateOnce(bytes: Uint8Array<ArrayBuffer>, random: Random, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const at = random(bytes.length + 1);
  const length = Math.min(randomSize(random, 64), bytes.length - at);
  const span = bytes.subarray(at, at + length);
  switch (random(12)) {
    case 0:
      return bytes.slice(0, at);
    case 1:
      return splice(bytes, at, length, []);
    case 2: {
      const repeats = Math.min(1 + randomSize(random, REPEATS_MAX), Math.floor(SIZE_BYTES_MAX / (length + 1)));
      const repeated = new Uint8Array(repeats * length);
      for (let i = 0; i < repeats; i++) repeated.set(span, i * length);
      return bytes.length > SIZE_BYTES_MAX ? bytes : splice(bytes, at, 0, repeated);
    }
    case 3: {
      const from = random(other.length + 1);
      return splice(bytes, at, random(length + 1), other.subarray(from, from + length));
    }
    case 4:
      return splice(bytes, at, random(2), varint(pick(random, COUNTS) + BigInt(random(2))));
    case 5:
      return splice(bytes, at, 1, varint(BigInt(randomSize(random, 2 * bytes.length))));
    case 6: {
      const word = new BigUint64Array([pick(random, COUNTS)]);
      return splice(bytes, at, 8, new Uint8Array(word.buffer));
    }
    default:
      return changeByte(bytes, at, random);
  }
}

function changeByte(bytes: Uint8Array<ArrayBuffer>, at: number, random: Random): Uint8Array<ArrayBuffer> {
  if (at === bytes.length) return bytes;
  const kind = random(4);
  if (kind === 0) bytes[at] = pick(random, SHARP);
  else if (kind === 1) bytes[at] = random(256);
  else if (kind === 2) bytes[at] = bytes[random(bytes.length)];
  else bytes[at] ^= 1 << random(8);
  return bytes;
}

// `cut` may reach beyond the end.
function splice(bytes: Uint8Array, at: number, cut: number, added: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  const rest = bytes.subarray(at + cut);
  const result = new Uint8Array(at + added.length + rest.length);
  result.set(bytes.subarray(0, at));
  result.set(added, at);
  result.set(rest, at + added.length);
  return result;
}

// A varint as BARE writes it, and longer than it may be where the value has more than 64 bits.
function varint(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return bytes;
}

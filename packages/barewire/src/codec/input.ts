// The fast reader of primitives: a message, a place in it, and functions that take one value each. What is wrong with a
// message they only notice (`reject`); the reference codec then reads it again and says what and where. The functions
// are free-standing, so that the compiled readers can hold them and the engine can inline them.
//
// Numbers are put together from bytes. A DataView would be as fast, but making one for each small message costs more
// than all its fields, and asking a small typed array for its buffer moves it out of the engine's own heap.

/** A message that is being read. One object is used again for all messages. */
export class Input {
  bytes: Uint8Array = EMPTY;
  offset = 0;
  end = 0;
  /** Levels of recursive types above this place. */
  depth = 0;
  depthMax = 0;
  /** Where the last string ended; left from the last message, it makes the first string look near or far. */
  textOffset = 0;
  /** Part of this message as text, each byte a letter: see text.ts. */
  window = "";
  windowStart = 0;
  windowEnd = 0;
}

const EMPTY = new Uint8Array(0);

/** Something in a message or a value is not as it must be; the reference codec finds out what. */
export const REJECTED = new Error("rejected");

export function reject(): never {
  throw REJECTED;
}

/** Takes a message to read, or lets go of the one that was read. */
export function openInput(input: Input, bytes: Uint8Array, depthMax: number): void {
  input.bytes = bytes;
  input.offset = 0;
  input.end = bytes.length;
  input.depth = 0;
  input.depthMax = depthMax;
  input.windowEnd = 0;
}

export function closeInput(input: Input): void {
  input.bytes = EMPTY;
}

/** Steps over `sizeBytes` bytes and gives the place where they start. */
export function take(input: Input, sizeBytes: number): number {
  const at = input.offset;
  if (sizeBytes > input.end - at) reject();
  input.offset = at + sizeBytes;
  return at;
}

export function readU8(input: Input): number {
  return input.bytes[take(input, 1)];
}

export function readI8(input: Input): number {
  return (input.bytes[take(input, 1)] << 24) >> 24;
}

export function readU16(input: Input): number {
  const at = take(input, 2);
  const { bytes } = input;
  return bytes[at] | (bytes[at + 1] << 8);
}

export function readI16(input: Input): number {
  return (readU16(input) << 16) >> 16;
}

export function readI32(input: Input): number {
  const at = take(input, 4);
  const { bytes } = input;
  return bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
}

export function readU32(input: Input): number {
  return readI32(input) >>> 0;
}

// Bits of one number, to be read as another kind of number.
const F64 = new Float64Array(1);
const F32 = new Float32Array(F64.buffer);
const U32 = new Uint32Array(F64.buffer);
const U64 = new BigUint64Array(F64.buffer);
const I64 = new BigInt64Array(F64.buffer);
// Which half comes first in memory; F32[0] and U32[0] are one and the same either way.
const LOW = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 0 : 1;
const HIGH = 1 - LOW;

export function readF32(input: Input): number {
  U32[0] = readI32(input);
  return F32[0];
}

export function readF64(input: Input): number {
  U32[LOW] = readI32(input);
  U32[HIGH] = readI32(input);
  return F64[0];
}

export function readU64(input: Input): bigint {
  U32[LOW] = readI32(input);
  U32[HIGH] = readI32(input);
  return U64[0];
}

export function readI64(input: Input): bigint {
  U32[LOW] = readI32(input);
  U32[HIGH] = readI32(input);
  return I64[0];
}

/** u64 as a number; from 2^53 on it is rejected. */
export function readU64Safe(input: Input): number {
  const low = readU32(input);
  const high = readU32(input);
  if (high >= 2 ** 21) reject();
  return high * 2 ** 32 + low;
}

/** i64 as a number, if its magnitude is below 2^53. */
export function readI64Safe(input: Input): number {
  const low = readU32(input);
  const high = readI32(input);
  const value = high * 2 ** 32 + low;
  return Number.isSafeInteger(value) ? value : reject();
}

export function readBool(input: Input): boolean {
  const value = input.bytes[take(input, 1)];
  if (value > 1) reject();
  return value === 1;
}

/** A varint below 2^53, as counts and tags are. */
export function readVarint(input: Input): number {
  const first = input.bytes[take(input, 1)];
  return first < 0x80 ? first : readVarintRest(input, first);
}

function readVarintRest(input: Input, first: number): number {
  let value = first & 0x7f;
  let scale = 0x80;
  for (;;) {
    const byte = input.bytes[take(input, 1)];
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) {
      if (byte === 0 || value > Number.MAX_SAFE_INTEGER) reject();
      return value;
    }
    if (scale >= 2 ** 49) reject();
    scale *= 0x80;
  }
}

// Reads a varint of up to 64 bits into U64.
function readVarint64(input: Input): void {
  let low = 0;
  let high = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = input.bytes[take(input, 1)];
    const bits = byte & 0x7f;
    if (shift < 28) low |= bits << shift;
    else if (shift === 28) {
      low |= bits << 28;
      high = bits >>> 4;
    } else high |= bits << (shift - 32);
    if (shift === 63 && byte > 1) reject();
    if (byte >= 0x80) continue;
    if (byte === 0 && shift > 0) reject();
    U32[LOW] = low;
    U32[HIGH] = high;
    return;
  }
}

export function readUint(input: Input): bigint {
  readVarint64(input);
  return U64[0];
}

export function readInt(input: Input): bigint {
  readVarint64(input);
  const sign = -(U32[LOW] & 1);
  U32[LOW] = ((U32[LOW] >>> 1) | (U32[HIGH] << 31)) ^ sign;
  U32[HIGH] = (U32[HIGH] >>> 1) ^ sign;
  return I64[0];
}

/** int as a number, if its magnitude is below 2^53. */
export function readIntSafe(input: Input): number {
  const first = input.bytes[take(input, 1)];
  if (first < 0x80) return (first >>> 1) ^ -(first & 1);
  input.offset--;
  const value = Number(readInt(input));
  return Number.isSafeInteger(value) ? value : reject();
}

/** The number of entries of a list or map, rejected where the bytes left cannot hold that many. */
export function readCount(input: Input, entryBytesMin: number): number {
  const count = readVarint(input);
  if (count * entryBytesMin > input.end - input.offset) reject();
  return count;
}

/** A copy of the next bytes. */
export function readBytes(input: Input, sizeBytes: number): Uint8Array<ArrayBuffer> {
  const at = take(input, sizeBytes);
  const { bytes } = input;
  // Made from the bytes in one go, so that the engine need not clear the memory first.
  if (sizeBytes > LOOP_BYTES_MAX) return new Uint8Array(bytes.subarray(at, at + sizeBytes));
  const copy = new Uint8Array(sizeBytes);
  for (let i = 0; i < sizeBytes; i++) copy[i] = bytes[at + i];
  return copy;
}

/** Up to this size a loop copies faster than a call. */
export const LOOP_BYTES_MAX = 32;

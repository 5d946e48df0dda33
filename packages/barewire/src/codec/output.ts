// The fast writer of primitives: messages are written one behind the other into a slab, and a message is handed out as
// a window onto it, so that a small one costs no allocation of a buffer. A message that outgrows its slab moves to one
// of larger slabs, if it is mostly one array, or to a buffer of its own. Values that do not fit are only noticed
// (`reject`); the reference codec then says which and why.

import { BARE_LIMITS } from "../bare-io.ts";
import type { BareLimits } from "../bare-io.ts";
import { LOOP_BYTES_MAX, reject } from "./input.ts";

const SLAB_BYTES = 16384;
/** What a message may take of a slab before it moves elsewhere. */
const SHARE_BYTES_MAX = SLAB_BYTES / 2;
// Buffers of a megabyte each are given back to the system by the allocator, and touching fresh pages then takes longer
// than writing the message: larger ones, for several messages, come back from the allocator with their pages.
const LARGE_SLAB_BYTES = 2 ** 23;
const LARGE_SHARE_BYTES_MAX = LARGE_SLAB_BYTES / 4;
const LARGE_ALIGN_BYTES = 64;
/** Messages start at multiples of this, so that aligned data in them stays aligned. */
const START_ALIGN_BYTES = 8;

/** A slab, and where the next message starts in it. */
interface Slab {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView;
  readonly start: number;
}

/** A message that is being written. */
export class Output {
  bytes: Uint8Array<ArrayBuffer>;
  view: DataView;
  start = 0;
  offset = 0;
  depth = 0;
  limits: BareLimits = BARE_LIMITS;
  isBusy = false;
  /** Whether the bytes are someone else's, and cannot be exchanged for more. */
  readonly isFixed: boolean;
  /** The slab that waits while a message has a buffer of its own. */
  idle: Slab | undefined = undefined;
  /** Whether what is not written yet is zero. */
  isCleared = true;

  /** Writes into `target` and nowhere else, or into slabs of its own. */
  constructor(target?: Uint8Array) {
    // Nothing here asks what kind of buffer it is.
    this.bytes = (target ?? new Uint8Array(SLAB_BYTES)) as Uint8Array<ArrayBuffer>;
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
    this.isFixed = target !== undefined;
  }
}

/** Starts a message behind the last one. */
export function openOutput(output: Output, limits: BareLimits): void {
  output.isBusy = true;
  output.offset = output.start;
  output.depth = 0;
  output.limits = limits;
}

/** The message, a window onto the slab or onto a buffer of its own. */
export function finishOutput(output: Output): Uint8Array<ArrayBuffer> {
  const { bytes, start, offset } = output;
  if (offset - start > output.limits.sizeBytesMax) reject();
  if (output.idle === undefined) output.start = (offset + START_ALIGN_BYTES - 1) & -START_ALIGN_BYTES;
  else if (!output.isCleared) bytes.fill(0, offset); // a buffer of its own goes with the message
  return bytes.subarray(start, offset);
}

/** Whatever became of the message, the next one can be written. */
export function closeOutput(output: Output): void {
  output.isBusy = false;
  const { idle } = output;
  if (idle === undefined) return;
  output.bytes = idle.bytes;
  output.view = idle.view;
  output.start = idle.start;
  output.idle = undefined;
  output.isCleared = true;
}

/** Makes room for `sizeBytes` bytes and gives the place where they start. Takes another buffer if it must. */
export function reserve(output: Output, sizeBytes: number): number {
  if (output.offset + sizeBytes > output.bytes.length) grow(output, sizeBytes);
  const at = output.offset;
  output.offset = at + sizeBytes;
  return at;
}

function grow(output: Output, sizeBytes: number): void {
  const { bytes, start, offset, limits } = output;
  const needed = offset - start + sizeBytes;
  if (output.isFixed || needed > limits.sizeBytesMax) reject();
  if (needed <= SHARE_BYTES_MAX) output.bytes = new Uint8Array(SLAB_BYTES);
  else {
    output.idle ??= { bytes, view: output.view, start };
    // What is larger than all before it is mostly one array: there, clearing memory would cost as much as writing it.
    output.isCleared = needed < 2 * bytes.length || NodeBuffer === undefined;
    output.bytes = output.isCleared ? new Uint8Array(Math.max(needed, 2 * bytes.length)) : uncleared(needed);
  }
  output.view = new DataView(output.bytes.buffer, output.bytes.byteOffset, output.bytes.length);
  output.bytes.set(bytes.subarray(start, offset));
  output.start = 0;
  output.offset = offset - start;
}

// Looked up, not imported: browsers have none, and clear all memory.
const NodeBuffer = (globalThis as { readonly Buffer?: typeof Buffer }).Buffer;

let largeSlab = new ArrayBuffer(0);
/** Where the next message starts in it. */
let largeStart = 0;

// Bytes of any content. Whoever transfers a slab leaves none of its bytes, and the next message takes another.
function uncleared(sizeBytes: number): Uint8Array<ArrayBuffer> {
  if (sizeBytes > LARGE_SHARE_BYTES_MAX) return new Uint8Array(NodeBuffer!.allocUnsafeSlow(sizeBytes).buffer);
  if (largeStart + sizeBytes > largeSlab.byteLength) {
    largeSlab = NodeBuffer!.allocUnsafeSlow(LARGE_SLAB_BYTES).buffer;
    largeStart = 0;
  }
  const start = largeStart;
  largeStart = (start + sizeBytes + LARGE_ALIGN_BYTES - 1) & -LARGE_ALIGN_BYTES;
  return new Uint8Array(largeSlab, start, sizeBytes);
}

export function writeU8(output: Output, value: number): void {
  if ((value & 0xff) !== value) reject();
  const at = reserve(output, 1);
  output.bytes[at] = value;
}

export function writeI8(output: Output, value: number): void {
  if ((value << 24) >> 24 !== value) reject();
  const at = reserve(output, 1);
  output.bytes[at] = value;
}

export function writeU16(output: Output, value: number): void {
  if ((value & 0xffff) !== value) reject();
  const at = reserve(output, 2);
  output.view.setUint16(at, value, true);
}

export function writeI16(output: Output, value: number): void {
  if ((value << 16) >> 16 !== value) reject();
  const at = reserve(output, 2);
  output.view.setInt16(at, value, true);
}

export function writeU32(output: Output, value: number): void {
  if (value >>> 0 !== value) reject();
  const at = reserve(output, 4);
  output.view.setUint32(at, value, true);
}

export function writeI32(output: Output, value: number): void {
  if ((value | 0) !== value) reject();
  const at = reserve(output, 4);
  output.view.setInt32(at, value, true);
}

export function writeF32(output: Output, value: number): void {
  if (typeof value !== "number") reject();
  const at = reserve(output, 4);
  output.view.setFloat32(at, value, true);
}

export function writeF64(output: Output, value: number): void {
  if (typeof value !== "number") reject();
  const at = reserve(output, 8);
  output.view.setFloat64(at, value, true);
}

export function writeBool(output: Output, value: boolean): void {
  if (typeof value !== "boolean") reject();
  const at = reserve(output, 1);
  output.bytes[at] = value ? 1 : 0;
}

// Bits of one number, to be read as another kind of number.
const U64 = new BigUint64Array(1);
const I64 = new BigInt64Array(U64.buffer);
const U32 = new Uint32Array(U64.buffer);
const LOW = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 0 : 1;
const HIGH = 1 - LOW;

export function writeU64(output: Output, value: bigint): void {
  U64[0] = value; // throws a TypeError for a number, which counts as a rejection
  if (U64[0] !== value) reject();
  const at = reserve(output, 8);
  output.view.setBigUint64(at, value, true);
}

export function writeI64(output: Output, value: bigint): void {
  I64[0] = value;
  if (I64[0] !== value) reject();
  const at = reserve(output, 8);
  output.view.setBigInt64(at, value, true);
}

export function writeU64Safe(output: Output, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) reject();
  const at = reserve(output, 8);
  output.view.setUint32(at, value >>> 0, true);
  output.view.setUint32(at + 4, value / 2 ** 32, true);
}

export function writeI64Safe(output: Output, value: number): void {
  if (!Number.isSafeInteger(value)) reject();
  const at = reserve(output, 8);
  output.view.setUint32(at, value >>> 0, true);
  output.view.setInt32(at + 4, Math.floor(value / 2 ** 32), true);
}

/** A varint below 2^53, as counts and tags are. */
export function writeVarint(output: Output, value: number): void {
  if (value >>> 0 !== value || value >= 0x80) return writeLongVarint(output, value);
  const at = reserve(output, 1);
  output.bytes[at] = value;
}

function writeLongVarint(output: Output, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) reject();
  let rest = value;
  for (; rest > 0x7fffffff; rest = Math.floor(rest / 0x80)) writeByte(output, (rest % 0x80) | 0x80);
  for (; rest >= 0x80; rest >>>= 7) writeByte(output, (rest & 0x7f) | 0x80);
  writeByte(output, rest);
}

function writeByte(output: Output, value: number): void {
  const at = reserve(output, 1);
  output.bytes[at] = value;
}

// Writes what stands in U64 as a varint.
function writeVarint64(output: Output): void {
  let low = U32[LOW];
  let high = U32[HIGH];
  while (high !== 0) {
    writeByte(output, (low & 0x7f) | 0x80);
    low = ((low >>> 7) | (high << 25)) >>> 0;
    high >>>= 7;
  }
  for (; low >= 0x80; low >>>= 7) writeByte(output, (low & 0x7f) | 0x80);
  writeByte(output, low);
}

export function writeUint(output: Output, value: bigint): void {
  U64[0] = value;
  if (U64[0] !== value) reject();
  writeVarint64(output);
}

export function writeInt(output: Output, value: bigint): void {
  I64[0] = value;
  if (I64[0] !== value) reject();
  const sign = U32[HIGH] >> 31;
  U32[HIGH] = ((U32[HIGH] << 1) | (U32[LOW] >>> 31)) ^ sign;
  U32[LOW] = (U32[LOW] << 1) ^ sign;
  writeVarint64(output);
}

export function writeIntSafe(output: Output, value: number): void {
  if ((value | 0) === value) return writeVarint(output, ((value << 1) ^ (value >> 31)) >>> 0);
  if (!Number.isSafeInteger(value)) reject();
  writeInt(output, BigInt(value));
}

/** Bytes as they are. */
export function writeBytes(output: Output, value: Uint8Array): void {
  const sizeBytes = value.length;
  const at = reserve(output, sizeBytes);
  const { bytes } = output;
  if (sizeBytes > LOOP_BYTES_MAX) bytes.set(value, at);
  else for (let i = 0; i < sizeBytes; i++) bytes[at + i] = value[i];
}

/** Bytes with their number before them. */
export function writeData(output: Output, value: Uint8Array): void {
  if (!(value instanceof Uint8Array)) reject();
  writeVarint(output, value.length);
  writeBytes(output, value);
}

/** Up to this size an array is written number by number: asking a small one for its buffer costs more. */
export const SMALL_ARRAY_BYTES_MAX = 64;

const UTF8 = new TextEncoder();
const SHORT_LENGTH_MAX = 24; // at most 72 bytes, whose number is a single byte

/** A string with its length before it. Short ones, which most strings are, need no encoder. */
export function writeStr(output: Output, value: string): void {
  if (typeof value !== "string") reject();
  const { length } = value;
  if (length > SHORT_LENGTH_MAX) return writeLongStr(output, value);
  const at = reserve(output, 1 + length);
  const { bytes } = output;
  bytes[at] = length;
  for (let i = 0; i < length; i++) {
    const code = value.charCodeAt(i);
    if (code >= 0x80) {
      output.offset = at;
      return writeShortStr(output, value);
    }
    bytes[at + 1 + i] = code;
  }
}

function writeShortStr(output: Output, value: string): void {
  const mostBytes = 1 + 3 * value.length;
  const isRoomy = output.offset + mostBytes <= output.bytes.length;
  const start = reserve(output, isRoomy ? mostBytes : 1 + utf8Bytes(value));
  const { bytes } = output;
  let at = start + 1;
  for (let i = 0; i < value.length; i++) {
    let code = value.charCodeAt(i);
    if (code >= 0xd800 && code < 0xe000) {
      const low = i + 1 < value.length ? value.charCodeAt(++i) : 0;
      if (code >= 0xdc00 || low < 0xdc00 || low >= 0xe000) reject();
      code = 0x10000 + ((code & 0x3ff) << 10) + (low & 0x3ff);
    }
    if (code < 0x80) bytes[at++] = code;
    else {
      const more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
      bytes[at++] = ((0xff00 >> (more + 1)) & 0xff) | (code >> (6 * more));
      for (let shift = 6 * (more - 1); shift >= 0; shift -= 6) bytes[at++] = 0x80 | ((code >> shift) & 0x3f);
    }
  }
  bytes[start] = at - start - 1;
  output.offset = at;
}

// The size is known once the string is written, so room for it is left that is right for ASCII; text of other letters
// may need one byte more and is moved. Where the most bytes that there may be do not fit, they are counted.
function writeLongStr(output: Output, value: string): void {
  if (!value.isWellFormed()) reject();
  const guessBytes = varintBytes(value.length);
  const mostBytes = guessBytes + 1 + 3 * value.length;
  const isRoomy = output.offset + mostBytes <= output.bytes.length;
  const at = reserve(output, isRoomy ? mostBytes : framedBytes(utf8Bytes(value)));
  const written = encodeUtf8(value, output.bytes.subarray(at + guessBytes));
  const prefixBytes = varintBytes(written);
  if (prefixBytes > guessBytes) output.bytes.copyWithin(at + prefixBytes, at + guessBytes, at + guessBytes + written);
  output.offset = at;
  writeVarint(output, written);
  output.offset = at + prefixBytes + written;
}

// Browsers encode into no shared memory, so that such text is encoded beside it and copied.
function encodeUtf8(value: string, target: Uint8Array): number {
  if (target.buffer instanceof ArrayBuffer) return UTF8.encodeInto(value, target).written;
  const bytes = UTF8.encode(value);
  target.set(bytes);
  return bytes.length;
}

// Bytes of a well-formed string in UTF-8.
function utf8Bytes(value: string): number {
  let sizeBytes = value.length;
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    if (code < 0x80) continue;
    // Each half of a surrogate pair counts for two of the pair's four bytes.
    sizeBytes += code < 0x800 || (code >= 0xd800 && code <= 0xdfff) ? 1 : 2;
  }
  return sizeBytes;
}

function framedBytes(sizeBytes: number): number {
  return varintBytes(sizeBytes) + sizeBytes;
}

function varintBytes(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size++;
  return size;
}

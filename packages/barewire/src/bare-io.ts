// Reading and writing the primitives of BARE (draft-devault-bare): little-endian numbers, LEB128 varints, UTF-8.
// Strict on input: what the specification does not allow, or allows in one form only, is refused with the offset of the
// byte and the path of the value. Nothing is allocated before its size is checked against the bytes that are there.
// These are the plain forms, which keep track of where they are; codec/ has fast ones, and comes here to say what is
// wrong. Left out: streaming input; a message is decoded from bytes that lie in memory.

import { FidelityError } from "@fidelity/units";
import { copyBytes } from "./region.ts";

/** What a reader or a writer takes before it gives up. */
export interface BareLimits {
  /** Nesting of structs, lists, maps, optionals and unions in types that contain themselves. */
  readonly depthMax: number;
  /** Size of a whole message. */
  readonly sizeBytesMax: number;
}

/** Depth 64 and 1 GiB. */
export const BARE_LIMITS: BareLimits = { depthMax: 64, sizeBytesMax: 2 ** 30 };

/** A message that is not canonical BARE of its schema, or a value that its schema cannot express. */
export class BareError extends FidelityError {
  /** Offset of the byte at fault in the message read, or that would have been written. */
  readonly byteOffset: number;
  /** Path of the value at fault, such as `tensors[3].shape`. */
  readonly path: string;

  constructor(summary: string, byteOffset: number, path: string, expected?: string, got?: string) {
    super(summary, { where: `byte ${byteOffset}${path === "" ? "" : `, in ${path}`}`, expected, got });
    this.byteOffset = byteOffset;
    this.path = path;
  }
}

const UTF8_ENCODER = new TextEncoder();
const UTF8_DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const VARINT_BYTES_MAX = 10;

// The place in the value tree, for depth limits and error messages; both directions need it.
class Trail {
  readonly steps: (string | number)[] = [];
  depth = 0;

  path(): string {
    return this.steps.map((step, i) => (typeof step === "number" ? `[${step}]` : i === 0 ? step : `.${step}`)).join("");
  }
}

/** Reads BARE primitives one after the other from `bytes`, which may be shared memory. Throws `BareError`. */
export class BareReader {
  readonly bytes: Uint8Array;
  readonly limits: BareLimits;
  offset = 0;
  readonly #view: DataView;
  readonly #trail = new Trail();

  constructor(bytes: Uint8Array, limits: BareLimits = BARE_LIMITS) {
    this.bytes = bytes;
    this.limits = limits;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length > limits.sizeBytesMax) {
      this.fail("a message is larger than allowed", `at most ${limits.sizeBytesMax} bytes`, `${bytes.length} bytes`);
    }
  }

  /** Bytes not read yet. */
  get remainingBytes(): number {
    return this.bytes.length - this.offset;
  }

  /** Throws a `BareError` at `offset`, by default where the reader stands. */
  fail(summary: string, expected?: string, got?: string, offset = this.offset): never {
    throw new BareError(summary, offset, this.#trail.path(), expected, got);
  }

  /** Goes down into a part of the value; `leave` comes back. */
  enter(step: string | number): void {
    this.#trail.steps.push(step);
  }

  leave(): void {
    this.#trail.steps.pop();
  }

  /** Goes `levels` down into a recursive type, or back up where they are negative. */
  descend(levels: number): void {
    this.#trail.depth += levels;
    if (this.#trail.depth > this.limits.depthMax) {
      this.fail("a message is nested too deeply", `at most ${this.limits.depthMax} levels`);
    }
  }

  /** Refuses bytes after the value. */
  end(): void {
    if (this.remainingBytes > 0) {
      this.fail("a message has bytes after its end", "no more bytes", `${this.remainingBytes} bytes`);
    }
  }

  bool(): boolean {
    const value = this.u8();
    if (value > 1) this.fail("a bool is neither 0 nor 1", "0 or 1", `${value}`, this.offset - 1);
    return value === 1;
  }

  u8(): number {
    return this.bytes[this.#take(1)];
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  i8(): number {
    return this.#view.getInt8(this.#take(1));
  }

  i16(): number {
    return this.#view.getInt16(this.#take(2), true);
  }

  i32(): number {
    return this.#view.getInt32(this.#take(4), true);
  }

  i64(): bigint {
    return this.#view.getBigInt64(this.#take(8), true);
  }

  f32(): number {
    return this.#view.getFloat32(this.#take(4), true);
  }

  f64(): number {
    return this.#view.getFloat64(this.#take(8), true);
  }

  /** A varint of up to 64 bits, in its shortest form only. */
  uint(): bigint {
    const start = this.offset;
    let value = 0n;
    for (let i = 0; ; i++) {
      const byte = this.#varintByte(start, i);
      value |= BigInt(byte & 0x7f) << BigInt(7 * i);
      if (byte < 0x80) return value;
    }
  }

  /** A varint that a JavaScript number holds exactly; larger ones are refused. */
  uintSafe(): number {
    const start = this.offset;
    let value = 0;
    for (let i = 0; ; i++) {
      const byte = this.#varintByte(start, i);
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte >= 0x80) continue;
      if (!Number.isSafeInteger(value)) this.fail("an integer is too large", "at most 2^53 - 1", `${value}`, start);
      return value;
    }
  }

  /** A zigzag varint of up to 64 bits. */
  int(): bigint {
    const zigzag = this.uint();
    return (zigzag >> 1n) ^ -(zigzag & 1n);
  }

  /** Well-formed UTF-8 with its length before it. */
  str(): string {
    const start = this.offset;
    const length = this.uintSafe();
    const at = this.#take(length);
    try {
      // TextDecoder refuses shared memory in browsers, so it gets private bytes.
      return UTF8_DECODER.decode(copyBytes(this.bytes, at, at + length));
    } catch {
      return this.fail("a string is not well-formed UTF-8", undefined, undefined, start);
    }
  }

  /** A copy of `length` bytes; by default the length stands before them. */
  data(length = this.uintSafe()): Uint8Array<ArrayBuffer> {
    const at = this.#take(length);
    return copyBytes(this.bytes, at, at + length);
  }

  /** The number of entries of a list or map, refused where the bytes left cannot hold that many. */
  count(entryBytesMin: number): number {
    const start = this.offset;
    const count = this.uintSafe();
    if (count > Math.floor(this.remainingBytes / entryBytesMin)) {
      const atMost = Math.floor(this.remainingBytes / entryBytesMin);
      this.fail("a list is longer than its message", `at most ${atMost} entries`, `${count}`, start);
    }
    return count;
  }

  #varintByte(start: number, index: number): number {
    const byte = this.u8();
    if (index === VARINT_BYTES_MAX - 1 && byte > 1) {
      this.fail("an integer has more than 64 bits", "at most 10 bytes, the last of them 1", undefined, start);
    }
    if (byte === 0 && index > 0) {
      this.fail("an integer is not in its shortest form", "no trailing zero groups", `${index + 1} bytes`, start);
    }
    return byte;
  }

  // Steps over `sizeBytes` bytes and returns where they start.
  #take(sizeBytes: number): number {
    if (sizeBytes > this.remainingBytes) {
      this.fail("a message ends too early", `${sizeBytes} more bytes`, `${this.remainingBytes}`);
    }
    const at = this.offset;
    this.offset += sizeBytes;
    return at;
  }
}

/** Writes BARE primitives one after the other into a buffer that grows. Throws `BareError` on values out of range. */
export class BareWriter {
  readonly limits: BareLimits;
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #offset = 0;
  readonly #trail = new Trail();

  constructor(limits: BareLimits = BARE_LIMITS, initialBytes = 256) {
    this.limits = limits;
    this.#bytes = new Uint8Array(initialBytes);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** The message so far, a copy of exactly its size. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#offset);
  }

  /** Throws a `BareError` where the writer stands. */
  fail(summary: string, expected?: string, got?: string): never {
    throw new BareError(summary, this.#offset, this.#trail.path(), expected, got);
  }

  /** Goes down into a part of the value; `leave` comes back. */
  enter(step: string | number): void {
    this.#trail.steps.push(step);
  }

  leave(): void {
    this.#trail.steps.pop();
  }

  /** Goes `levels` down into a recursive type, or back up where they are negative. */
  descend(levels: number): void {
    this.#trail.depth += levels;
    if (this.#trail.depth > this.limits.depthMax) {
      this.fail("a value is nested too deeply", `at most ${this.limits.depthMax} levels`);
    }
  }

  bool(value: boolean): void {
    if (typeof value !== "boolean") this.fail("a bool is neither true nor false", "true or false", describe(value));
    const at = this.#take(1);
    this.#bytes[at] = value ? 1 : 0;
  }

  u8(value: number): void {
    this.#checkRange(value, 0, 0xff);
    const at = this.#take(1);
    this.#view.setUint8(at, value);
  }

  u16(value: number): void {
    this.#checkRange(value, 0, 0xffff);
    const at = this.#take(2);
    this.#view.setUint16(at, value, true);
  }

  u32(value: number): void {
    this.#checkRange(value, 0, 0xffffffff);
    const at = this.#take(4);
    this.#view.setUint32(at, value, true);
  }

  u64(value: bigint): void {
    this.#checkRange(value, 0n, 2n ** 64n - 1n);
    const at = this.#take(8);
    this.#view.setBigUint64(at, value, true);
  }

  i8(value: number): void {
    this.#checkRange(value, -0x80, 0x7f);
    const at = this.#take(1);
    this.#view.setInt8(at, value);
  }

  i16(value: number): void {
    this.#checkRange(value, -0x8000, 0x7fff);
    const at = this.#take(2);
    this.#view.setInt16(at, value, true);
  }

  i32(value: number): void {
    this.#checkRange(value, -0x80000000, 0x7fffffff);
    const at = this.#take(4);
    this.#view.setInt32(at, value, true);
  }

  i64(value: bigint): void {
    this.#checkRange(value, -(2n ** 63n), 2n ** 63n - 1n);
    const at = this.#take(8);
    this.#view.setBigInt64(at, value, true);
  }

  f32(value: number): void {
    if (typeof value !== "number") this.fail("a number is missing", "a number", describe(value));
    const at = this.#take(4);
    this.#view.setFloat32(at, value, true);
  }

  f64(value: number): void {
    if (typeof value !== "number") this.fail("a number is missing", "a number", describe(value));
    const at = this.#take(8);
    this.#view.setFloat64(at, value, true);
  }

  uint(value: bigint): void {
    this.#checkRange(value, 0n, 2n ** 64n - 1n);
    let rest = value;
    for (; rest >= 0x80n; rest >>= 7n) this.u8(Number(rest & 0x7fn) | 0x80);
    this.u8(Number(rest));
  }

  uintSafe(value: number): void {
    this.#checkRange(value, 0, Number.MAX_SAFE_INTEGER);
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) this.u8((rest % 0x80) | 0x80);
    this.u8(rest);
  }

  int(value: bigint): void {
    this.#checkRange(value, -(2n ** 63n), 2n ** 63n - 1n);
    this.uint(value < 0n ? -2n * value - 1n : 2n * value);
  }

  str(value: string): void {
    if (typeof value !== "string") this.fail("a string is missing", "a string", describe(value));
    if (!value.isWellFormed()) this.fail("a string has no UTF-8 form", "no lone surrogates", JSON.stringify(value));
    this.data(UTF8_ENCODER.encode(value));
  }

  /** The length, then the bytes. */
  data(value: Uint8Array): void {
    if (!(value instanceof Uint8Array)) this.fail("bytes are missing", "a Uint8Array", describe(value));
    this.uintSafe(value.length);
    this.raw(value);
  }

  /** The bytes alone. */
  raw(value: Uint8Array): void {
    if (!(value instanceof Uint8Array)) this.fail("bytes are missing", "a Uint8Array", describe(value));
    const at = this.#take(value.length);
    this.#bytes.set(value, at);
  }

  #checkRange<T extends number | bigint>(value: T, low: T, high: T): void {
    const isWhole = typeof value === typeof low && (typeof value === "bigint" || Number.isSafeInteger(value));
    if (!isWhole || value < low || value > high) {
      this.fail("a number is out of range", `a whole number from ${low} to ${high}`, describe(value));
    }
  }

  // Makes room for `sizeBytes` bytes and returns where they start. Takes a new buffer when it must, so it goes first.
  #take(sizeBytes: number): number {
    const at = this.#offset;
    const end = at + sizeBytes;
    if (end > this.limits.sizeBytesMax) {
      this.fail("a value is too large", `at most ${this.limits.sizeBytesMax} bytes encoded`);
    }
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(end, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.#offset = end;
    return at;
  }
}

/** A value in a few words, for an error. */
export function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}...` : value);
  if (typeof value === "object" && value !== null) return Object.prototype.toString.call(value).slice(8, -1);
  return typeof value === "function" || typeof value === "symbol" ? typeof value : String(value);
}

// Channels as a stream of bytes: what goes over TCP, framed in BARE. A frame is
//
//   type Frame union {
//     Hello = 0     # struct { magic: data[4], version: uint, messageBytesMax: uint }
//     Message = 1   # data
//     Close = 2     # void: the sender of it has closed the channel, nothing follows
//     Ping = 3      # void: the sender of it lives
//   }
//
// and a Hello comes first. The reader takes the stream in pieces of any size, copies a message's bytes once, and checks
// a length before it asks for memory. Left out: checksums (TCP has them), encryption, compression.

import { ChannelFormatError, MessageTooLargeError, TruncatedFrameError } from "./errors.ts";

const MAGIC = [0x42, 0x57, 0x43, 0x48]; // "BWCH"
const VERSION = 1;
const TAG = { hello: 0, message: 1, close: 2, ping: 3 } as const;
const VARINT_BYTES_MAX = 10;

/** The most bytes that stand before a message. */
export const MESSAGE_HEADER_BYTES_MAX = 1 + VARINT_BYTES_MAX;

/** A frame that was read. */
export type Frame =
  | { readonly kind: "hello"; readonly messageBytesMax: number }
  | { readonly kind: "message"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "close" }
  | { readonly kind: "ping" };

export function helloFrame(messageBytesMax: number): Uint8Array {
  return Uint8Array.from([TAG.hello, ...MAGIC, ...varint(VERSION), ...varint(messageBytesMax)]);
}

export function closeFrame(): Uint8Array {
  return Uint8Array.of(TAG.close);
}

export function pingFrame(): Uint8Array {
  return Uint8Array.of(TAG.ping);
}

/** Writes the head of a message so that it ends at `end`, where the message's bytes begin; gives where it starts. */
export function putMessageHeader(target: Uint8Array, end: number, sizeBytes: number): number {
  const head = [TAG.message, ...varint(sizeBytes)];
  target.set(head, end - head.length);
  return end - head.length;
}

/** Reads frames from pieces of a stream. */
export class FrameReader {
  readonly #messageBytesMax: number;
  readonly #where: string;
  /** The frame's bytes up to its message: a few, so that they are kept one by one. */
  #head: number[] = [];
  #message: Uint8Array<ArrayBuffer> | undefined;
  #filled = 0;
  #hasHello = false;
  #isClosed = false;

  /** Messages of more than `messageBytesMax` bytes are refused. */
  constructor(messageBytesMax: number, where: string) {
    this.#messageBytesMax = messageBytesMax;
    this.#where = where;
  }

  /** Gives the frames that this piece completes. Throws `ChannelFormatError`, `MessageTooLargeError` after them. */
  push(piece: Uint8Array, give: (frame: Frame) => void): void {
    for (let at = 0; at < piece.length;) {
      if (this.#message === undefined) {
        const frame = this.#readHead(piece[at++]);
        if (frame !== undefined) give(frame);
        continue;
      }
      const count = Math.min(piece.length - at, this.#message.length - this.#filled);
      this.#message.set(piece.subarray(at, at + count), this.#filled);
      this.#filled += count;
      at += count;
      if (this.#filled === this.#message.length) give(this.#endMessage());
    }
  }

  /** The stream ended. Throws `TruncatedFrameError` in the middle of a frame. */
  end(): void {
    if (this.#head.length === 0 && this.#message === undefined) return;
    const got =
      this.#message === undefined
        ? `${this.#head.length} bytes of its head`
        : `${this.#filled} of ${this.#message.length} bytes`;
    throw new TruncatedFrameError("the stream ended in the middle of a frame", { where: this.#where, got });
  }

  #readHead(byte: number): Frame | undefined {
    if (this.#isClosed) this.#fail("bytes follow after the end of the channel", `byte ${byte}`);
    this.#head.push(byte);
    const tag = this.#head[0];
    if (!this.#hasHello && tag !== TAG.hello) this.#fail("this is no channel", `a stream that begins with byte ${tag}`);
    if (tag === TAG.hello) return this.#readHello();
    if (tag === TAG.message) return this.#readLength();
    if (tag !== TAG.close && tag !== TAG.ping) this.#fail("a frame of an unknown kind", `tag ${tag}`);
    this.#head = [];
    this.#isClosed = tag === TAG.close;
    return { kind: this.#isClosed ? "close" : "ping" };
  }

  #readHello(): Frame | undefined {
    const last = this.#head.length - 1;
    if (this.#hasHello) this.#fail("a second greeting", "a frame Hello");
    if (last >= 1 && last <= MAGIC.length) {
      if (this.#head[last] !== MAGIC[last - 1]) this.#fail("this is no channel", "another magic number");
      return undefined;
    }
    const version = this.#varintAt(1 + MAGIC.length);
    if (version === undefined) return undefined;
    if (version.value !== VERSION) this.#fail("another version of the protocol", `version ${version.value}`);
    const most = this.#varintAt(version.end);
    if (most === undefined) return undefined;
    this.#head = [];
    this.#hasHello = true;
    return { kind: "hello", messageBytesMax: most.value };
  }

  #readLength(): Frame | undefined {
    const length = this.#varintAt(1);
    if (length === undefined) return undefined;
    if (length.value > this.#messageBytesMax) {
      throw new MessageTooLargeError(length.value, this.#messageBytesMax, this.#where);
    }
    this.#head = [];
    this.#message = new Uint8Array(length.value);
    this.#filled = 0;
    return length.value === 0 ? this.#endMessage() : undefined;
  }

  #endMessage(): Frame {
    const bytes = this.#message!;
    this.#message = undefined;
    return { kind: "message", bytes };
  }

  // The varint of the head that begins at `start`, or undefined while it is not complete.
  #varintAt(start: number): { readonly value: number; readonly end: number } | undefined {
    let value = 0;
    for (let at = start; at < this.#head.length; at++) {
      const byte = this.#head[at];
      value += (byte & 0x7f) * 2 ** (7 * (at - start));
      if (value > Number.MAX_SAFE_INTEGER) this.#fail("a number is too large", "more than 2^53");
      if (byte >= 0x80) continue;
      if (byte === 0 && at > start) this.#fail("a number is written with too many bytes", `${at - start + 1} bytes`);
      return { value, end: at + 1 };
    }
    if (this.#head.length - start >= VARINT_BYTES_MAX) this.#fail("a number does not end", "10 bytes");
    return undefined;
  }

  #fail(summary: string, got: string): never {
    throw new ChannelFormatError(summary, { where: this.#where, got, hint: "check that the other side is a channel" });
  }
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return [...bytes, left];
    bytes.push((left % 128) | 0x80);
  }
}

// The memory of a channel as typed arrays that begin where the channel does. It may be a SharedArrayBuffer (threads,
// shared wasm memory) or an ArrayBuffer over mapped pages (processes): V8 makes the same machine instructions of
// `Atomics` on both, and calls them as builtins, which no ordinary read or write is moved across.

import { ChannelError } from "./errors.ts";

/** Memory that several threads or processes see. Its first byte lies at a multiple of 64. */
export class ChannelMemory {
  readonly words: Int32Array;
  readonly longs: BigInt64Array;
  readonly sizeBytes: number;
  readonly #buffer: ArrayBufferLike;
  readonly #byteOffset: number;

  constructor(buffer: ArrayBufferLike, byteOffset = 0, sizeBytes = buffer.byteLength - byteOffset) {
    if (byteOffset % 64 !== 0 || sizeBytes % 64 !== 0 || sizeBytes <= 0 || byteOffset + sizeBytes > buffer.byteLength) {
      throw new ChannelError("a channel cannot lie in this memory", {
        expected: `offset and size that are multiples of 64, within ${buffer.byteLength} bytes`,
        got: `offset ${byteOffset}, size ${sizeBytes}`,
      });
    }
    this.words = new Int32Array(buffer, byteOffset, sizeBytes / 4);
    this.longs = new BigInt64Array(buffer, byteOffset, sizeBytes / 8);
    this.sizeBytes = sizeBytes;
    this.#buffer = buffer;
    this.#byteOffset = byteOffset;
  }

  /** The bytes from `offset` on, in place: Uint8Array [sizeBytes]. */
  bytes(offset: number, sizeBytes: number): Uint8Array {
    return new Uint8Array(this.#buffer, this.#byteOffset + offset, sizeBytes);
  }

  /** A part of the memory. */
  sub(offset: number, sizeBytes: number): ChannelMemory {
    return new ChannelMemory(this.#buffer, this.#byteOffset + offset, sizeBytes);
  }
}

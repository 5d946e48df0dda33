// The typed arrays over one buffer that all views of it share. A view reads element `(address) >>> shift` of the array
// of its type: no DataView, no allocation, and the same hidden class for every view, which keeps compiled code fast.
// Left out: hosts whose bytes are in big-endian order; there this module refuses to load.

import { FidelityError } from "@fidelity/units";

import { copyBytes, Region } from "../region.ts";
import type { Layout, NumberKind } from "../layout/node.ts";

/** A view was used outside what its layout or its buffer allow. `offsetBytes` is from the start of the buffer. */
export class ViewError extends FidelityError {
  readonly path: string;
  readonly offsetBytes: number | undefined;

  constructor(
    summary: string,
    details: { path?: string; offsetBytes?: number; expected?: string; got?: string; hint?: string } = {},
  ) {
    const { path = "", offsetBytes, expected, got, hint } = details;
    const places = [path === "" ? "" : `path ${path}`, offsetBytes === undefined ? "" : `byte ${offsetBytes}`];
    const where = places.filter((place) => place !== "").join(", ");
    super(summary, { where: where === "" ? undefined : where, expected, got, hint });
    this.path = path;
    this.offsetBytes = offsetBytes;
  }
}

/** Where in a value a walk is; becomes text only for an error. */
export class Place {
  readonly #parts: (string | number)[] = [];

  enter(part: string | number): void {
    this.#parts.push(part);
  }

  leave(): void {
    this.#parts.pop();
  }

  toString(): string {
    return this.#parts.map((part) => (typeof part === "number" ? `[${part}]` : part)).join(".");
  }
}

/** The arrays of a whole buffer, from its first byte; the last bytes that fill no element are left out of an array. */
export class Memory {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly u64: BigUint64Array;
  readonly i8: Int8Array;
  readonly i16: Int16Array;
  readonly i32: Int32Array;
  readonly i64: BigInt64Array;
  readonly f32: Float32Array;
  readonly f64: Float64Array;

  constructor(buffer: ArrayBufferLike) {
    const size = buffer.byteLength;
    this.u8 = new Uint8Array(buffer, 0, size);
    this.u16 = new Uint16Array(buffer, 0, size >>> 1);
    this.u32 = new Uint32Array(buffer, 0, size >>> 2);
    this.u64 = new BigUint64Array(buffer, 0, size >>> 3);
    this.i8 = new Int8Array(buffer, 0, size);
    this.i16 = new Int16Array(buffer, 0, size >>> 1);
    this.i32 = new Int32Array(buffer, 0, size >>> 2);
    this.i64 = new BigInt64Array(buffer, 0, size >>> 3);
    this.f32 = new Float32Array(buffer, 0, size >>> 2);
    this.f64 = new Float64Array(buffer, 0, size >>> 3);
  }
}

/** What an array of numbers of a kind is, over private or shared memory. */
export type NumberArray = Memory[NumberKind];

/** The largest buffer that views reach into: an index is a 32-bit number. */
const BUFFER_BYTES_MAX = 2 ** 32;
const NATURAL_ALIGN_BYTES_MAX = 8;

const memories = new WeakMap<ArrayBufferLike, Memory>();

/** The arrays of a buffer, made once. Throws `ViewError` beyond 4 GiB. */
export function memoryOf(buffer: ArrayBufferLike): Memory {
  let memory = memories.get(buffer);
  if (memory !== undefined) return memory;
  if (buffer.byteLength > BUFFER_BYTES_MAX || new Uint8Array(Uint16Array.of(1).buffer)[0] !== 1) {
    throw new ViewError("views cannot be laid over this buffer", {
      expected: `at most ${BUFFER_BYTES_MAX} bytes, on a little-endian host`,
      got: `${buffer.byteLength} bytes`,
    });
  }
  memory = new Memory(buffer);
  memories.set(buffer, memory);
  return memory;
}

/** Bytes that a view can be laid over. */
export type ViewSource = Region | Uint8Array;

/** A range of a memory, checked. */
export interface Window {
  readonly memory: Memory;
  /** Address of the first byte in the buffer. */
  readonly start: number;
  readonly sizeBytes: number;
}

/** A source as a range of memory. Throws `ViewError` unless it starts at a multiple of `alignBytes`, at most 8. */
export function windowOf(source: ViewSource, offsetBytes: number, alignBytes: number): Window {
  const { buffer, byteOffset } = source;
  const available = source instanceof Region ? source.sizeBytes : source.byteLength;
  const start = byteOffset + offsetBytes;
  if (!(Number.isSafeInteger(offsetBytes) && offsetBytes >= 0 && offsetBytes <= available)) {
    throw new ViewError("a view starts outside its buffer", {
      expected: `an offset from 0 to ${available}`,
      got: `${offsetBytes}`,
    });
  }
  const need = Math.min(alignBytes, NATURAL_ALIGN_BYTES_MAX);
  if (start % need !== 0) {
    throw new ViewError("a view does not start at its alignment", {
      expected: `a multiple of ${need} from the start of the ArrayBuffer`,
      got: `${start}`,
      hint: "copy the bytes to a buffer of their own: `bytes.slice()`, or `Uint8Array.from(bytes)` for a Node Buffer",
    });
  }
  return { memory: memoryOf(buffer), start, sizeBytes: available - offsetBytes };
}

/**
 * A window that holds a layout's fixed part. Contents of a tail are placed from its start, so that is a multiple of 8.
 */
export function windowFor(layout: Layout, source: ViewSource, offsetBytes: number, count = 1): Window {
  const window = windowOf(source, offsetBytes, layout.isFixed ? layout.alignBytes : NATURAL_ALIGN_BYTES_MAX);
  if (window.sizeBytes < layout.sizeBytes * count) {
    throw new ViewError("a buffer is too small for its layout", {
      expected: `${layout.sizeBytes * count} bytes`,
      got: `${window.sizeBytes} bytes`,
    });
  }
  return window;
}

const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const SHORT_TEXT_BYTES = 24;

/** Text at an address. Throws `TypeError` where it is not UTF-8. Short ASCII is read without the decoder's overhead. */
export function decodeText(memory: Memory, from: number, sizeBytes: number): string {
  if (sizeBytes <= SHORT_TEXT_BYTES) {
    let text = "";
    let at = from;
    for (const end = from + sizeBytes; at < end && memory.u8[at] < 0x80; at++) {
      text += String.fromCharCode(memory.u8[at]);
    }
    if (at === from + sizeBytes) return text;
  }
  // Decoders refuse shared memory in browsers, so those bytes are copied first.
  const isShared = typeof SharedArrayBuffer !== "undefined" && memory.u8.buffer instanceof SharedArrayBuffer;
  const bytes = memory.u8.subarray(from, from + sizeBytes);
  return DECODER.decode(isShared ? copyBytes(bytes) : bytes);
}

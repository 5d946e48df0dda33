// Regions: typed windows onto a range of an ArrayBuffer or SharedArrayBuffer. A region never copies; it hands out typed
// arrays over the bytes where they lie. What may be done with the bytes is in the type: `Region<"mapped", "r">` gives
// views without setters, and `Region<"gpu">` none at all. These promises are the compiler's: at run time a view is a
// plain typed array. Sizes are `Bytes` and positions `Addr`; memory/arithmetic.ts adds them as the compiler allows.
// Left out: copies between regions, which memory/copies.ts counts, and ownership of GPU buffers (memory/gpu.ts).

import { addr, bytes, FidelityError } from "@fidelity/units";
import type { Addr, Bytes } from "@fidelity/units";

/**
 * Where the bytes live: private CPU memory, a GPU buffer, memory shared between threads, a mapped file, or far memory
 * that stays coherent (CXL, another NUMA node).
 */
export type Space = "cpu" | "gpu" | "shared" | "mapped" | "coherent";

/** The spaces that the CPU reads and writes where they lie. */
export type HostSpace = Exclude<Space, "gpu">;

/** A size as an argument: a plain number or `Bytes`. An address in its place does not compile. */
export type SizeArgument = number & Partial<Omit<Bytes, keyof number>>;

/** A position as an argument: a plain number or `Addr`. A size in its place does not compile. */
export type AddrArgument = number & Partial<Omit<Addr, keyof number>>;

/** What may be done with the bytes. */
export type Access = "r" | "rw";

type Mutator = "set" | "fill" | "copyWithin" | "reverse" | "sort" | "buffer" | "subarray";

/** A typed array that can be read and not written; every `T` is one, so readers should ask for this type. */
export type ReadonlyView<T extends Uint8Array | Int8Array | Int32Array | Float32Array | Float64Array> = Omit<
  T,
  Mutator | number
> & {
  readonly [index: number]: number;
  subarray(begin?: number, end?: number): ReadonlyView<T>;
};

/** Bytes that can be read and not written. */
export type ReadonlyBytes = ReadonlyView<Uint8Array>;

/**
 * A private copy of a range of bytes, whatever they lie in. `slice` would not do: that of Node's Buffer gives a window
 * and no copy.
 */
export function copyBytes(bytes: ReadonlyBytes, begin = 0, end = bytes.length): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes.subarray(begin, end));
}

/** The view of element type `T` that access `A` allows. */
export type ViewOf<
  A extends Access,
  T extends Uint8Array | Int8Array | Int32Array | Float32Array | Float64Array,
> = A extends "rw" ? T : ReadonlyView<T>;

/**
 * Anything that has a buffer: a `WebAssembly.Memory`, a typed array, a `DataView`. Regions ask for the buffer when a
 * view is made and not before, because a shared memory that grows gets a new, longer buffer object over the same bytes.
 */
export interface BufferSource {
  readonly buffer: ArrayBufferLike;
}

/** A region was used outside its bounds, against its alignment or after its memory was freed. */
export class RegionError extends FidelityError {}

/** Shared by a region and all its parts: when the memory goes, every one of them refuses to give a view. */
export interface Lifetime {
  isAlive: boolean;
}

interface Views {
  u8?: Uint8Array;
  i8?: Int8Array;
  i32?: Int32Array;
  f32?: Float32Array;
  f64?: Float64Array;
}

/** `sizeBytes` bytes from `byteOffset` of a buffer. Views are made once per region and element type, then reused. */
export class Region<S extends Space = HostSpace, A extends Access = Access> {
  readonly space: S;
  readonly access: A;
  /** Position in the buffer; in a wasm memory this is the address that compiled code uses. */
  readonly byteOffset: Addr;
  readonly sizeBytes: Bytes;
  protected readonly source: BufferSource;
  protected readonly lifetime: Lifetime;
  readonly #views: Views = {};

  /** Throws `RegionError` where the range does not lie inside the buffer. */
  constructor(
    source: BufferSource,
    space: S,
    access: A,
    byteOffset: AddrArgument,
    sizeBytes: SizeArgument,
    lifetime: Lifetime = { isAlive: true },
  ) {
    checkRange("the buffer", source.buffer.byteLength, byteOffset, sizeBytes);
    this.source = source;
    this.space = space;
    this.access = access;
    this.byteOffset = addr(byteOffset);
    this.sizeBytes = bytes(sizeBytes);
    this.lifetime = lifetime;
  }

  /** The whole of a typed array's bytes, or of a buffer's, as a region in private memory. */
  static over(memory: Uint8Array | ArrayBuffer): Region<"cpu", "rw"> {
    const view = memory instanceof ArrayBuffer ? new Uint8Array(memory) : memory;
    return new Region(view, "cpu", "rw", view.byteOffset, view.byteLength);
  }

  /** False once the memory was freed. */
  get isAlive(): boolean {
    return this.lifetime.isAlive;
  }

  /** The buffer as it is now; after a memory has grown this is another object over the same bytes. */
  get buffer(): ArrayBufferLike {
    this.#check(1);
    return this.source.buffer;
  }

  /** The bytes: Uint8Array [sizeBytes]. */
  u8(this: Region<HostSpace, A>): ViewOf<A, Uint8Array> {
    this.#check(1);
    this.#views.u8 ??= new Uint8Array(this.source.buffer, this.byteOffset, this.sizeBytes);
    return this.#views.u8 as ViewOf<A, Uint8Array>;
  }

  /** Signed bytes: Int8Array [sizeBytes]. */
  i8(this: Region<HostSpace, A>): ViewOf<A, Int8Array> {
    this.#check(1);
    this.#views.i8 ??= new Int8Array(this.source.buffer, this.byteOffset, this.sizeBytes);
    return this.#views.i8 as ViewOf<A, Int8Array>;
  }

  /** Int32Array [sizeBytes / 4]; throws `RegionError` unless offset and size are multiples of 4. */
  i32(this: Region<HostSpace, A>): ViewOf<A, Int32Array> {
    this.#check(4);
    this.#views.i32 ??= new Int32Array(this.source.buffer, this.byteOffset, this.sizeBytes / 4);
    return this.#views.i32 as ViewOf<A, Int32Array>;
  }

  /** Float32Array [sizeBytes / 4]; throws `RegionError` unless offset and size are multiples of 4. */
  f32(this: Region<HostSpace, A>): ViewOf<A, Float32Array> {
    this.#check(4);
    this.#views.f32 ??= new Float32Array(this.source.buffer, this.byteOffset, this.sizeBytes / 4);
    return this.#views.f32 as ViewOf<A, Float32Array>;
  }

  /** Float64Array [sizeBytes / 8]; throws `RegionError` unless offset and size are multiples of 8. */
  f64(this: Region<HostSpace, A>): ViewOf<A, Float64Array> {
    this.#check(8);
    this.#views.f64 ??= new Float64Array(this.source.buffer, this.byteOffset, this.sizeBytes / 8);
    return this.#views.f64 as ViewOf<A, Float64Array>;
  }

  /** A part of this region, `offsetBytes` from its start. It lives as long as this region's memory does. */
  sub(offsetBytes: SizeArgument, sizeBytes: SizeArgument): Region<S, A> {
    checkRange("the region", this.sizeBytes, offsetBytes, sizeBytes);
    return new Region(this.source, this.space, this.access, this.byteOffset + offsetBytes, sizeBytes, this.lifetime);
  }

  /** The same bytes without the right to write them. */
  asReadonly(): Region<S, "r"> {
    return new Region(this.source, this.space, "r", this.byteOffset, this.sizeBytes, this.lifetime);
  }

  #check(elementBytes: number): void {
    if (!this.lifetime.isAlive) {
      throw new RegionError("a region was used after its memory was freed", {
        where: `bytes ${this.byteOffset} to ${this.byteOffset + this.sizeBytes} of ${this.space} memory`,
        hint: "keep the owner of the region alive for as long as its parts are used",
      });
    }
    if (this.byteOffset % elementBytes !== 0 || this.sizeBytes % elementBytes !== 0) {
      throw new RegionError(`a region cannot be viewed as elements of ${elementBytes} bytes`, {
        expected: `offset and size that are multiples of ${elementBytes}`,
        got: `offset ${this.byteOffset}, size ${this.sizeBytes}`,
      });
    }
  }
}

function checkRange(what: string, availableBytes: number, offsetBytes: number, sizeBytes: number): void {
  const isInside =
    Number.isSafeInteger(offsetBytes) &&
    Number.isSafeInteger(sizeBytes) &&
    offsetBytes >= 0 &&
    sizeBytes >= 0 &&
    offsetBytes <= availableBytes - sizeBytes;
  if (isInside) return;
  throw new RegionError(`a region does not lie inside ${what}`, {
    expected: `offset + size of at most ${availableBytes} bytes, both whole and not negative`,
    got: `offset ${offsetBytes}, size ${sizeBytes}`,
  });
}

// Files in place: `mmap` with MAP_FIXED lays a file's pages over a range of the arena's shared wasm memory, so that
// compiled wasm, native code and every worker read them from the page cache and nothing is copied. Where that cannot be
// done (not Linux, no `node:ffi`, a file system without mmap) the file is read into the same range, and `how` says so.
//
// Mappings for reading are MAP_PRIVATE and nominally writable. Read-only pages would be the safer choice, but V8 makes
// the whole memory writable again each time that it grows; private pages at least keep every stray write away from the
// file. A file that is cut short by another program while it is mapped kills the process (SIGBUS), as with every mmap;
// files that Fidelity writes are replaced by rename and never cut. Files mapped for writing are in
// memory/writable-file.node.ts.
//
// Large files lie so that huge pages of the system's cache can back them whole: a file of gigabytes is then there at
// once and not after a fault, or a page's work, for every 4 KiB, and misses of the address translation are few. Linux
// 6.16 and later keep files in such pages on ext4, XFS and btrfs, where they were written (file.node.ts) or read so.

import { closeSync, fstatSync, openSync, readSync } from "node:fs";

import { WASM_PAGE_BYTES } from "./arena.ts";
import type { Allocation, SharedArena } from "./arena.ts";
import { ContainerError } from "./container/errors.ts";
import { loadFfi } from "./ffi.node.ts";
import type { Ffi } from "./ffi.node.ts";
import { FileError, toFileError } from "./file.node.ts";
import { recordCopy } from "./memory/copies.ts";
import { adviseHugePages, HUGE_PAGE_BYTES } from "./memory/huge.node.ts";
import type { Region } from "./region.ts";

// Linux, the same on x86-64, aarch64 and riscv64.
const PROT_READ_WRITE = 1 | 2;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const READ_BYTES_MAX = 2 ** 30;

/** How a file came into memory: its pages lie there in place, or were copied by reading. */
export type HowMapped = "mapped" | "read";

/** Which part of a file to map, and how. */
export interface MapOptions {
  /** Where the part starts; any offset will do. Default 0. */
  readonly offset?: number;
  /** Default: up to the end of the file. */
  readonly sizeBytes?: number;
  /** "read" copies on purpose, so that the file may change afterwards. Default "mapped", where it can be had. */
  readonly how?: HowMapped;
}

/** A file, or a part of one, in the arena's memory. Dispose it before the arena. */
export class MappedFile implements Disposable {
  readonly path: string;
  readonly region: Region<"mapped", "r">;
  readonly how: HowMapped;
  /** Why the file was read and not mapped; undefined where it was mapped. */
  readonly reason: string | undefined;
  readonly #allocation: Allocation;
  readonly #unmap: () => void;

  constructor(
    path: string,
    region: Region<"mapped", "r">,
    allocation: Allocation,
    reason: string | undefined,
    unmap: () => void,
  ) {
    this.path = path;
    this.region = region;
    this.how = reason === undefined ? "mapped" : "read";
    this.reason = reason;
    this.#allocation = allocation;
    this.#unmap = unmap;
  }

  /** Takes the file's pages out of the memory, puts zeros in their place and gives the range back to the arena. */
  [Symbol.dispose](): void {
    if (!this.#allocation.isAlive) return;
    this.#unmap();
    this.#allocation[Symbol.dispose]();
  }
}

/**
 * Brings a file, or a part of it, into the arena's memory without copying where the system can. The region starts at a
 * multiple of 64 KiB plus `offset` modulo 64 KiB; the address of one of 2 MiB and more is `offset` modulo 2 MiB. Throws
 * `FileError`, and `OutOfMemoryError` where the arena is small.
 */
export function mapFile(path: string, arena: SharedArena, options: MapOptions = {}): MappedFile {
  return withFile(path, (descriptor, fileSizeBytes) => mapDescriptor(path, descriptor, fileSizeBytes, arena, options));
}

/** Gives the descriptor and size of a regular file to `action`. Errors name the path. */
export function withFile<T>(path: string, action: (descriptor: number, fileSizeBytes: number) => T): T {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, "r");
    const stats = fstatSync(descriptor);
    if (stats.isDirectory()) throw new FileError("read", path, "EISDIR");
    if (!stats.isFile()) throw new FileError("read", path, "NOT_REGULAR");
    return action(descriptor, stats.size);
  } catch (error) {
    if (error instanceof ContainerError) throw error.inFile(path);
    throw toFileError(error, "read", path);
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** Maps a part of a file that is open. */
export function mapDescriptor(
  path: string,
  descriptor: number,
  fileSizeBytes: number,
  arena: SharedArena,
  options: MapOptions,
): MappedFile {
  const { offset = 0, sizeBytes = Math.max(0, fileSizeBytes - offset) } = options;
  if (!(offset >= 0 && sizeBytes >= 0 && offset + sizeBytes <= fileSizeBytes)) {
    const got = `${fileSizeBytes} bytes in the file, ${sizeBytes} of them wanted from ${offset} on`;
    throw new FileError("read", path, "TRUNCATED", { got });
  }
  const mapper = options.how === "read" ? "reading was asked for" : pageMapper(arena.memory);
  const leadBytes = offset % WASM_PAGE_BYTES;
  const pagesBytes = Math.ceil((leadBytes + sizeBytes) / WASM_PAGE_BYTES) * WASM_PAGE_BYTES;
  const isLarge = sizeBytes >= HUGE_PAGE_BYTES && typeof mapper !== "string";
  const allocation = arena.alloc(pagesBytes + (isLarge ? HUGE_PAGE_BYTES : 0), WASM_PAGE_BYTES, path);
  try {
    const shiftBytes = isLarge ? hugePageShift(mapper.base + BigInt(allocation.byteOffset), offset - leadBytes) : 0;
    const region = allocation.asMapped(shiftBytes + leadBytes, sizeBytes);
    const range = { byteOffset: allocation.byteOffset + shiftBytes, sizeBytes: leadBytes + sizeBytes };
    const reason = typeof mapper === "string" ? mapper : mapper.map(range, descriptor, offset - leadBytes);
    if (reason === undefined) {
      adviseHugePages(region);
      const unmap = (): void => (typeof mapper === "string" ? undefined : mapper.unmap(range));
      return new MappedFile(path, region, allocation, undefined, unmap);
    }
    const start = shiftBytes + leadBytes;
    readInto(path, descriptor, allocation.u8().subarray(start, start + sizeBytes), offset);
    recordCopy({ from: "file", to: "mapped", sizeBytes, label: path });
    return new MappedFile(path, region, allocation, reason, () => undefined);
  } catch (error) {
    allocation[Symbol.dispose]();
    throw error;
  }
}

/** How far behind an address a part of a file is to lie so that huge pages begin in both at the same places. */
function hugePageShift(address: bigint, fileOffset: number): number {
  return Number(BigInt.asUintN(64, BigInt(fileOffset) - address) % BigInt(HUGE_PAGE_BYTES));
}

/** A range that starts at a page. */
export interface PageRange {
  readonly byteOffset: number;
  readonly sizeBytes: number;
}

/** Puts pages in the place of others, in the range of a memory. */
export interface PageMapper {
  /** The address of the memory's first byte. */
  readonly base: bigint;
  /** Lays a file's pages over a range of the memory; a reason in words where the system refuses. */
  map(range: PageRange, descriptor: number, fileOffset: number, isWritten?: boolean): string | undefined;
  /** Lays pages of zeros over the range. */
  unmap(range: PageRange): void;
}

let mmapOfLibc: ReturnType<typeof findMmap> | undefined;

function findMmap(ffi: Ffi) {
  return ffi.dlopen(null, {
    mmap: { arguments: ["pointer", "uint64", "int32", "int32", "int32", "int64"], return: "pointer" },
  }).functions.mmap;
}

/** A mapper over a memory, or the reason why there is none. */
export function pageMapper(memory: WebAssembly.Memory): PageMapper | string {
  if (process.platform !== "linux") return `mapping into wasm memory is done on Linux only, not on ${process.platform}`;
  const { ffi, reason } = loadFfi();
  if (ffi === undefined) return reason;
  mmapOfLibc ??= findMmap(ffi);
  const mmap = mmapOfLibc;
  // The memory's address space is reserved up to its maximum, so its base stays where it is when the memory grows.
  const base = ffi.getRawPointer(new Uint8Array(memory.buffer));
  const lay = (
    { byteOffset, sizeBytes }: PageRange,
    flags: number,
    descriptor: number,
    fileOffset: number,
  ): boolean => {
    const address = base + BigInt(byteOffset);
    const fixed = MAP_FIXED | MAP_NORESERVE | flags;
    return mmap(address, BigInt(sizeBytes), PROT_READ_WRITE, fixed, descriptor, BigInt(fileOffset)) === address;
  };
  const unmap = (range: PageRange): void => {
    // Without this the arena would give out file pages as if they were memory, so there is no way on.
    if (!lay(range, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
      throw new Error("mmap refused to put anonymous pages over a mapped file");
  };
  const map = (range: PageRange, descriptor: number, fileOffset: number, isWritten = false): string | undefined => {
    if (range.sizeBytes === 0) return "the part of the file is empty";
    if (lay(range, isWritten ? MAP_SHARED : MAP_PRIVATE, descriptor, fileOffset)) return undefined;
    unmap(range); // a refused MAP_FIXED may have taken the old pages away
    return "mmap refused this file";
  };
  return { base, map, unmap };
}

/** Reads exactly as many bytes as there is room for. Throws `FileError` where the file ends before. */
export function readInto(path: string, descriptor: number, bytes: Uint8Array, offset: number): void {
  for (let at = 0; at < bytes.length;) {
    const count = readSync(descriptor, bytes, at, Math.min(bytes.length - at, READ_BYTES_MAX), offset + at);
    if (count === 0) throw new FileError("read", path, "TRUNCATED", { got: `${offset + at} bytes` });
    at += count;
  }
}

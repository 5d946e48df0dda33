// Files mapped for reading and writing: MAP_SHARED pages in the arena's memory, so that what wasm, native code or views
// write is the file's, for every process that maps it. `flush` makes it durable (msync and fsync).
//
// Growth: the file is made longer first (`ftruncate`, which either happens or does not, and adds zeros) and synced,
// then the new pages are mapped behind the old ones, in a range that was set aside at the start, so addresses stay.
// After a crash the file has the old length or the new one, with zeros at its end, and never a part of a page. It is
// never made shorter while it is mapped. Bytes inside of it are written in place and are not atomic: a format that must
// survive a crash writes new bytes first, flushes, and then the one word that makes them count.
//
// Where pages cannot be mapped the file is read into the same range, and `flush` and dispose write it back.
// Left out: locks between processes.

import { closeSync, constants, fstatSync, fsyncSync, ftruncateSync, openSync, writeSync } from "node:fs";

import { WASM_PAGE_BYTES } from "../arena.ts";
import type { Allocation, SharedArena } from "../arena.ts";
import { FileError, toFileError } from "../file.node.ts";
import { pageMapper, readInto } from "../map.node.ts";
import type { HowMapped, PageMapper } from "../map.node.ts";
import type { Region } from "../region.ts";
import { recordCopy } from "./copies.ts";
import { addressOf, libc } from "./libc.node.ts";

const MS_SYNC = 4;

/** How to open a file for writing in place. */
export interface WritableOptions {
  /** The file is made this long if it is shorter, and created if it is missing. Default: its size, which must exist. */
  readonly sizeBytes?: number;
  /**
   * How far `grow` may go, rounded up to 64 KiB; this much of the arena's address space is set aside. Default: the size
   * at the start.
   */
  readonly maximumBytes?: number;
  /** "read" does not map even where that could be done. */
  readonly how?: HowMapped;
}

/** A file in the arena's memory that is written in place. Dispose it before the arena. */
export class WritableFile implements Disposable {
  readonly path: string;
  readonly maximumBytes: number;
  /** Why the file was read and is written back; undefined where it is mapped. */
  readonly reason: string | undefined;
  readonly #descriptor: number;
  readonly #allocation: Allocation;
  readonly #mapper: PageMapper | undefined;
  #region: Region<"mapped", "rw">;

  constructor(path: string, descriptor: number, allocation: Allocation, sizeBytes: number, how: PageMapper | string) {
    this.path = path;
    this.maximumBytes = allocation.sizeBytes;
    this.reason = typeof how === "string" ? how : undefined;
    this.#descriptor = descriptor;
    this.#allocation = allocation;
    this.#mapper = typeof how === "string" ? undefined : how;
    this.#region = allocation.asWritableMapped(0, sizeBytes);
  }

  /** How the bytes came into memory. */
  get how(): HowMapped {
    return this.reason === undefined ? "mapped" : "read";
  }

  /** All of the file. After `grow` this is a longer region; the earlier one shows the part that it did. */
  get region(): Region<"mapped", "rw"> {
    return this.#region;
  }

  /** Makes the file longer; the new bytes are zero. Throws `FileError` beyond `maximumBytes` or for a shorter size. */
  grow(sizeBytes: number): void {
    const old = this.#region.sizeBytes;
    if (!(Number.isSafeInteger(sizeBytes) && sizeBytes >= old && sizeBytes <= this.maximumBytes)) {
      throw new FileError("write", this.path, "OUT_OF_RANGE", {
        got: `${sizeBytes}, for ${old} to ${this.maximumBytes}`,
      });
    }
    try {
      ftruncateSync(this.#descriptor, sizeBytes);
      fsyncSync(this.#descriptor);
    } catch (error) {
      throw toFileError(error, "write", this.path);
    }
    // From the last page of the old mapping on, since that ended inside of it. Its bytes are the file's both times.
    const from = Math.floor(old / WASM_PAGE_BYTES) * WASM_PAGE_BYTES;
    if (this.#mapper === undefined) this.#allocation.u8().fill(0, old, sizeBytes);
    else if (sizeBytes > old) {
      const range = { byteOffset: this.#allocation.byteOffset + from, sizeBytes: sizeBytes - from };
      const refused = this.#mapper.map(range, this.#descriptor, from, true);
      if (refused !== undefined) throw new FileError("write", this.path, "MMAP", { got: refused });
    }
    this.#region = this.#allocation.asWritableMapped(0, sizeBytes);
  }

  /** Returns when what was written is on the disk. Throws `FileError` where the system cannot say so. */
  flush(): void {
    try {
      if (this.#mapper === undefined) this.#writeBack();
      else this.#sync();
      fsyncSync(this.#descriptor);
    } catch (error) {
      throw toFileError(error, "write", this.path);
    }
  }

  /** Unmaps the file, whose pages the system writes in its own time, or writes back what was read. */
  [Symbol.dispose](): void {
    if (!this.#allocation.isAlive) return;
    try {
      if (this.#mapper === undefined) this.#writeBack();
    } finally {
      const { byteOffset } = this.#allocation;
      if (this.#region.sizeBytes > 0) this.#mapper?.unmap({ byteOffset, sizeBytes: this.#region.sizeBytes });
      this.#allocation[Symbol.dispose]();
      closeSync(this.#descriptor);
    }
  }

  #sync(): void {
    const calls = libc();
    const { sizeBytes } = this.#region;
    if (typeof calls === "string" || sizeBytes === 0) return;
    if (calls.msync(addressOf(this.#region, calls), BigInt(sizeBytes), MS_SYNC) !== 0)
      throw new FileError("write", this.path, "MSYNC");
  }

  #writeBack(): void {
    const bytes = this.#region.u8();
    for (let at = 0; at < bytes.length;) at += writeSync(this.#descriptor, bytes, at, bytes.length - at, at);
    recordCopy({ from: "mapped", to: "file", sizeBytes: bytes.length, label: this.path });
  }
}

/** Opens a file to be written in place. Throws `FileError`, and `OutOfMemoryError` where the arena is small. */
export function mapFileWritable(path: string, arena: SharedArena, options: WritableOptions = {}): WritableFile {
  let descriptor: number | undefined;
  let allocation: Allocation | undefined;
  try {
    const create = options.sizeBytes === undefined ? 0 : constants.O_CREAT;
    descriptor = openSync(path, constants.O_RDWR | create, 0o644);
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) throw new FileError("write", path, stats.isDirectory() ? "EISDIR" : "NOT_REGULAR");
    const sizeBytes = Math.max(stats.size, options.sizeBytes ?? 0);
    const maximumBytes = Math.max(sizeBytes, options.maximumBytes ?? 0, 1);
    allocation = arena.alloc(Math.ceil(maximumBytes / WASM_PAGE_BYTES) * WASM_PAGE_BYTES, WASM_PAGE_BYTES, path);
    if (sizeBytes > stats.size) {
      ftruncateSync(descriptor, sizeBytes);
      fsyncSync(descriptor);
    }
    return new WritableFile(
      path,
      descriptor,
      allocation,
      sizeBytes,
      mapOrRead(path, descriptor, allocation, sizeBytes, arena, options),
    );
  } catch (error) {
    allocation?.[Symbol.dispose]();
    if (descriptor !== undefined) closeSync(descriptor);
    throw toFileError(error, "write", path);
  }
}

function mapOrRead(
  path: string,
  descriptor: number,
  allocation: Allocation,
  sizeBytes: number,
  arena: SharedArena,
  options: WritableOptions,
): PageMapper | string {
  const mapper = options.how === "read" ? "reading was asked for" : pageMapper(arena.memory);
  const range = { byteOffset: allocation.byteOffset, sizeBytes };
  const isEmpty = sizeBytes === 0;
  const refused = typeof mapper === "string" ? mapper : isEmpty ? undefined : mapper.map(range, descriptor, 0, true);
  if (refused === undefined) return mapper;
  readInto(path, descriptor, allocation.u8().subarray(0, sizeBytes), 0);
  recordCopy({ from: "file", to: "mapped", sizeBytes, label: path });
  return refused;
}

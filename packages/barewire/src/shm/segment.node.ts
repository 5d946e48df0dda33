// Shared memory by name: the same pages in every process that opens it, as an ArrayBuffer that nothing copies.
//
//   byte 0      "BAREWSHM", version (u32), state (i32), size of the data (u64)
//   byte 64     users: identities of the threads that have it open (i64 each), 0 where free
//   byte 4096   the data
//
// A segment is made under a name of its own and linked to its true name when it is whole, so that a name never leads to
// half of one. Its pages are reserved at once (posix_fallocate), since writing to a page that /dev/shm cannot give
// kills the process. The last user to close it takes the name away. When processes are killed, or threads terminated,
// their identities stay behind: a segment whose users are all dead is removed by the next process that creates, opens
// or sweeps.
//
// Left out: systems other than Linux, segments that grow, access for other users than the one who made it.

import { closeSync, constants, fstatSync, ftruncateSync, linkSync, openSync, readSync, rmSync } from "node:fs";

import { loadLibc } from "../ffi.node.ts";
import type { Libc } from "../ffi.node.ts";
import { Region } from "../region.ts";
import {
  NotSharedMemoryError,
  SharedMemoryError,
  SharedMemoryExistsError,
  SharedMemoryFullError,
  SharedMemoryMissingError,
  SharedMemoryPermissionError,
  SharedMemoryTooSmallError,
  SharedMemoryUnsupportedError,
  SharedMemoryVersionError,
} from "./errors.ts";
import { isProcessAlive, ownThreadIdentity } from "./identity.node.ts";
import { listSegments, removeName, segmentPath, temporaryPath } from "./names.node.ts";

/** The data of a segment begins here. */
export const SEGMENT_HEADER_BYTES = 4096;

/** Segments are at most this large: 64 GiB. */
export const SEGMENT_BYTES_MAX = 2 ** 36;

const MAGIC = 0x4d485357_45524142n; // "BAREWSHM"
const VERSION = 1;
const VERSION_WORD = 2;
const STATE_WORD = 3;
const SIZE_LONG = 2;
const USERS_LONG = 8;
const USERS_MAX = (SEGMENT_HEADER_BYTES - 64) / 8;
const OPEN = 1;
const CLOSED = 2;

const PROT_READ_WRITE = 1 | 2;
const MAP_SHARED = 1;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;
const ENOSPC = 28;
const EINTR = 4;
// A segment that is just being closed is gone within a moment.
const ATTEMPTS = 50;

interface Mapping {
  readonly buffer: ArrayBuffer;
  readonly address: bigint;
  readonly inode: bigint;
}

// A process that ends without closing gives its segments back all the same; one that is killed cannot.
const open = new Set<SharedSegment>();
let hasExitListener = false;
let hasSwept = false;

/** Memory that other processes have as well. Close it, or hold it with `using`. */
export class SharedSegment implements Disposable {
  readonly name: string;
  /** Bytes of data, from `SEGMENT_HEADER_BYTES` of the buffer on. */
  readonly sizeBytes: number;
  /** Address of the first byte of the buffer. */
  readonly address: bigint;
  readonly #buffer: ArrayBuffer;
  readonly #longs: BigInt64Array;
  readonly #words: Int32Array;
  readonly #inode: bigint;
  readonly #libc: Libc;
  readonly #lifetime = { isAlive: true };
  readonly #user: number;

  private constructor(name: string, libc: Libc, mapping: Mapping, user: number) {
    this.name = name;
    this.address = mapping.address;
    this.#buffer = mapping.buffer;
    this.#inode = mapping.inode;
    this.#libc = libc;
    this.#user = user;
    this.#longs = new BigInt64Array(mapping.buffer, 0, SEGMENT_HEADER_BYTES / 8);
    this.#words = new Int32Array(mapping.buffer, 0, SEGMENT_HEADER_BYTES / 4);
    this.sizeBytes = mapping.buffer.byteLength - SEGMENT_HEADER_BYTES;
    open.add(this);
    if (hasExitListener) return;
    hasExitListener = true;
    process.on("exit", () => {
      for (const segment of [...open]) segment.close();
    });
  }

  /**
   * Makes a segment of zeros; `init` may write into it before anyone else can see it. Throws subclasses of
   * `SharedMemoryError`: `SharedMemoryExistsError`, `SharedMemoryFullError`, ...
   */
  static create(name: string, sizeBytes: number, init: (segment: SharedSegment) => void = () => {}): SharedSegment {
    const path = segmentPath(name);
    const libc = needLibc(name);
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes > SEGMENT_BYTES_MAX) {
      throw new SharedMemoryError(name, "shared memory cannot have this size", {
        expected: `1 to ${SEGMENT_BYTES_MAX} bytes`,
        got: String(sizeBytes),
      });
    }
    sweepOnce();
    const temporary = temporaryPath("new");
    try {
      const dataBytes = Math.ceil(sizeBytes / 64) * 64;
      const mapping = makeFile(name, libc, temporary, SEGMENT_HEADER_BYTES + dataBytes);
      writeHeader(mapping.buffer, dataBytes);
      const segment = new SharedSegment(name, libc, mapping, 0);
      try {
        init(segment);
        linkTo(name, temporary, path);
      } catch (error) {
        segment.#unmap();
        throw error;
      }
      return segment;
    } finally {
      rmSync(temporary, { force: true });
    }
  }

  /** Opens a segment. Throws `SharedMemoryMissingError`, `NotSharedMemoryError` and others by name. */
  static open(name: string, options: { readonly sizeBytesMin?: number } = {}): SharedSegment {
    const path = segmentPath(name);
    const libc = needLibc(name);
    sweepOnce();
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const segment = SharedSegment.#openOnce(name, libc, path, options.sizeBytesMin ?? 0);
      if (segment !== undefined) return segment;
      sleep(1);
    }
    throw missing(name);
  }

  /** The data, as a region. */
  region(): Region<"shared", "rw"> {
    return new Region({ buffer: this.buffer }, "shared", "rw", SEGMENT_HEADER_BYTES, this.sizeBytes, this.#lifetime);
  }

  /** Header and data. After `close` it has no bytes left. */
  get buffer(): ArrayBuffer {
    return this.#buffer;
  }

  /** False once it was closed. */
  get isOpen(): boolean {
    return this.#lifetime.isAlive;
  }

  /** Takes the memory away from this thread: its views have no bytes left. The last user removes the name as well. */
  close(): void {
    if (!this.#lifetime.isAlive) return;
    Atomics.store(this.#longs, USERS_LONG + this.#user, 0n);
    if (!hasUser(this.#longs) && Atomics.compareExchange(this.#words, STATE_WORD, OPEN, CLOSED) === OPEN) {
      // Someone may have come in before it was closed: then it stays.
      if (hasUser(this.#longs)) Atomics.store(this.#words, STATE_WORD, OPEN);
      else removeName(segmentPath(this.name), this.#inode);
    }
    this.#unmap();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // Undefined where the segment is just being closed.
  static #openOnce(name: string, libc: Libc, path: string, sizeBytesMin: number): SharedSegment | undefined {
    const mapping = mapFile(name, libc, path, sizeBytesMin);
    const longs = new BigInt64Array(mapping.buffer);
    const words = new Int32Array(mapping.buffer);
    const close = (): void => unmap(libc, mapping.buffer, mapping.address);
    if (!hasUser(longs) && Atomics.load(words, STATE_WORD) === OPEN) {
      removeName(path, mapping.inode);
      close();
      throw missing(name);
    }
    const user = takeEntry(longs);
    if (user < 0) {
      close();
      throw new SharedMemoryFullError(name, "shared memory has no room for another user", {
        got: `${USERS_MAX} users`,
      });
    }
    if (Atomics.load(words, STATE_WORD) === OPEN) return new SharedSegment(name, libc, mapping, user);
    Atomics.store(longs, USERS_LONG + user, 0n);
    const isLeft = !hasUser(longs);
    if (isLeft) removeName(path, mapping.inode); // its last user was killed while closing it
    close();
    return undefined;
  }

  #unmap(): void {
    this.#lifetime.isAlive = false;
    open.delete(this);
    unmap(this.#libc, this.#buffer, this.address);
  }
}

/**
 * Removes the segments whose users are all dead, and says how many. The first `create` or `open` of a process does it
 * by itself.
 */
export function sweepSharedMemory(): number {
  const { segments, unfinished } = listSegments();
  for (const path of unfinished) rmSync(path, { force: true });
  const left = segments.filter((path) => removeIfLeft(path));
  return left.length + unfinished.length;
}

function sweepOnce(): void {
  if (hasSwept) return;
  hasSwept = true;
  sweepSharedMemory();
}

// The header is read and not mapped, so that a file that is cut short meanwhile does no harm.
function removeIfLeft(path: string): boolean {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch {
    return false; // another user's, or gone
  }
  try {
    const header = new BigInt64Array(SEGMENT_HEADER_BYTES / 8);
    const bytes = new Uint8Array(header.buffer);
    const stats = fstatSync(descriptor, { bigint: true });
    if (!stats.isFile() || stats.uid !== BigInt(process.geteuid!())) return false;
    if (readSync(descriptor, bytes, 0, bytes.length, 0) !== bytes.length) return false;
    if (header[0] !== MAGIC || new Int32Array(header.buffer)[VERSION_WORD] !== VERSION || hasUser(header)) return false;
    removeName(path, stats.ino);
    return true;
  } finally {
    closeSync(descriptor);
  }
}

function needLibc(name: string): Libc {
  const { libc, reason } = process.platform === "linux" ? loadLibc() : { reason: `this is ${process.platform}` };
  if (libc !== undefined) return libc;
  throw new SharedMemoryUnsupportedError(name, "memory cannot be shared by name here", {
    expected: "Linux, and a Node with node:ffi",
    got: reason,
    hint: "use channels between threads, or over TCP",
  });
}

function makeFile(name: string, libc: Libc, path: string, sizeBytes: number): Mapping {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const descriptor = openOrThrow(name, path, flags);
  try {
    ftruncateSync(descriptor, sizeBytes);
    let code = EINTR;
    while (code === EINTR) code = libc.posix_fallocate(descriptor, 0n, BigInt(sizeBytes));
    if (code !== 0) {
      throw new SharedMemoryFullError(name, "the system has no room for shared memory", {
        expected: `${sizeBytes} bytes in /dev/shm`,
        got: code === ENOSPC ? "too few left" : `error ${code} of posix_fallocate`,
        hint: "ask for less, remove what lies in /dev/shm, or make it larger (docker run --shm-size)",
      });
    }
    return map(name, libc, descriptor, sizeBytes, fstatSync(descriptor, { bigint: true }).ino);
  } finally {
    closeSync(descriptor);
  }
}

function linkTo(name: string, from: string, path: string): void {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    try {
      linkSync(from, path);
      return;
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw refused(name, error);
    }
    if (!removeIfLeft(path)) break; // what a crash left is replaced
  }
  throw new SharedMemoryExistsError(name, "there is shared memory of this name already", {
    got: "a segment that someone uses, or a file that is none",
    hint: "open it, or take another name",
  });
}

function mapFile(name: string, libc: Libc, path: string, sizeBytesMin: number): Mapping {
  const descriptor = openOrThrow(name, path, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    const stats = fstatSync(descriptor, { bigint: true });
    const sizeBytes = Number(stats.size);
    const header = new BigInt64Array(8);
    const count = stats.isFile() ? readSync(descriptor, new Uint8Array(header.buffer), 0, 64, 0) : 0;
    const hint = "take another name";
    if (count < 64 || header[0] !== MAGIC) {
      throw new NotSharedMemoryError(name, "something else has this name", { got: path, hint });
    }
    const version = new Int32Array(header.buffer)[VERSION_WORD];
    if (version !== VERSION) {
      throw new SharedMemoryVersionError(name, "shared memory of another version of this package", {
        expected: `version ${VERSION}`,
        got: `version ${version}`,
        hint: "use the same version of the package in both programs",
      });
    }
    const dataBytes = Number(header[SIZE_LONG]);
    if (sizeBytes !== SEGMENT_HEADER_BYTES + dataBytes || dataBytes <= 0 || dataBytes > SEGMENT_BYTES_MAX) {
      const got = `${sizeBytes} bytes, and a header that says ${dataBytes} of data`;
      throw new NotSharedMemoryError(name, "shared memory is damaged", { got, hint });
    }
    if (dataBytes < sizeBytesMin) {
      const details = { expected: `at least ${sizeBytesMin} bytes`, got: `${dataBytes} bytes` };
      throw new SharedMemoryTooSmallError(name, "shared memory is smaller than needed", details);
    }
    return map(name, libc, descriptor, sizeBytes, stats.ino);
  } finally {
    closeSync(descriptor);
  }
}

function map(name: string, libc: Libc, descriptor: number, sizeBytes: number, inode: bigint): Mapping {
  const address = libc.mmap(0n, BigInt(sizeBytes), PROT_READ_WRITE, MAP_SHARED, descriptor, 0n);
  if (address === MAP_FAILED) {
    throw new SharedMemoryFullError(name, "the system refuses to map shared memory", {
      got: `${sizeBytes} bytes`,
      hint: "raise the limit of address space (ulimit -v)",
    });
  }
  return { buffer: libc.toArrayBuffer(address, sizeBytes), address, inode };
}

// Detached first, so that views that are used afterwards have no bytes instead of pages that are not there.
function unmap(libc: Libc, buffer: ArrayBuffer, address: bigint): void {
  const sizeBytes = buffer.byteLength;
  buffer.transfer(0);
  libc.munmap(address, BigInt(sizeBytes));
}

function writeHeader(buffer: ArrayBuffer, dataBytes: number): void {
  const longs = new BigInt64Array(buffer);
  const words = new Int32Array(buffer);
  longs[0] = MAGIC;
  words[VERSION_WORD] = VERSION;
  words[STATE_WORD] = OPEN;
  longs[SIZE_LONG] = BigInt(dataBytes);
  longs[USERS_LONG] = ownThreadIdentity();
}

// Whether a process that lives has it open.
function hasUser(longs: BigInt64Array): boolean {
  for (let user = 0; user < USERS_MAX; user++) {
    const identity = Atomics.load(longs, USERS_LONG + user);
    if (identity !== 0n && isProcessAlive(identity)) return true;
  }
  return false;
}

function takeEntry(longs: BigInt64Array): number {
  for (let user = 0; user < USERS_MAX; user++) {
    const present = Atomics.load(longs, USERS_LONG + user);
    if (present !== 0n && isProcessAlive(present)) continue;
    if (Atomics.compareExchange(longs, USERS_LONG + user, present, ownThreadIdentity()) === present) return user;
  }
  return -1;
}

function openOrThrow(name: string, path: string, flags: number): number {
  try {
    return openSync(path, flags, 0o600);
  } catch (error) {
    throw refused(name, error);
  }
}

function refused(name: string, cause: unknown): unknown {
  const code = codeOf(cause);
  if (code === "ENOENT") return missing(name);
  if (code === "EACCES" || code === "EPERM") {
    const hint = "run both programs as the same user";
    return new SharedMemoryPermissionError(name, "the system does not permit shared memory", {
      got: code,
      hint,
      cause,
    });
  }
  if (code === "ELOOP" || code === "EISDIR") {
    return new NotSharedMemoryError(name, "something else has this name", {
      got: code,
      hint: "take another name",
      cause,
    });
  }
  if (code === "ENOSPC") {
    return new SharedMemoryFullError(name, "the system has no room for shared memory", { got: code, cause });
  }
  return code === undefined
    ? cause
    : new SharedMemoryError(name, "the system refuses shared memory", { got: code, cause });
}

function missing(name: string): SharedMemoryMissingError {
  return new SharedMemoryMissingError(name, "there is no shared memory of this name", {
    hint: "create it first; it is removed when its last user closes it or is gone",
  });
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** Holds this thread up for a moment. */
export function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

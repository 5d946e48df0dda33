// Writing files so that they are whole or not there: a temporary file beside the target, written, synced, renamed
// over it, and the folder synced (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014). What the system
// refuses comes back as a `FileError` in words. Left out: ownership, extended attributes, hard links of the old file.

import { randomBytes } from "node:crypto";
import {
  closeSync,
  fchmodSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";

import { FidelityError } from "@fidelity/units";
import { writeContainer } from "./container/write.ts";
import type { ContainerInput } from "./container/write.ts";

const WRITE_BYTES_MAX = 2 ** 30; // one system call takes less than 2 GiB
const BLOCK_BYTES = 2 ** 21; // a huge page
const WAITING_BYTES_MIN = 2 ** 14;

/** A file could not be read or written. `code` is the system's name for the reason, such as "ENOSPC". */
export class FileError extends FidelityError {
  readonly path: string;
  readonly code: string;

  constructor(
    operation: "read" | "write",
    path: string,
    code: string,
    details: { got?: string; hint?: string; cause?: unknown } = {},
  ) {
    const { reason, hint } = REASONS[code] ?? {
      reason: `the system says ${code}`,
      hint: "check the path and the disk",
    };
    const isNoFolder = code === "ENOENT" && operation === "write";
    const what = isNoFolder ? "create the folder before writing to it" : hint;
    super(`cannot ${operation} a file: ${reason}`, { where: path, hint: what, ...details });
    this.path = path;
    this.code = code;
  }
}

const REASONS: Readonly<Record<string, { readonly reason: string; readonly hint: string }>> = {
  ENOENT: { reason: "there is no such file or folder", hint: "check the path" },
  EEXIST: { reason: "there is a file in its place", hint: "choose another name, or take the file away" },
  EISDIR: { reason: "the path is a folder", hint: "give the path of a file" },
  ENOTDIR: { reason: "a part of the path is a file and not a folder", hint: "check the path" },
  EACCES: {
    reason: "permission is denied",
    hint: "check the owner and mode of the file and its folder, or use another folder",
  },
  EPERM: { reason: "the system does not permit it", hint: "check the owner and attributes of the file and its folder" },
  EROFS: { reason: "the file system is read-only", hint: "write to another folder, or mount the file system writable" },
  ENOSPC: { reason: "the disk is full", hint: "make room or use another disk; what was there before is unchanged" },
  EDQUOT: { reason: "the disk quota is used up", hint: "make room; what was there before is unchanged" },
  EFBIG: {
    reason: "the file is larger than the system allows",
    hint: "raise the limit (ulimit -f) or use another disk",
  },
  EMFILE: { reason: "too many files are open", hint: "raise the limit (ulimit -n)" },
  ENAMETOOLONG: { reason: "the name is too long", hint: "use a shorter name" },
  EIO: { reason: "the disk reports an error", hint: "check the disk and its cable; take another copy of the file" },
  TRUNCATED: { reason: "it ends too early", hint: "copy or download the file again" },
  OUT_OF_RANGE: {
    reason: "a mapped file cannot take this size",
    hint: "open it with a larger maximumBytes; it is never made shorter while it is mapped",
  },
  MMAP: { reason: "its pages cannot be mapped", hint: 'open it with `how: "read"`' },
  MSYNC: { reason: "its pages cannot be written to the disk", hint: "check the disk, and what the system's log says" },
  NOT_REGULAR: { reason: "it is not a regular file", hint: "save its contents to a file first" },
};

/** The `FileError` for what a call of `node:fs` threw; anything else comes back as it is, to be thrown again. */
export function toFileError(error: unknown, operation: "read" | "write", path: string): unknown {
  const isSystemError = error instanceof Error && "code" in error && typeof error.code === "string" && "errno" in error;
  return isSystemError ? new FileError(operation, path, error.code as string, { cause: error }) : error;
}

/**
 * Makes a folder and those that it lies in, where they are not there; gives whether it did. Throws `FileError`.
 * @param mode of the folders that are made, 0o777 less the process's mask by default
 */
export function makeFolder(path: string, mode?: number): boolean {
  try {
    return mkdirSync(path, { recursive: true, mode }) !== undefined;
  } catch (error) {
    throw toFileError(hasCode(error, "ENOENT") ? reasonOfNone(resolve(path), error) : error, "write", path);
  }
}

/** Why a folder cannot be made: of a file system that is read-only, Node says that there is no such folder. */
function reasonOfNone(path: string, error: unknown): unknown {
  const parent = dirname(path);
  if (parent !== path && !existsSync(parent)) return reasonOfNone(parent, error);
  try {
    mkdirSync(path);
    return error;
  } catch (reason) {
    return reason;
  }
}

/**
 * Writes the pieces to `path`: all of them, or the file stays as it was and no trace is left. Links are followed, the
 * mode of an existing file is kept; devices and pipes are written to directly. Returns the number of bytes.
 * Throws `FileError`, or what the pieces throw.
 */
export function writeFileAtomic(path: string, pieces: Iterable<Uint8Array>): number {
  try {
    const old = statSync(path, { throwIfNoEntry: false });
    if (old?.isDirectory()) throw new FileError("write", path, "EISDIR");
    if (old === undefined || old.isFile()) return replaceFile(path, pieces);
    const descriptor = openSync(path, "w");
    try {
      return writePieces(descriptor, pieces);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw toFileError(error, "write", path);
  }
}

/**
 * `writeFileAtomic` for pieces that take long to make: other work of the process, such as hearing Ctrl-C, goes on
 * between them. Also throws the signal's reason.
 */
export async function writeFileGradually(
  path: string,
  pieces: Iterable<Uint8Array>,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<number> {
  try {
    const replacement = new Replacement(path);
    const blocks = new BlockWriter(replacement.descriptor);
    try {
      for (const piece of pieces) {
        blocks.write(piece);
        await nextTurn();
        signal?.throwIfAborted();
      }
      blocks.flush();
    } catch (error) {
      replacement.abort();
      throw error;
    }
    replacement.commit();
    return blocks.position;
  } catch (error) {
    throw toFileError(error, "write", path);
  }
}

/** Writes a model container to `path`, as `writeFileAtomic` does; tensors are not copied. Returns its size in bytes. */
export function writeContainerFile(path: string, input: ContainerInput): number {
  return writeFileAtomic(path, writeContainer(input));
}

/** A file that is being written beside the one whose place it will take. */
export class Replacement {
  readonly descriptor: number;
  readonly #target: string;
  readonly #temporary: string;
  readonly #mode: number | undefined;

  /** Opens the temporary file. Throws what `node:fs` throws, and `FileError` where the target is no regular file. */
  constructor(path: string) {
    const old = statSync(path, { throwIfNoEntry: false });
    if (old !== undefined && !old.isFile()) {
      throw new FileError("write", path, old.isDirectory() ? "EISDIR" : "NOT_REGULAR");
    }
    this.#target = old === undefined ? path : realpathSync(path);
    this.#mode = old === undefined ? undefined : old.mode & 0o777;
    this.#temporary = temporaryBeside(this.#target);
    this.descriptor = openSync(this.#temporary, "wx+");
  }

  /** Makes what was written durable and puts it in the target's place. The descriptor is closed, also by a failure. */
  commit(): void {
    try {
      try {
        if (this.#mode !== undefined) fchmodSync(this.descriptor, this.#mode);
        fsyncSync(this.descriptor);
      } finally {
        closeSync(this.descriptor);
      }
      renameSync(this.#temporary, this.#target);
    } catch (error) {
      rmSync(this.#temporary, { force: true });
      throw error;
    }
    syncFolder(dirname(this.#target));
  }

  /** Takes away what was written. */
  abort(): void {
    closeSync(this.descriptor);
    rmSync(this.#temporary, { force: true });
  }
}

function replaceFile(path: string, pieces: Iterable<Uint8Array>): number {
  const replacement = new Replacement(path);
  const blocks = new BlockWriter(replacement.descriptor);
  try {
    for (const piece of pieces) blocks.write(piece);
    blocks.flush();
  } catch (error) {
    replacement.abort();
    throw error;
  }
  replacement.commit();
  return blocks.position;
}

/**
 * Writes a file from some position on by its whole blocks of 2 MiB, which the system's cache then keeps in huge pages
 * where it can: whoever maps the file has it sooner (map.node.ts). What does not fill a block waits for `flush`.
 */
export class BlockWriter {
  readonly #descriptor: number;
  /** The last bytes that were given, up to `position`, and how many of them there are: grows up to a block. */
  #waiting = new Uint8Array(WAITING_BYTES_MIN);
  #waitingBytes = 0;
  #position: number;

  constructor(descriptor: number, position = 0) {
    this.#descriptor = descriptor;
    this.#position = position;
  }

  /** Where the next byte goes. */
  get position(): number {
    return this.#position;
  }

  /** Throws what `node:fs` throws. */
  write(piece: Uint8Array): void {
    for (let at = 0; at < piece.length;) {
      const left = piece.length - at;
      const room = BLOCK_BYTES - (this.#position % BLOCK_BYTES);
      if (this.#waitingBytes === 0 && left >= room) {
        const whole = room + Math.floor((left - room) / BLOCK_BYTES) * BLOCK_BYTES;
        writeAll(this.#descriptor, piece.subarray(at, at + whole), this.#position);
        this.#position += whole;
        at += whole;
      } else {
        const taken = Math.min(left, room);
        this.#keep(piece.subarray(at, at + taken));
        this.#position += taken;
        at += taken;
        if (taken === room) this.flush();
      }
    }
  }

  /** Writes what waits. Throws what `node:fs` throws. */
  flush(): void {
    writeAll(this.#descriptor, this.#waiting.subarray(0, this.#waitingBytes), this.#position - this.#waitingBytes);
    this.#waitingBytes = 0;
  }

  #keep(bytes: Uint8Array): void {
    const neededBytes = this.#waitingBytes + bytes.length;
    if (neededBytes > this.#waiting.length) {
      this.#waiting = new Uint8Array(this.#waiting.buffer.transfer(Math.min(BLOCK_BYTES, 2 * neededBytes)));
    }
    this.#waiting.set(bytes, this.#waitingBytes);
    this.#waitingBytes = neededBytes;
  }
}

/** A new name beside the target; what dead writers left there is taken away. */
export function temporaryBeside(target: string): string {
  const folder = dirname(target);
  const prefix = `.${basename(target)}.${hostname()}-`;
  removeStale(folder, prefix);
  return join(folder, `${prefix}${process.pid}-${randomBytes(4).toString("hex")}.tmp`);
}

function writePieces(descriptor: number, pieces: Iterable<Uint8Array>): number {
  let sizeBytes = 0;
  for (const piece of pieces) {
    writeAll(descriptor, piece);
    sizeBytes += piece.length;
  }
  return sizeBytes;
}

/** Writes all of a piece, at `position` or where the last write ended. */
export function writeAll(descriptor: number, piece: Uint8Array, position?: number): void {
  for (let at = 0; at < piece.length;) {
    const sizeBytes = Math.min(piece.length - at, WRITE_BYTES_MAX);
    at += writeSync(descriptor, piece, at, sizeBytes, position === undefined ? undefined : position + at);
  }
}

// The rename is on disk only when the folder is. Systems that cannot sync a folder (Windows, some network drives) say
// so by an error that means nothing for the file.
function syncFolder(folder: string): void {
  if (process.platform === "win32") return;
  const descriptor = openSync(folder, "r");
  try {
    fsyncSync(descriptor);
  } catch (error) {
    if (!hasCode(error, "EINVAL") && !hasCode(error, "ENOTSUP")) throw error;
  } finally {
    closeSync(descriptor);
  }
}

// A process that is killed while it writes leaves its temporary file. The name says which process of which host made
// it, so the next writer of the same target can take away those whose process is gone.
function removeStale(folder: string, prefix: string): void {
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(prefix) || !name.endsWith(".tmp")) continue;
    const pid = Number.parseInt(name.slice(prefix.length), 10);
    if (Number.isSafeInteger(pid) && pid > 0 && !isRunning(pid)) rmSync(join(folder, name), { force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !hasCode(error, "ESRCH");
  }
}

/** Whether an error is the system's, for this reason. */
export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

// Where the bytes of a file come from: memory, a mapping, a file that is read, or a server. `ContainerReader` reads a
// container through this and does not know which; sources that have the bytes in memory give them in place, and nothing
// is copied. Left out: writing.

import type { ReadonlyBytes } from "../region.ts";
import type { ByteRange } from "./container.ts";
import { SourceError } from "./source-errors.ts";

/** A part of a source, and where its bytes shall go: all of `into`. */
export interface ReadTarget {
  readonly offset: number;
  readonly into: Uint8Array;
}

/** What long reading takes. */
export interface ReadOptions {
  /** Ends the reading; its reason is thrown. */
  readonly signal?: AbortSignal;
  /** Hears how many of how many bytes are there, after every piece. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** Bytes that can be read at any place. */
export interface ByteSource {
  /** What errors call it: a path or an address. */
  readonly name: string;
  readonly sizeBytes: number;
  /** The bytes where they lie; absent where they must be fetched. */
  readonly view?: (range: ByteRange) => ReadonlyBytes;
  /** Fills the targets, in any order. Ranges lie inside of the source. */
  readInto(targets: readonly ReadTarget[], options?: ReadOptions): Promise<void>;
}

/** Bytes in memory as a source: an array, or the region of a mapped file. They are used in place. */
export function memorySource(bytes: ReadonlyBytes, name = "memory"): ByteSource {
  const view = ({ offset, sizeBytes }: ByteRange): ReadonlyBytes => bytes.subarray(offset, offset + sizeBytes);
  const source: ByteSource = {
    name,
    sizeBytes: bytes.length,
    view,
    readInto: async (targets) => {
      for (const { offset, into } of targets) {
        const range = { offset, sizeBytes: into.length };
        checkInside(source, range);
        into.set(view(range) as Uint8Array);
      }
    },
  };
  return source;
}

/** A file that a page was given, or any other blob, as a source: only the ranges that are asked for are read. */
export function blobSource(blob: Blob, name = blob instanceof File ? blob.name : "blob"): ByteSource {
  const source: ByteSource = {
    name,
    sizeBytes: blob.size,
    readInto: async (targets, { signal, onProgress } = {}) => {
      const totalBytes = targets.reduce((sum, { into }) => sum + into.length, 0);
      let doneBytes = 0;
      for (const { offset, into } of targets) {
        signal?.throwIfAborted();
        checkInside(source, { offset, sizeBytes: into.length });
        into.set(new Uint8Array(await readBlob(blob.slice(offset, offset + into.length), name)));
        doneBytes += into.length;
        onProgress?.(doneBytes, totalBytes);
      }
    },
  };
  return source;
}

async function readBlob(part: Blob, name: string): Promise<ArrayBuffer> {
  try {
    return await part.arrayBuffer();
  } catch (cause) {
    throw new SourceError("a file can no longer be read", {
      where: name,
      got: cause instanceof Error ? cause.message : String(cause),
      hint: "it was moved, removed or changed since it was chosen: choose it again",
      cause,
    });
  }
}

/** Bytes of a source to keep: in place where it has them, fetched otherwise. */
export async function readRange(source: ByteSource, range: ByteRange, options?: ReadOptions): Promise<ReadonlyBytes> {
  if (source.view !== undefined) return source.view(range);
  const into = makeRoom(source.name, range.sizeBytes);
  await source.readInto([{ offset: range.offset, into }], options);
  return into;
}

/** Room for bytes of a source. Throws `SourceError` where there is no memory for them: sizes come from outside. */
export function makeRoom(name: string, sizeBytes: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(sizeBytes);
  } catch (cause) {
    throw new SourceError("there is no memory for a part of a source", {
      where: name,
      got: `${sizeBytes} bytes`,
      hint: "read fewer tensors at a time, or into memory of your own",
      cause,
    });
  }
}

/** Throws `SourceError` where a range does not lie inside of a source. */
export function checkInside({ name, sizeBytes }: ByteSource, range: ByteRange): void {
  if (range.offset >= 0 && range.sizeBytes >= 0 && range.offset + range.sizeBytes <= sizeBytes) return;
  throw new SourceError("a range does not lie inside of its source", {
    where: name,
    expected: `at most ${sizeBytes} bytes`,
    got: `${range.sizeBytes} from ${range.offset} on`,
  });
}

// A file that is read as a source of bytes, with `pread`: for reading parts of it into places of the caller's choice.
// What shall be used in place is mapped instead (`openContainer`, or `memorySource` over the region of `mapFile`).

import { closeSync, fstatSync, openSync } from "node:fs";

import { FileError, toFileError } from "../file.node.ts";
import { readInto } from "../map.node.ts";
import { recordCopy } from "../memory/copies.ts";
import { checkInside } from "./source.ts";
import type { ByteSource } from "./source.ts";

const PIECE_BYTES = 2 ** 23;

/** A regular file as a source of bytes. Dispose it to close the file. Throws `FileError`, as its reading does. */
export function fileSource(path: string): ByteSource & Disposable {
  let descriptor: number;
  let sizeBytes: number;
  try {
    descriptor = openSync(path, "r");
    const stats = fstatSync(descriptor);
    sizeBytes = stats.size;
    if (!stats.isFile()) {
      closeSync(descriptor);
      throw new FileError("read", path, stats.isDirectory() ? "EISDIR" : "NOT_REGULAR");
    }
  } catch (error) {
    throw toFileError(error, "read", path);
  }
  const source: ByteSource & Disposable = {
    name: path,
    sizeBytes,
    readInto: async (targets, { signal, onProgress } = {}) => {
      const totalBytes = targets.reduce((sum, { into }) => sum + into.length, 0);
      let doneBytes = 0;
      for (const { offset, into } of targets) {
        checkInside(source, { offset, sizeBytes: into.length });
        for (let at = 0; at < into.length; at += PIECE_BYTES) {
          signal?.throwIfAborted();
          const piece = into.subarray(at, at + PIECE_BYTES);
          try {
            readInto(path, descriptor, piece, offset + at);
          } catch (error) {
            throw toFileError(error, "read", path);
          }
          doneBytes += piece.length;
          onProgress?.(doneBytes, totalBytes);
        }
      }
      recordCopy({ from: "file", to: "cpu", sizeBytes: totalBytes, label: path });
    },
    [Symbol.dispose]: () => closeSync(descriptor),
  };
  return source;
}

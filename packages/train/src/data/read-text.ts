// One text file, read in blocks and decoded as UTF-8. A file up to the size of a block comes as one text; a longer one
// is cut after a line, so that a tokenizer sees whole lines. A byte order mark at the start is dropped, and up to a
// tenth of invalid bytes is forgiven and becomes U+FFFD.
//
// Leaves out: other encodings. UTF-16 is recognised and named, because its NUL bytes would only read as binary data.

import { isUtf8 } from "node:buffer";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { BinaryDataError } from "./errors.ts";
import { unreadable } from "./find-files.ts";

const largestBlockSizeBytes = 4 << 20;
const smallestBlockSizeBytes = 1 << 12;
const newline = 0x0a;

/**
 * Yields the text of a file, at most its first `limitBytes`, in pieces that never split a character. Throws
 * `BinaryDataError` with the offset of the first offending byte, or `UnreadableFileError`.
 */
export function* readText(path: string, limitBytes = Infinity): Generator<string, void, undefined> {
  const descriptor = openFile(path);
  try {
    const fileSizeBytes = fstatSync(descriptor).size;
    const wholeSizeBytes = Math.max(fileSizeBytes + 1, smallestBlockSizeBytes);
    const block = Buffer.allocUnsafe(Math.min(largestBlockSizeBytes, wholeSizeBytes));
    let heldBytes = 0; // what the last piece left over, at the front of the block
    let blockStart = 0; // offset in the file of the block's first byte
    let invalidBytes = 0;
    let firstInvalid = -1;
    for (;;) {
      const wantedBytes = Math.min(block.length - heldBytes, limitBytes - blockStart - heldBytes);
      const readBytes = wantedBytes > 0 ? readBlock(descriptor, block, heldBytes, wantedBytes, path) : 0;
      const filledBytes = heldBytes + readBytes;
      const atLimit = blockStart + filledBytes === limitBytes;
      const atEnd = readBytes === 0 || atLimit;
      const filled = block.subarray(0, filledBytes);
      // A limit may fall inside a character, which is then left out; the end of the file may not.
      const pieceBytes = atEnd ? (atLimit ? completeLength(filled) : filledBytes) : pieceLength(filled, block.length);
      const piece = filled.subarray(0, pieceBytes);
      refuseNul(piece, path, blockStart);
      if (!isUtf8(piece)) {
        const invalid = measureInvalid(piece);
        if (firstInvalid < 0) firstInvalid = blockStart + invalid.first;
        invalidBytes += invalid.count;
        refuseInvalid(path, invalidBytes, blockStart + pieceBytes, firstInvalid);
      }
      if (pieceBytes > 0) yield new TextDecoder("utf-8", { ignoreBOM: blockStart > 0 }).decode(piece);
      if (atEnd) return;
      block.copyWithin(0, pieceBytes, filledBytes);
      heldBytes = filledBytes - pieceBytes;
      blockStart += pieceBytes;
    }
  } finally {
    closeSync(descriptor);
  }
}

function openFile(path: string): number {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (cause) {
    throw unreadable(path, cause);
  }
  if (fstatSync(descriptor).isFile()) return descriptor;
  closeSync(descriptor);
  throw unreadable(path, "it is not a regular file");
}

function readBlock(descriptor: number, block: Buffer, start: number, sizeBytes: number, path: string): number {
  try {
    return readSync(descriptor, block, start, sizeBytes, null);
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** How much of a block to hand out before the end of the file: nothing until it is full, then whole lines if any. */
function pieceLength(filled: Buffer, capacity: number): number {
  if (filled.length < capacity) return 0;
  const lineEnd = filled.lastIndexOf(newline) + 1;
  return lineEnd > 0 ? lineEnd : completeLength(filled);
}

/** The length without a character that the end cuts off. */
function completeLength(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back];
    if ((byte & 0xc0) === 0x80) continue;
    return sequenceLength(byte) > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

/** How many bytes a character has whose first byte this is; 0 when no character starts so. */
function sequenceLength(lead: number): number {
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;
  return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
}

/** Counts the bytes that belong to no character (RFC 3629), and finds the first of them. */
function measureInvalid(bytes: Uint8Array): { count: number; first: number } {
  let count = 0;
  let first = -1;
  for (let at = 0; at < bytes.length;) {
    const length = sequenceLength(bytes[at]);
    if (length > 0 && isSequence(bytes, at, length)) {
      at += length;
      continue;
    }
    if (first < 0) first = at;
    count++;
    at++;
  }
  return { count, first };
}

function isSequence(bytes: Uint8Array, start: number, length: number): boolean {
  for (let at = start + 1; at < start + length; at++) {
    if (at >= bytes.length || (bytes[at] & 0xc0) !== 0x80) return false;
  }
  // Overlong forms, surrogates and code points past U+10FFFF show in the second byte.
  const lead = bytes[start];
  const second = bytes[start + 1];
  if (lead === 0xe0) return second >= 0xa0;
  if (lead === 0xed) return second < 0xa0;
  if (lead === 0xf0) return second >= 0x90;
  return lead === 0xf4 ? second < 0x90 : true;
}

function refuseNul(piece: Buffer, path: string, blockStart: number): void {
  const nul = piece.indexOf(0);
  if (nul < 0) return;
  const isUtf16 = blockStart === 0 && /^(fffe|feff)/.test(piece.toString("hex", 0, 2));
  throw new BinaryDataError(`${path} is not a text file`, {
    where: `${path}, byte ${blockStart + nul}`,
    expected: "UTF-8 text",
    got: isUtf16 ? "a UTF-16 byte order mark" : "a NUL byte",
    hint: isUtf16 ? `convert it first: iconv -f UTF-16 -t UTF-8 ${path}` : "leave it out, or name only text files",
  });
}

function refuseInvalid(path: string, invalidBytes: number, seenBytes: number, firstInvalid: number): void {
  if (invalidBytes * 10 <= seenBytes) return;
  throw new BinaryDataError(`${path} is not a text file in UTF-8`, {
    where: `${path}, byte ${firstInvalid} is the first bad one`,
    expected: "at most 10 % of invalid UTF-8",
    got: `${((100 * invalidBytes) / seenBytes).toFixed(1)} % of the first ${seenBytes} bytes`,
    hint: "convert it to UTF-8 (iconv -f LATIN1 -t UTF-8), or leave the file out",
  });
}

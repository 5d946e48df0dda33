// Reading strings. Most are short, and for those calling a decoder costs more than decoding: letters are put together
// one by one. In Node, where short strings lie close together in a message, a window of it becomes one Latin-1 string,
// of which the strings that are ASCII are slices: a message of text takes a fifth less time (msgpackr does so with all
// of the message). An engine keeps alive what a slice of 13 letters or more is taken from, so the window is small.

import { reject, readVarint, take } from "./input.ts";
import type { Input } from "./input.ts";

const SHORT_BYTES_MAX = 32;
/** What a string may keep alive beside itself. */
const WINDOW_BYTES = 512;
/** Strings with no more than this between them share a window; it takes a few of them to earn its cost. */
const GAP_BYTES_MAX = 64;
/** In smaller messages there are not enough strings. */
const MESSAGE_BYTES_MIN = 256;

// Looked up, not imported: browsers have none. Their `TextDecoder` has no Latin-1 that is as fast.
const NodeBuffer = (globalThis as { readonly Buffer?: typeof Buffer }).Buffer;

/** A string with its length before it. */
export function readStr(input: Input): string {
  const sizeBytes = readVarint(input);
  const at = take(input, sizeBytes);
  if (sizeBytes > SHORT_BYTES_MAX) return decodeLong(input.bytes, at, sizeBytes);
  if (sizeBytes === 0) return "";
  if (input.end >= MESSAGE_BYTES_MIN && NodeBuffer !== undefined) return sliceShort(input, at, sizeBytes);
  return decodeShort(input.bytes, at, sizeBytes);
}

function sliceShort(input: Input, at: number, sizeBytes: number): string {
  const { bytes } = input;
  const gapBytes = at - input.textOffset;
  input.textOffset = at + sizeBytes;
  if (gapBytes > GAP_BYTES_MAX) return decodeShort(bytes, at, sizeBytes);
  let all = 0;
  for (let i = 0; i < sizeBytes; i++) all |= bytes[at + i];
  if (all >= 0x80) return decodeLetters(bytes, at, at + sizeBytes);
  if (at + sizeBytes > input.windowEnd) moveWindow(input, at);
  const start = at - input.windowStart;
  return input.window.slice(start, start + sizeBytes);
}

function moveWindow(input: Input, at: number): void {
  const { buffer, byteOffset } = input.bytes;
  const sizeBytes = Math.min(WINDOW_BYTES, input.end - at);
  input.window = NodeBuffer!.from(buffer as ArrayBuffer, byteOffset + at, sizeBytes).toString("latin1");
  input.windowStart = at;
  input.windowEnd = at + sizeBytes;
}

// UTF-16 units of a short string, one array for each length, as `fromCharCode` takes them.
const UNITS = Array.from({ length: SHORT_BYTES_MAX + 1 }, (_, length) => new Array<number>(length).fill(0));

function decodeShort(bytes: Uint8Array, at: number, sizeBytes: number): string {
  const units = UNITS[sizeBytes];
  let all = 0;
  for (let i = 0; i < sizeBytes; i++) {
    const byte = bytes[at + i];
    all |= byte;
    units[i] = byte;
  }
  if (all >= 0x80) return decodeLetters(bytes, at, at + sizeBytes);
  return String.fromCharCode.apply(null, units);
}

const MANY_UNITS = new Array<number>(SHORT_BYTES_MAX).fill(0);

// UTF-8 with letters beyond ASCII. What follows the lead byte is bounded as the Unicode Standard's table 3-7 has it,
// which leaves out over-long forms, surrogates and all above U+10FFFF.
function decodeLetters(bytes: Uint8Array, start: number, end: number): string {
  let count = 0;
  for (let at = start; at < end;) {
    const lead = bytes[at++];
    let code = lead;
    if (lead >= 0x80) {
      const more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
      if (lead < 0xc2 || lead > 0xf4 || at + more > end) reject();
      code = lead & (0x3f >> more);
      for (let i = 0; i < more; i++) {
        const byte = bytes[at++];
        if ((byte & 0xc0) !== 0x80) reject();
        code = (code << 6) | (byte & 0x3f);
      }
      const isShortest = more === 1 || code >= (more === 2 ? 0x800 : 0x10000);
      if (!isShortest || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) reject();
    }
    if (code >= 0x10000) {
      MANY_UNITS[count++] = 0xd7c0 + (code >> 10);
      code = 0xdc00 | (code & 0x3ff);
    }
    MANY_UNITS[count++] = code;
  }
  const units = UNITS[count];
  for (let i = 0; i < count; i++) units[i] = MANY_UNITS[i];
  return String.fromCharCode.apply(null, units);
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decodeLong(bytes: Uint8Array, at: number, sizeBytes: number): string {
  const part = bytes.subarray(at, at + sizeBytes);
  try {
    // Browsers decode no shared memory, so it is copied first.
    return UTF8.decode(part.buffer instanceof ArrayBuffer ? part : new Uint8Array(part));
  } catch {
    return reject();
  }
}

// CRC-32C (Castagnoli), the checksum of the model container: iSCSI's polynomial (RFC 3720, 0x1EDC6F41, reflected
// 0x82F63B78), computed eight bytes at a time with eight tables ("slicing by 8", Kounavis and Berry, 2005).
// It finds accidents (torn writes, flipped bits); it is no defence against someone who forges a file.

import type { ReadonlyBytes } from "./region.ts";

const POLYNOMIAL_REFLECTED = 0x82f63b78;

// Eight tables of 256 entries in one array: TABLES[256 * k + b] is the effect of byte b followed by k zero bytes.
const TABLES = buildTables();

/**
 * The CRC-32C of `bytes` as an unsigned 32-bit number. `previous` is the checksum of the bytes before, so that
 * `crc32c(b, crc32c(a))` equals the checksum of `a` followed by `b`.
 */
export function crc32c(bytes: ReadonlyBytes, previous = 0): number {
  const tables = TABLES;
  const count = bytes.length;
  const slicedEnd = count - (count % 8);
  let crc = ~previous;
  let at = 0;
  for (; at < slicedEnd; at += 8) {
    crc ^= bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    crc =
      tables[1792 | (crc & 255)] ^
      tables[1536 | ((crc >>> 8) & 255)] ^
      tables[1280 | ((crc >>> 16) & 255)] ^
      tables[1024 | (crc >>> 24)] ^
      tables[768 | bytes[at + 4]] ^
      tables[512 | bytes[at + 5]] ^
      tables[256 | bytes[at + 6]] ^
      tables[bytes[at + 7]];
  }
  for (; at < count; at++) crc = (crc >>> 8) ^ tables[(crc ^ bytes[at]) & 255];
  return ~crc >>> 0;
}

function buildTables(): Int32Array {
  const tables = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL_REFLECTED : crc >>> 1;
    tables[byte] = crc;
  }
  for (let at = 256; at < tables.length; at++) {
    const shorter = tables[at - 256];
    tables[at] = (shorter >>> 8) ^ tables[shorter & 255];
  }
  return tables;
}

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { crc32c } from "./crc32c.ts";

test("crc32c gives the published values", () => {
  // "123456789" is the check value of the CRC catalogue; the others are RFC 3720, appendix B.4.
  const vectors: readonly [Uint8Array, number][] = [
    [new TextEncoder().encode("123456789"), 0xe3069283],
    [new Uint8Array(32), 0x8a9136aa],
    [new Uint8Array(32).fill(0xff), 0x62a8ab43],
    [Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    [Uint8Array.from({ length: 32 }, (_, i) => 31 - i), 0x113fdb5c],
    [new Uint8Array(0), 0],
  ];
  for (const [bytes, expected] of vectors) assert.equal(crc32c(bytes), expected);
});

test("crc32c equals the division bit by bit, in one piece and in two", () => {
  const property = fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, cut) => {
    const expected = bitByBit(bytes);
    assert.equal(crc32c(bytes), expected);
    assert.equal(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut))), expected);
  });
  fc.assert(property);
});

function bitByBit(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

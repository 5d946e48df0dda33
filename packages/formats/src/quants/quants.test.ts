import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { blockOf, decodeValues, encodeValues, InvalidTensorError, SOURCE_DTYPES, tensorSizeBytes } from "../index.ts";
import type { SourceDtype } from "../index.ts";

const ELEMENTS = 2048;

/** Numbers of 32 bits that any language makes alike (Numerical Recipes' linear congruential generator). */
function noise(seed: number, count: number): Uint32Array {
  const numbers = new Uint32Array(count);
  for (let i = 0, x = seed; i < count; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    numbers[i] = x;
  }
  return numbers;
}

/** Values whose size differs from 32 to 32 elements by powers of two, from 2^-11 to 2^9. */
const values = Float32Array.from(noise(11, ELEMENTS), (x, i) => {
  return ((x >>> 8) / 2 ** 24 - 0.5) * 2 ** ((Math.floor(i / 32) % 21) - 10);
});

/**
 * CRC-32 of what the Python package gguf 0.19 makes of the same noise: the float32 that it dequantises blocks of noise
 * to (the float16 at `scales` made smaller than 2), and the bytes that it quantises `values` to; for K types and IQ4_NL,
 * which it does not write, those of llama.cpp's library (ggml.test.ts).
 */
const golden: readonly (readonly [dtype: SourceDtype, scales: readonly number[], decoded: number, encoded: number])[] =
  [
    ["q8_0", [0], 1842075384, 793096077],
    ["q4_0", [0], 2093174950, 1519245512],
    ["q4_1", [0, 2], 3057244736, 684136671],
    ["q5_0", [0], 1021743028, 522684537],
    ["q5_1", [0, 2], 2209924336, 1614470272],
    ["q2_k", [80, 82], 2061499034, 3782385539],
    ["q3_k", [108], 3737174454, 766214738],
    ["q4_k", [0, 2], 112134120, 1302042596],
    ["q5_k", [0, 2], 823245903, 2682398749],
    ["q6_k", [208], 649268069, 3301976733],
    ["iq4_nl", [0], 2120448741, 2165512098],
    ["tq1_0", [52], 1859271774, 3160356561],
    ["tq2_0", [64], 432439134, 2098672562],
  ];

test("every block type decodes and encodes to the bits of an independent program", () => {
  for (const [dtype, scales, decoded, encoded] of golden) {
    const { blockElements, blockBytes } = blockOf(dtype);
    const bytes = Uint8Array.from(noise(7, (ELEMENTS / blockElements) * blockBytes), (x) => x >>> 24);
    for (let at = 0; at < bytes.length; at += blockBytes) for (const scale of scales) bytes[at + scale + 1] &= 0xbf;
    assert.equal(crc32(new Uint8Array(decodeValues(dtype, [2, ELEMENTS / 2], bytes).buffer)), decoded, dtype);
    assert.equal(crc32(encodeValues(dtype, [ELEMENTS], values)), encoded, dtype);
  }
  assert.equal(crc32(encodeValues("f16", [ELEMENTS], values)), 1973997781);
  assert.equal(crc32(encodeValues("bf16", [ELEMENTS], values)), 2833568888);
});

test("blocks made by hand", () => {
  // Scale 2 (0x4000), codes 0 and 15 in the first byte: elements 0 and 16.
  const q4 = new Uint8Array(18).fill(0x88);
  q4.set([0x00, 0x40, 0xf0]);
  const decoded = decodeValues("q4_0", [32], q4);
  assert.deepEqual([decoded[0], decoded[1], decoded[16], decoded[17]], [-16, 0, 14, 0]);
  // -1, 0, 1, ... as 0, 1, 2: byte 0 of TQ2_0 holds elements 0, 32, 64, 96 from its lowest bits up.
  const tq2 = new Uint8Array(66).fill(0b01010101);
  tq2.set([0b00_10_01_00]);
  tq2.set([0x00, 0x38], 64); // 0.5
  const ternary = decodeValues("tq2_0", [256], tq2);
  assert.deepEqual([ternary[0], ternary[32], ternary[64], ternary[96], ternary[128]], [-0.5, 0, 0.5, -0.5, 0]);
});

test("I2_S: codes from the highest bits down, then the scale", () => {
  const ternary = Float32Array.from(noise(3, 256), (x) => (((x >>> 16) % 3) - 1) * 0.25);
  const bytes = encodeValues("i2_s", [2, 128], ternary);
  assert.equal(bytes.length, 256 / 4 + 32);
  assert.equal(new DataView(bytes.buffer).getFloat32(64, true), 0.25);
  const code = (e: number): number => ternary[e] / 0.25 + 1;
  assert.equal(bytes[33], (code(129) << 6) | (code(161) << 4) | (code(193) << 2) | code(225));
  assert.deepEqual(decodeValues("i2_s", [2, 128], bytes), ternary);
});

test("ternary weights survive every ternary type, zero blocks included", () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(-1, 0, 1), { minLength: 256, maxLength: 256 }), (trits) => {
      const weights = Float32Array.from(trits, (trit) => trit * 0.375);
      for (const dtype of ["tq1_0", "tq2_0", "i2_s", "q8_0", "f16", "bf16", "f32", "f64"] as const) {
        const back = decodeValues(dtype, [256], encodeValues(dtype, [256], weights));
        for (let i = 0; i < 256; i++) assert.ok(Math.abs(back[i] - weights[i]) <= 2e-3 * 0.375, `${dtype}, ${i}`);
      }
    }),
    { numRuns: 50, seed: 1 },
  );
});

test("a size that does not fit and a value that has no code are named", () => {
  assert.throws(() => decodeValues("q4_0", [33], new Uint8Array(18)), /multiple of 32/);
  assert.throws(() => decodeValues("q4_k", [256], new Uint8Array(143)), /144 bytes/);
  assert.throws(() => encodeValues("i32", [256], new Float32Array(256)), /nothing is written as i32/);
  const broken = new Float32Array(256).fill(1);
  broken[7] = NaN;
  const large = new Float32Array(256).fill(3e38);
  for (const dtype of [...golden.map(([name]) => name), "i2_s"] as const) {
    assert.throws(() => encodeValues(dtype, [256], broken), InvalidTensorError, dtype);
    if (dtype !== "i2_s") assert.throws(() => encodeValues(dtype, [256], large), /too large/, dtype);
  }
  assert.equal(tensorSizeBytes("f32", [2 ** 30, 2 ** 30]), undefined);
  assert.equal(tensorSizeBytes("f32", []), 4);
});

test("any bytes decode", () => {
  for (const dtype of SOURCE_DTYPES) {
    const bytes = Uint8Array.from(noise(5, tensorSizeBytes(dtype, [512]) ?? 0), (x) => x >>> 24);
    assert.equal(decodeValues(dtype, [512], bytes).length, 512);
  }
});

// Types for weights of -1, 0 and 1 times a scale. TQ1_0 and TQ2_0 are llama.cpp's (ggml-org/llama.cpp, pull request
// 8151): blocks of 256 with a float16 scale. I2_S is bitnet.cpp's (microsoft/BitNet): one float32 scale for the whole
// tensor, after its codes, in the layout of its x86 builds.
//
// Leaves out: the I2_S layout of bitnet.cpp's ARM builds, which nothing in a file tells from the other.

import { blockType, inverse, requireBelow, roundHalfAway, writeFactor } from "./block-type.ts";
import type { BlockType } from "./block-type.ts";
import { farthest } from "./fits.ts";

const ELEMENTS = 256;

/**
 * Where the trits of TQ1_0 lie: byte `at + m` holds elements `start + m`, `start + m + count`, ... The last run, of
 * 4 trits a byte, is stored as if a fifth of 0 followed.
 */
const trits = [
  { at: 0, count: 32, start: 0, each: 5 },
  { at: 32, count: 16, start: 160, each: 5 },
  { at: 48, count: 4, start: 240, each: 4 },
] as const;

/**
 * 1.6875 bits: five trits a byte, as the fraction (their base-3 number) / 243 of 256, rounded up, so that the first
 * trit is the integer part of 3 / 256 of the byte, and 3 times the byte, modulo 256, gives the next. Bytes: 52, d.
 */
export const tq1_0 = blockType(
  "tq1_0",
  ELEMENTS,
  54,
  (bytes, at, target, start) => {
    const d = bytes.getFloat16(at + 52, true);
    for (const run of trits) {
      for (let m = 0; m < run.count; m++) {
        let fraction = bytes.getUint8(at + run.at + m);
        for (let n = 0; n < run.each; n++) {
          target[start + run.start + n * run.count + m] = d * (((3 * fraction) >> 8) - 1);
          fraction = (3 * fraction) & 255;
        }
      }
    }
  },
  (values, start, bytes, at) => {
    const block = values.subarray(start, start + ELEMENTS);
    const code = ternaryCodes(block, "tq1_0", bytes, at + 52);
    for (const run of trits) {
      for (let m = 0; m < run.count; m++) {
        let number = 0;
        for (let n = 0; n < 5; n++) {
          number = 3 * number + (n < run.each ? code(block[run.start + n * run.count + m]) : 0);
        }
        bytes.setUint8(at + run.at + m, Math.ceil((256 * number) / 243));
      }
    }
  },
);

/** 2.0625 bits: byte m of 32 holds elements m, m + 32, m + 64, m + 96 from its lowest bits up. Bytes: 64, d. */
export const tq2_0 = blockType(
  "tq2_0",
  ELEMENTS,
  66,
  (bytes, at, target, start) => {
    const d = bytes.getFloat16(at + 64, true);
    for (let e = 0; e < ELEMENTS; e++) {
      const byte = bytes.getUint8(at + 32 * (e >> 7) + (e & 31));
      target[start + e] = d * (((byte >> (2 * ((e >> 5) & 3))) & 3) - 1);
    }
  },
  (values, start, bytes, at) => {
    const block = values.subarray(start, start + ELEMENTS);
    const code = ternaryCodes(block, "tq2_0", bytes, at + 64);
    for (let m = 0; m < 64; m++) {
      let byte = 0;
      for (let n = 0; n < 4; n++) byte |= code(block[128 * (m >> 5) + 32 * n + (m & 31)]) << (2 * n);
      bytes.setUint8(at + m, byte);
    }
  },
);

/** bitnet.cpp takes what is closer to 0 than this for 0. */
const I2S_ZERO = 1e-6;

/** 2 bits: of each 128 elements, byte m of 32 holds m, m + 32, m + 64, m + 96 from its highest bits down. */
export const i2_s: BlockType = {
  name: "i2_s",
  blockElements: 128,
  blockBytes: 32,
  tailBytes: 32, // a float32 scale, and padding
  decode(bytes, target) {
    const scale = bytes.getFloat32(target.length / 4, true);
    for (let e = 0; e < target.length; e++) {
      const byte = bytes.getUint8(32 * Math.floor(e / 128) + (e & 31));
      target[e] = scale * (((byte >> (6 - 2 * ((e >> 5) & 3))) & 3) - 1);
    }
  },
  encode(values, bytes) {
    requireBelow(Infinity, values, "i2_s");
    const code = (x: number): number => (Math.abs(x) < I2S_ZERO ? 1 : x > 0 ? 2 : 0);
    for (let e = 0; e < values.length; e++) {
      const at = 32 * Math.floor(e / 128) + (e & 31);
      bytes.setUint8(at, bytes.getUint8(at) | (code(values[e]) << (6 - 2 * ((e >> 5) & 3))));
    }
    bytes.setFloat32(values.length / 4, magnitude(values), true);
  },
};

/** Writes a block's scale and gives the code, 0 to 2, of an element. */
function ternaryCodes(block: Float32Array, name: string, bytes: DataView, at: number): (x: number) => number {
  const d = magnitude(block);
  const id = inverse(d);
  writeFactor(bytes, at, d, name);
  return (x) => roundHalfAway(Math.fround(x * id)) + 1;
}

function magnitude(values: Float32Array): number {
  return Math.abs(farthest(values, 0, values.length));
}

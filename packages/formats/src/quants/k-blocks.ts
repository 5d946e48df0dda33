// ggml's "K" blocks of 256 elements in sub-blocks of 16 or 32, each with an integer scale, sometimes an integer
// minimum; the whole block has a float16 factor for the scales and another for the minima. The layouts are those of
// ggml-common.h in ggml-org/llama.cpp.
//
// An element's number e within the block is read here as: half h = e / 128, plane p = e / 32 mod 4, lane l = e mod 32.
// Codes of 2 bits have the four planes of a half in one byte of 32; codes of 4 bits have two runs of 32 in one.
// k-encoders.ts has the way back.

import { blockType } from "./block-type.ts";
import { encodeQ2K, encodeQ3K, encodeQ4K, encodeQ5K, encodeQ6K } from "./k-encoders.ts";

const ELEMENTS = 256;

/** x = d s q - dmin m: 2 bits, sub-blocks of 16, s and m of 4 bits. Bytes: 16 scales, 64 codes, d, dmin. */
export const q2_k = blockType(
  "q2_k",
  ELEMENTS,
  84,
  (bytes, at, target, start) => {
    const d = bytes.getFloat16(at + 80, true);
    const dmin = bytes.getFloat16(at + 82, true);
    for (let e = 0; e < ELEMENTS; e++) {
      const scale = bytes.getUint8(at + (e >> 4));
      target[start + e] = d * (scale & 15) * twoBits(bytes, at + 16, e) - dmin * (scale >> 4);
    }
  },
  encodeQ2K,
  true,
);

/**
 * x = d (s - 32) q, with q from -4 to 3 and sub-blocks of 16. Bytes: 32 of third bits (plane and half choose the bit),
 * 64 of lower bits, 12 with the 6-bit scales, d. A third bit that is missing takes 4 off.
 */
export const q3_k = blockType(
  "q3_k",
  ELEMENTS,
  110,
  (bytes, at, target, start) => {
    const d = bytes.getFloat16(at + 108, true);
    for (let e = 0; e < ELEMENTS; e++) {
      const third = (bytes.getUint8(at + (e & 31)) >> (e >> 5)) & 1;
      const code = twoBits(bytes, at + 32, e) + 4 * third - 4;
      target[start + e] = d * (scaleOfQ3(bytes, at + 96, e >> 4) - 32) * code;
    }
  },
  encodeQ3K,
  true,
);

/** x = d s q - dmin m: 4 bits, sub-blocks of 32, s and m of 6 bits. Bytes: d, dmin, 12 of scales, 128 of codes. */
export const q4_k = blockType(
  "q4_k",
  ELEMENTS,
  144,
  (bytes, at, target, start) => {
    const d = bytes.getFloat16(at, true);
    const dmin = bytes.getFloat16(at + 2, true);
    for (let run = 0; run < 8; run++) {
      const scale = d * scaleOf(bytes, at + 4, run);
      const min = dmin * minOf(bytes, at + 4, run);
      for (let l = 0; l < 32; l++) {
        const e = 32 * run + l;
        target[start + e] = scale * fourBits(bytes, at + 16, e) - min;
      }
    }
  },
  encodeQ4K,
  true,
);

/** As Q4_K with 5 bits. Bytes: d, dmin, 12 of scales, 32 of fifth bits, 128 of lower bits. */
export const q5_k = blockType(
  "q5_k",
  ELEMENTS,
  176,
  (bytes, at, target, start) => {
    const d = bytes.getFloat16(at, true);
    const dmin = bytes.getFloat16(at + 2, true);
    for (let run = 0; run < 8; run++) {
      const scale = d * scaleOf(bytes, at + 4, run);
      const min = dmin * minOf(bytes, at + 4, run);
      for (let l = 0; l < 32; l++) {
        const e = 32 * run + l;
        const fifth = (bytes.getUint8(at + 16 + l) >> run) & 1;
        target[start + e] = scale * (fourBits(bytes, at + 48, e) + 16 * fifth) - min;
      }
    }
  },
  encodeQ5K,
  true,
);

/** x = d s (q - 32): 6 bits, sub-blocks of 16, s a signed byte. Bytes: 128 of lower bits, 64 of upper, 16 scales, d. */
export const q6_k = blockType(
  "q6_k",
  ELEMENTS,
  210,
  (bytes, at, target, start) => {
    const d = bytes.getFloat16(at + 208, true);
    for (let e = 0; e < ELEMENTS; e++) {
      const [half, plane, lane] = [e >> 7, (e >> 5) & 3, e & 31];
      // Planes 0 and 1 are the lower halves of two runs of bytes, 2 and 3 their upper halves.
      const low = (bytes.getUint8(at + 64 * half + 32 * (plane & 1) + lane) >> (4 * (plane >> 1))) & 15;
      const code = low + 16 * twoBits(bytes, at + 128, e) - 32;
      target[start + e] = d * bytes.getInt8(at + 192 + (e >> 4)) * code;
    }
  },
  encodeQ6K,
  true,
);

function twoBits(bytes: DataView, at: number, e: number): number {
  return (bytes.getUint8(at + 32 * (e >> 7) + (e & 31)) >> (2 * ((e >> 5) & 3))) & 3;
}

function fourBits(bytes: DataView, at: number, e: number): number {
  return (bytes.getUint8(at + 32 * (e >> 6) + (e & 31)) >> (4 * ((e >> 5) & 1))) & 15;
}

/** The 6-bit scale `i` of 16 in Q3_K: four bits of it in bytes 0 to 7, the upper two in bytes 8 to 11. */
function scaleOfQ3(bytes: DataView, at: number, i: number): number {
  const low = (bytes.getUint8(at + (i & 7)) >> (4 * (i >> 3))) & 15;
  const high = (bytes.getUint8(at + 8 + (i & 3)) >> (2 * (i >> 2))) & 3;
  return low + 16 * high;
}

/** The 6-bit scale of run `i` of 8 in Q4_K and Q5_K: the last four have their upper bits in the first four's bytes. */
function scaleOf(bytes: DataView, at: number, i: number): number {
  if (i < 4) return bytes.getUint8(at + i) & 63;
  return (bytes.getUint8(at + i + 4) & 15) + 16 * (bytes.getUint8(at + i - 4) >> 6);
}

/** The 6-bit minimum that goes with `scaleOf`. */
function minOf(bytes: DataView, at: number, i: number): number {
  if (i < 4) return bytes.getUint8(at + i + 4) & 63;
  return (bytes.getUint8(at + i + 4) >> 4) + 16 * (bytes.getUint8(at + i) >> 6);
}

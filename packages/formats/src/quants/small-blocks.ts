// ggml's blocks of 32 elements: one float16 scale, sometimes a float16 minimum, and 4, 5 or 8 bits an element. In the
// layouts of 4 bits, byte j holds element j in its lower half and element j + 16 in its upper half. The layouts and
// the reference method of quantising are those of ggml-common.h and ggml-quants.c in ggml-org/llama.cpp.
//
// Quantising calculates in float32, one rounding an operation, so that its bytes are those of the reference method.
// Leaves out: quantising with importance weights. IQ4_NL is in iq4-nl.ts.

import { blockType, inverse, roundHalfAway, writeFactor } from "./block-type.ts";
import type { BlockType } from "./block-type.ts";
import { farthest } from "./fits.ts";

const ELEMENTS = 32;
const HALF = 16;
const { fround } = Math;

/** The codes of the block at hand. */
const codes = new Uint8Array(ELEMENTS);

/** x = d q, with q a signed byte. Bytes: d, 32 codes. */
export const q8_0 = blockType(
  "q8_0",
  ELEMENTS,
  2 + ELEMENTS,
  (bytes, at, target, start) => {
    const d = bytes.getFloat16(at, true);
    for (let i = 0; i < ELEMENTS; i++) target[start + i] = d * bytes.getInt8(at + 2 + i);
  },
  (values, start, bytes, at) => {
    const d = fround(Math.abs(farthest(values, start, ELEMENTS)) / 127);
    const id = inverse(d);
    writeFactor(bytes, at, d, "q8_0");
    for (let i = 0; i < ELEMENTS; i++) bytes.setInt8(at + 2 + i, roundHalfAway(fround(values[start + i] * id)));
  },
);

/** x = d (q - 8), with 4 bits. Bytes: d, 16 pairs of codes. */
export const q4_0 = centred("q4_0", 4);

/** x = d (q - 16), with 5 bits. Bytes: d, the 32 fifth bits, 16 pairs of codes. */
export const q5_0 = centred("q5_0", 5);

/** x = d q + m, with 4 bits. Bytes: d, m, 16 pairs of codes. */
export const q4_1 = shifted("q4_1", 4);

/** x = d q + m, with 5 bits. Bytes: d, m, the 32 fifth bits, 16 pairs of codes. */
export const q5_1 = shifted("q5_1", 5);

/** Codes around a middle. The element farthest from 0 gets the code 0, and its value is as exact as the scale is. */
function centred(name: string, bits: 4 | 5): BlockType {
  const middle = 1 << (bits - 1);
  const codesAt = bits === 5 ? 6 : 2;
  return blockType(
    name,
    ELEMENTS,
    codesAt + HALF,
    (bytes, at, target, start) => {
      const d = bytes.getFloat16(at, true);
      const high = bits === 5 ? bytes.getUint32(at + 2, true) : 0;
      for (let i = 0; i < ELEMENTS; i++) {
        target[start + i] = d * (nibble(bytes, at + codesAt, i) + 16 * ((high >>> i) & 1) - middle);
      }
    },
    (values, start, bytes, at) => {
      const d = fround(farthest(values, start, ELEMENTS) / -middle);
      const id = inverse(d);
      writeFactor(bytes, at, d, name);
      for (let i = 0; i < ELEMENTS; i++) {
        codes[i] = Math.min(2 * middle - 1, fround(fround(values[start + i] * id) + middle + 0.5) | 0);
      }
      writeCodes(bytes, at + codesAt, bits);
    },
  );
}

/** Codes from a minimum on. */
function shifted(name: string, bits: 4 | 5): BlockType {
  const codeMax = (1 << bits) - 1;
  const codesAt = bits === 5 ? 8 : 4;
  return blockType(
    name,
    ELEMENTS,
    codesAt + HALF,
    (bytes, at, target, start) => {
      const d = bytes.getFloat16(at, true);
      const m = bytes.getFloat16(at + 2, true);
      const high = bits === 5 ? bytes.getUint32(at + 4, true) : 0;
      for (let i = 0; i < ELEMENTS; i++) {
        target[start + i] = d * (nibble(bytes, at + codesAt, i) + 16 * ((high >>> i) & 1)) + m;
      }
    },
    (values, start, bytes, at) => {
      let [m, most] = [values[start], values[start]];
      for (let i = 1; i < ELEMENTS; i++) {
        const value = values[start + i];
        if (value < m) m = value; // of 0 and -0 the first counts
        if (value > most) most = value;
      }
      const d = fround(fround(most - m) / codeMax);
      const id = inverse(d);
      writeFactor(bytes, at, d, name);
      writeFactor(bytes, at + 2, m, name);
      for (let i = 0; i < ELEMENTS; i++) {
        codes[i] = Math.min(codeMax, fround(fround(fround(values[start + i] - m) * id) + 0.5) | 0);
      }
      writeCodes(bytes, at + codesAt, bits);
    },
  );
}

/** The lower four bits of element `i`'s code. */
function nibble(bytes: DataView, at: number, i: number): number {
  return i < HALF ? bytes.getUint8(at + i) & 15 : bytes.getUint8(at + i - HALF) >> 4;
}

/** Writes 16 pairs of the codes' lower halves at `at`, and before them their fifth bits. */
function writeCodes(bytes: DataView, at: number, bits: 4 | 5): void {
  let high = 0;
  for (let j = 0; j < HALF; j++) {
    const first = codes[j];
    const second = codes[j + HALF];
    bytes.setUint8(at + j, (first & 15) | ((second & 15) << 4));
    high |= ((first >> 4) << j) | ((second >> 4) << (j + HALF));
  }
  if (bits === 5) bytes.setUint32(at - 4, high, true);
}

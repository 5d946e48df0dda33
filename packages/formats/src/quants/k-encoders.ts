// How numbers become ggml's K blocks. Each sub-block's scale, and minimum where the type has one, is found by a search
// (fits.ts); those are rounded to integers times the block's float16 factors, and what came of that gives the codes.
// The method and the order of its operations are those of quantize_row_q*_K_ref in ggml-quants.c in ggml-org/llama.cpp,
// and with importance, which says how much each column counts, those of quantize_row_q*_K_impl: bytes are equal.
// The layouts are told in k-blocks.ts.

import { writeFactor } from "./block-type.ts";
import type { EncodeBlock } from "./block-type.ts";
import {
  farthest,
  fitCentred,
  fitPositive,
  fitShifted,
  fitThreeBits,
  nearestCode,
  nearestInteger,
  squares,
  sumOf,
  sumOfSquares,
  TINY,
  weigh,
} from "./fits.ts";
import type { ShiftedSearch } from "./fits.ts";

const { abs, fround, sqrt } = Math;
const ELEMENTS = 256;

// The block at hand: its numbers, their codes, and what its sub-blocks of 16 or 32 have.
const block = new Float32Array(ELEMENTS);
const codes = new Uint8Array(ELEMENTS);
const scaleCodes = new Uint8Array(16);
const minCodes = new Uint8Array(16);
const weightsOf16 = new Float32Array(16);
const weightsOf32 = new Float32Array(32);

/** What tells Q2_K, Q4_K and Q5_K apart, whose sub-blocks have a minimum. */
interface ShiftedKind {
  readonly name: string;
  readonly subElements: 16 | 32;
  /** The largest integer of a scale and of a minimum. */
  readonly scaleMax: number;
  /** The search without importance, and the one with it. */
  readonly plain: ShiftedSearch;
  readonly weighted: ShiftedSearch;
  readonly scales: Float32Array;
  readonly mins: Float32Array;
  readonly sums: Float32Array;
}

function shiftedKind(
  name: string,
  subElements: 16 | 32,
  codeMax: number,
  scaleMax: number,
  plain: Pick<ShiftedSearch, "first" | "steps" | "isAbsolute">,
): ShiftedKind {
  const perSubBlock = (): Float32Array => new Float32Array(ELEMENTS / subElements);
  return {
    name,
    subElements,
    scaleMax,
    plain: { codeMax, step: fround(0.1), ...plain },
    weighted: { codeMax, first: fround(-0.9), step: fround(0.05), steps: 36, isAbsolute: false },
    scales: perSubBlock(),
    mins: perSubBlock(),
    sums: perSubBlock(),
  };
}

const twoBits = shiftedKind("q2_k", 16, 3, 15, { first: -0.5, steps: 15, isAbsolute: true });
const fourBits = shiftedKind("q4_k", 32, 15, 63, { first: -1, steps: 20, isAbsolute: false });
const fiveBits = shiftedKind("q5_k", 32, 31, 63, { first: -0.5, steps: 15, isAbsolute: false });

export const encodeQ2K: EncodeBlock = (values, start, bytes, at, importance) => {
  block.set(values.subarray(start, start + ELEMENTS));
  encodeShifted(twoBits, bytes, at + 80, importance);
  for (let j = 0; j < 16; j++) bytes.setUint8(at + j, scaleCodes[j] | (minCodes[j] << 4));
  packTwoBits(bytes, at + 16, 0);
};

export const encodeQ4K: EncodeBlock = (values, start, bytes, at, importance) => {
  block.set(values.subarray(start, start + ELEMENTS));
  encodeShifted(fourBits, bytes, at, importance);
  packSixBits(bytes, at + 4);
  packFourBits(bytes, at + 16);
};

export const encodeQ5K: EncodeBlock = (values, start, bytes, at, importance) => {
  block.set(values.subarray(start, start + ELEMENTS));
  encodeShifted(fiveBits, bytes, at, importance);
  packSixBits(bytes, at + 4);
  for (let l = 0; l < 32; l++) {
    let fifths = 0;
    for (let run = 0; run < 8; run++) fifths |= (codes[32 * run + l] >> 4) << run;
    bytes.setUint8(at + 16 + l, fifths);
  }
  packFourBits(bytes, at + 48);
};

export const encodeQ3K: EncodeBlock = (values, start, bytes, at, importance) => {
  block.set(values.subarray(start, start + ELEMENTS));
  const d = importance === undefined ? threeBitScales() : importantThreeBitScales(importance);
  const factor = writeFactor(bytes, at + 108, d, "q3_k");
  for (let i = 0; i < 12; i++) bytes.setUint8(at + 96 + i, 0);
  for (let j = 0; j < 16; j++) {
    or(bytes, at + 96 + (j & 7), (scaleCodes[j] & 15) << (4 * (j >> 3)));
    or(bytes, at + 104 + (j & 3), (scaleCodes[j] >> 4) << (2 * (j >> 2)));
    encodeCentred(16 * j, fround(factor * (scaleCodes[j] - 32)), 4);
  }
  for (let l = 0; l < 32; l++) {
    let thirds = 0;
    for (let run = 0; run < 8; run++) thirds |= (codes[32 * run + l] >> 2) << run;
    bytes.setUint8(at + l, thirds);
  }
  packTwoBits(bytes, at + 32, 0);
};

const scalesOf16 = new Float32Array(16);
const sumsOf16 = new Float32Array(16);

/** Finds the scales of Q3_K, and gives the block's factor. */
function threeBitScales(): number {
  for (let j = 0; j < 16; j++) scalesOf16[j] = fitThreeBits(block, 16 * j, 16, codes);
  const most = farthest(scalesOf16, 0, 16);
  const inverse = fround(-32 / most);
  for (let j = 0; j < 16; j++) {
    // A byte of its own, as in the reference: a scale so small that its inverse is none has the code 0.
    const code = most === 0 ? -32 : (nearestInteger(fround(inverse * scalesOf16[j])) << 24) >> 24;
    scaleCodes[j] = Math.max(-32, Math.min(31, code)) + 32;
  }
  return most === 0 ? 0 : fround(1 / inverse);
}

function importantThreeBitScales(importance: Float32Array): number {
  const variance = fround(fround(2 * sumOfSquares(block, 0, ELEMENTS)) / ELEMENTS);
  for (let j = 0; j < 16; j++) {
    weigh(block, 16 * j, variance, importance, weightsOf16);
    sumsOf16[j] = sumOf(weightsOf16);
    scalesOf16[j] = fitCentred(block, 16 * j, 16, 4, weightsOf16, codes);
  }
  return fitCentred(scalesOf16, 0, 16, 32, sumsOf16, scaleCodes);
}

export const encodeQ6K: EncodeBlock = (values, start, bytes, at, importance) => {
  block.set(values.subarray(start, start + ELEMENTS));
  for (let j = 0; j < 16; j++) {
    if (importance === undefined) squares(block, 16 * j, 16, weightsOf16);
    else weightsOf16.set(importance.subarray(16 * j, 16 * j + 16));
    scalesOf16[j] = fitCentred(block, 16 * j, 16, 32, weightsOf16, codes);
  }
  const most = farthest(scalesOf16, 0, 16);
  if (abs(most) < TINY) return; // the bytes begin as zeros
  const inverse = fround(-128 / most);
  const factor = writeFactor(bytes, at + 208, fround(1 / inverse), "q6_k");
  for (let j = 0; j < 16; j++) {
    bytes.setInt8(at + 192 + j, Math.min(127, nearestInteger(fround(inverse * scalesOf16[j]))));
    encodeCentred(16 * j, fround(factor * bytes.getInt8(at + 192 + j)), 32);
  }
  for (let half = 0; half < 2; half++) {
    for (let l = 0; l < 64; l++) {
      const e = 128 * half + l;
      bytes.setUint8(at + 64 * half + l, (codes[e] & 15) | ((codes[e + 64] & 15) << 4));
    }
  }
  packTwoBits(bytes, at + 128, 4);
};

/** Finds scales, minimums and codes of the block, and writes its two factors at `at`. */
function encodeShifted(kind: ShiftedKind, bytes: DataView, at: number, importance: Float32Array | undefined): void {
  const { name, subElements, scales } = kind;
  const [d, dmin] = importance === undefined ? plainScales(kind) : importantScales(kind, importance);
  const factor = writeFactor(bytes, at, d, name);
  const minFactor = writeFactor(bytes, at + 2, dmin, name);
  for (let j = 0; j < scales.length; j++) {
    const scale = fround(factor * scaleCodes[j]);
    if (scale === 0) continue; // the codes of the search stay, as in the reference; they count for nothing
    const min = fround(minFactor * minCodes[j]);
    for (let e = subElements * j; e < subElements * (j + 1); e++) {
      codes[e] = nearestCode(fround(fround(block[e] + min) / scale), 0, kind.plain.codeMax);
    }
  }
}

/** Sets the integers of the block's scales and minimums, and gives their factors. */
function plainScales({ subElements, scaleMax, plain, scales, mins }: ShiftedKind): readonly [number, number] {
  const weights = subElements === 16 ? weightsOf16 : weightsOf32;
  for (let j = 0; j < scales.length; j++) {
    const at = subElements * j;
    // Q2_K weighs by distance from 0, the others by that and the root of the mean square.
    const base = subElements === 16 ? 0 : fround(sqrt(fround(sumOfSquares(block, at, 32) / 32)));
    for (let i = 0; i < subElements; i++) weights[i] = base + abs(block[at + i]);
    const { scale, min } = fitShifted(block, at, subElements, weights, plain, codes);
    scales[j] = scale;
    mins[j] = min;
  }
  return [roundToCodes(scales, scaleMax, scaleCodes), roundToCodes(mins, scaleMax, minCodes)];
}

/** Rounds numbers to codes of at most `codeMax` so that the largest has that, and gives the factor. */
function roundToCodes(x: Float32Array, codeMax: number, target: Uint8Array): number {
  let most = 0;
  for (let j = 0; j < x.length; j++) if (x[j] > most) most = x[j];
  const inverse = most > 0 ? fround(codeMax / most) : 0;
  for (let j = 0; j < x.length; j++) {
    target[j] = Math.min(codeMax, nearestInteger(fround(inverse * x[j])) & 255); // a byte, as in the reference
  }
  return fround(most / codeMax);
}

function importantScales(kind: ShiftedKind, importance: Float32Array): readonly [number, number] {
  const { subElements, scaleMax, weighted, scales, mins, sums } = kind;
  const weights = subElements === 16 ? weightsOf16 : weightsOf32;
  const sum = sumOfSquares(block, 0, ELEMENTS);
  const variance = fround((subElements === 16 ? sum : fround(2 * sum)) / ELEMENTS);
  for (let j = 0; j < scales.length; j++) {
    weigh(block, subElements * j, variance, importance, weights);
    sums[j] = sumOf(weights);
    const { scale, min } = fitShifted(block, subElements * j, subElements, weights, weighted, codes);
    scales[j] = scale;
    mins[j] = min;
  }
  return [fitPositive(scales, scaleMax, sums, scaleCodes), fitPositive(mins, scaleMax, sums, minCodes)];
}

/** The codes of a sub-block of 16 with this scale, from 0 to 2 middle - 1. */
function encodeCentred(at: number, scale: number, middle: number): void {
  if (scale === 0) return;
  for (let e = at; e < at + 16; e++) {
    codes[e] = nearestCode(fround(block[e] / scale), -middle, middle - 1) + middle;
  }
}

/** Two bits of each code, from bit `shift` on: byte m of a half holds elements m, m + 32, m + 64, m + 96. */
function packTwoBits(bytes: DataView, at: number, shift: number): void {
  for (let m = 0; m < 64; m++) {
    const e = 128 * (m >> 5) + (m & 31);
    let byte = 0;
    for (let plane = 0; plane < 4; plane++) byte |= ((codes[e + 32 * plane] >> shift) & 3) << (2 * plane);
    bytes.setUint8(at + m, byte);
  }
}

/** The lower four bits of each code: byte m of each 32 holds elements m and m + 32 of 64. */
function packFourBits(bytes: DataView, at: number): void {
  for (let m = 0; m < 128; m++) {
    const e = 64 * (m >> 5) + (m & 31);
    bytes.setUint8(at + m, (codes[e] & 15) | ((codes[e + 32] & 15) << 4));
  }
}

/** Eight scales and eight minimums of 6 bits in 12 bytes: the last four have their upper bits in the first eight. */
function packSixBits(bytes: DataView, at: number): void {
  for (let j = 0; j < 4; j++) {
    bytes.setUint8(at + j, scaleCodes[j] | ((scaleCodes[j + 4] >> 4) << 6));
    bytes.setUint8(at + j + 4, minCodes[j] | ((minCodes[j + 4] >> 4) << 6));
    bytes.setUint8(at + j + 8, (scaleCodes[j + 4] & 15) | ((minCodes[j + 4] & 15) << 4));
  }
}

function or(bytes: DataView, at: number, bits: number): void {
  bytes.setUint8(at, bytes.getUint8(at) | bits);
}

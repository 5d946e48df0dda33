// IQ4_NL, ggml's blocks of 32 codes of 4 bits for 16 levels that lie closer together near 0 than far from it. Layout
// and the method of quantising are those of ggml-common.h and of quantize_iq4_nl in ggml-quants.c in
// ggml-org/llama.cpp, by which it writes files: sixteen scales are tried. Its quantize_row_iq4_nl_ref tries only one.

import { blockType, writeFactor } from "./block-type.ts";
import { farthest, squares, sumOfSquares, TINY, weigh } from "./fits.ts";

const { abs, fround } = Math;
const ELEMENTS = 32;
const HALF = 16;
const LEVELS = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
const LAST = LEVELS.length - 1;

/** For each integer from -127 on: the first level above it. */
const levelAbove = Uint8Array.from({ length: 240 }, (_, i) => LEVELS.findIndex((level) => level > i - 127));

const weights = new Float32Array(ELEMENTS);

/** x = d level[q], with 4 bits. Bytes: d, 16 pairs of codes. */
export const iq4_nl = blockType(
  "iq4_nl",
  ELEMENTS,
  2 + HALF,
  (bytes, at, target, start) => {
    const d = bytes.getFloat16(at, true);
    for (let j = 0; j < HALF; j++) {
      const byte = bytes.getUint8(at + 2 + j);
      target[start + j] = d * LEVELS[byte & 15];
      target[start + HALF + j] = d * LEVELS[byte >> 4];
    }
  },
  (values, start, bytes, at, importance) => {
    const block = values.subarray(start, start + ELEMENTS);
    if (importance === undefined) squares(block, 0, ELEMENTS, weights);
    else weigh(block, 0, fround(sumOfSquares(block, 0, ELEMENTS) * fround(2 / ELEMENTS)), importance, weights);
    const d = fitLevels(block);
    writeFactor(bytes, at, d, "iq4_nl");
    const inverse = d === 0 ? 0 : fround(1 / d);
    for (let j = 0; j < HALF; j++) {
      const second = nearestLevel(fround(inverse * block[j + HALF]));
      bytes.setUint8(at + 2 + j, nearestLevel(fround(inverse * block[j])) | (second << 4));
    }
  },
  true,
);

/** The scale that gives the least weighted error of those around the one that takes the farthest element to -127. */
function fitLevels(block: Float32Array): number {
  const far = farthest(block, 0, ELEMENTS);
  if (abs(far) < TINY) return 0;
  let scale = 0;
  let best = 0;
  for (let n = -8; n <= 7; n++) {
    const isFirst = n === -8;
    const inverse = isFirst ? fround(1 / fround(-far / LEVELS[0])) : fround((n + LEVELS[0]) / far);
    let xy = 0;
    let yy = 0;
    for (let i = 0; i < ELEMENTS; i++) {
      const level = LEVELS[nearestLevel(fround(inverse * block[i]))];
      const weighted = fround(weights[i] * level);
      xy = fround(xy + fround(weighted * block[i]));
      yy = fround(yy + fround(weighted * level));
    }
    if (isFirst) scale = yy > 0 ? fround(xy / yy) : 0;
    else if (yy > 0 && fround(xy * xy) > fround(best * yy)) scale = fround(xy / yy);
    else continue;
    best = fround(scale * xy);
  }
  return scale;
}

/** The code of the level that is nearest to a number, the upper of two that are as near. */
function nearestLevel(value: number): number {
  if (value <= LEVELS[0]) return 0;
  if (!(value < LEVELS[LAST])) return LAST;
  const above = levelAbove[Math.floor(value) + 127];
  return fround(value - LEVELS[above - 1]) < fround(LEVELS[above] - value) ? above - 1 : above;
}

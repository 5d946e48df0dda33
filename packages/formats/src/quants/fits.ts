// The searches by which ggml's K types and IQ4_NL find the scale of some numbers: candidates around the scale that just
// reaches the largest of them are tried, each with the codes that follow from it, and the one with the least weighted
// error stays. The method is that of ggml-quants.c in ggml-org/llama.cpp (make_qx_quants, make_q3_quants,
// make_qkx2_quants, make_qkx3_quants, make_qp_quants).
//
// Every operation rounds to float32, in the order of the reference, so that the same scale wins: each `fround` below
// is an operation there. In double precision sums, products, quotients and roots of float32 numbers round once more
// without a change. Numbers lie in `x` from `at` on, their codes go to the same places of `codes`, weights begin at 0.

const { abs, fround } = Math;

/** What is smaller than this counts as 0. */
export const TINY = fround(1e-15);

// Adding 1.5 * 2^23 leaves a number's integer, rounded to even, in the lower bits of a float32.
const roundingFloat = new Float32Array(1);
const roundingBits = new Int32Array(roundingFloat.buffer);

/** The nearest integer of a float32 below 2^22, ties to even. What is larger or no number gives what ggml gives. */
export function nearestInteger(value: number): number {
  roundingFloat[0] = value + 12_582_912;
  return (roundingBits[0] & 0x7fffff) - 0x400000;
}

/** The nearest integer of a float32, from `least` to `most`. */
export function nearestCode(value: number, least: number, most: number): number {
  const code = nearestInteger(value);
  return code < least ? least : code > most ? most : code;
}

/** The first of `count` numbers that are farthest from 0, with its sign. */
export function farthest(x: Float32Array, at: number, count: number): number {
  let found = 0;
  for (let i = at; i < at + count; i++) if (abs(x[i]) > abs(found)) found = x[i];
  return found;
}

/** Sets weights to the squares of numbers. */
export function squares(x: Float32Array, at: number, count: number, weights: Float32Array): void {
  for (let i = 0; i < count; i++) weights[i] = x[at + i] * x[at + i];
}

/** Sets weights to importance * sqrt(variance + x^2). */
export function weigh(
  x: Float32Array,
  at: number,
  variance: number,
  importance: Float32Array,
  weights: Float32Array,
): void {
  for (let i = 0; i < weights.length; i++) {
    const value = x[at + i];
    weights[i] = importance[at + i] * fround(Math.sqrt(fround(variance + fround(value * value))));
  }
}

/** The sum of the squares of `count` numbers, one after the other. */
export function sumOfSquares(x: Float32Array, at: number, count: number): number {
  let sum = 0;
  for (let i = at; i < at + count; i++) sum = fround(sum + fround(x[i] * x[i]));
  return sum;
}

/** The sum of numbers, one after the other. */
export function sumOf(x: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum = fround(sum + x[i]);
  return sum;
}

/**
 * x = scale (code - middle): gives the scale, with codes from 0 to 2 middle - 1. The scale may be negative: the number
 * that is farthest from 0 gets about the code 0.
 */
export function fitCentred(
  x: Float32Array,
  at: number,
  count: number,
  middle: number,
  weights: Float32Array,
  codes: Uint8Array,
): number {
  const far = farthest(x, at, count);
  if (abs(far) < TINY) {
    codes.fill(0, at, at + count);
    return 0;
  }
  let scale = 0;
  let best = -1;
  for (let n = 0; n <= 18; n++) {
    // The first candidate is the middle one, then -9 to -1 and 1 to 9 tenths.
    const tenths = n === 0 ? 0 : n <= 9 ? n - 10 : n - 9;
    const inverse = fround(-fround(middle + fround(fround(0.1) * tenths)) / far);
    let xy = 0;
    let yy = 0;
    for (let i = 0; i < count; i++) {
      const code = nearestCode(fround(inverse * x[at + i]), -middle, middle - 1);
      candidate[i] = code + middle;
      const weighted = weights[i];
      xy = fround(xy + fround(fround(weighted * x[at + i]) * code));
      yy = fround(yy + fround(fround(weighted * code) * code));
    }
    if (n === 0) scale = yy === 0 ? 0 : fround(xy / yy);
    else if (yy > 0 && fround(xy * xy) > fround(best * yy)) scale = fround(xy / yy);
    else continue;
    best = fround(scale * xy);
    for (let i = 0; i < count; i++) codes[at + i] = candidate[i];
  }
  return scale;
}

const candidate = new Uint8Array(32);

/** As `fitCentred` for 3 bits, by improving one code after the other instead of trying scales; weights are squares. */
export function fitThreeBits(x: Float32Array, at: number, count: number, codes: Uint8Array): number {
  const far = farthest(x, at, count);
  if (abs(far) < TINY) {
    codes.fill(0, at, at + count);
    return 0;
  }
  const inverse = fround(-4 / far);
  let xy = 0;
  let yy = 0;
  for (let i = at; i < at + count; i++) {
    const code = nearestCode(fround(inverse * x[i]), -4, 3);
    codes[i] = code + 4;
    const weight = fround(x[i] * x[i]);
    xy = fround(xy + fround(fround(weight * x[i]) * code));
    yy = fround(yy + fround(fround(weight * code) * code));
  }
  for (let round = 0, changes = 1; round < 5 && changes > 0; round++) {
    changes = 0;
    for (let i = at; i < at + count; i++) {
      const weight = fround(x[i] * x[i]);
      const weighted = fround(weight * x[i]);
      const old = codes[i] - 4;
      let otherXy = fround(xy - fround(weighted * old));
      if (!(otherXy > 0)) continue;
      let otherYy = fround(yy - fround(fround(weight * old) * old));
      const code = nearestCode(fround(fround(x[i] * otherYy) / otherXy), -4, 3);
      if (code === old) continue;
      otherXy = fround(otherXy + fround(weighted * code));
      otherYy = fround(otherYy + fround(fround(weight * code) * code));
      if (!(otherYy > 0 && isBetter(otherXy, otherYy, xy, yy))) continue;
      codes[i] = code + 4;
      [xy, yy] = [otherXy, otherYy];
      changes++;
    }
  }
  return yy > 0 ? fround(xy / yy) : 0;
}

/** Whether xy^2 / yy, by which a scale takes the error down, is more than that of another. */
function isBetter(xy: number, yy: number, otherXy: number, otherYy: number): boolean {
  return fround(fround(xy * xy) * otherYy) > fround(fround(otherXy * otherXy) * yy);
}

/** Which scales `fitShifted` tries: those that give the range of the numbers codeMax + first + n step codes. */
export interface ShiftedSearch {
  readonly codeMax: number;
  readonly first: number;
  readonly step: number;
  readonly steps: number;
  /** Whether the error is the sum of distances, and not of their squares. */
  readonly isAbsolute: boolean;
}

/** x = scale code - min. */
export interface Shifted {
  scale: number;
  /** Not negative. */
  min: number;
}

const shifted: Shifted = { scale: 0, min: 0 };

/** x = scale code - min, with codes from 0 on: gives both, in an object that the next call uses again. */
export function fitShifted(
  x: Float32Array,
  at: number,
  count: number,
  weights: Float32Array,
  search: ShiftedSearch,
  codes: Uint8Array,
): Readonly<Shifted> {
  const { codeMax, first, step, steps, isAbsolute } = search;
  let [least, most, sumW, sumX] = [x[at], x[at], 0, 0];
  for (let i = 0; i < count; i++) {
    const value = x[at + i];
    if (value < least) least = value;
    if (value > most) most = value;
    sumW = fround(sumW + weights[i]);
    sumX = fround(sumX + fround(weights[i] * value));
  }
  if (least > 0) least = 0;
  shifted.scale = 0;
  shifted.min = -least;
  if (most === least) {
    codes.fill(0, at, at + count);
    return shifted;
  }
  let bestError = Infinity;
  for (let n = -1; n <= steps; n++) {
    // First the scale and the minimum that just hold all numbers, and then the best pair for the codes of each scale,
    // which are counted from the minimum that was best so far.
    const reach = n < 0 ? codeMax : fround(fround(first + fround(step * n)) + codeMax);
    const inverse = fround(reach / fround(most - least));
    let [sumL, sumLL, sumXL] = [0, 0, 0];
    for (let i = 0; i < count; i++) {
      const value = x[at + i];
      const code = nearestCode(fround(inverse * fround(value - least)), 0, codeMax);
      candidate[i] = code;
      const weighted = fround(weights[i] * code);
      sumL = fround(sumL + weighted);
      sumLL = fround(sumLL + fround(weighted * code));
      sumXL = fround(sumXL + fround(weighted * value));
    }
    let scale = fround(1 / inverse);
    let low = least;
    if (n >= 0) {
      const determinant = fround(fround(sumW * sumLL) - fround(sumL * sumL));
      if (!(determinant > 0)) continue;
      scale = fround(fround(fround(sumW * sumXL) - fround(sumX * sumL)) / determinant);
      low = fround(fround(fround(sumLL * sumX) - fround(sumL * sumXL)) / determinant);
      if (low > 0) [low, scale] = [0, fround(sumXL / sumLL)];
    }
    const error = errorOf(x, at, count, weights, scale, low, isAbsolute);
    if (n >= 0 && !(error < bestError)) continue;
    [bestError, least, shifted.scale] = [error, low, scale];
    for (let i = 0; i < count; i++) codes[at + i] = candidate[i];
  }
  shifted.min = -least;
  return shifted;
}

/**
 * x = scale code, for numbers that are not negative: gives the scale, with codes from 0 to `codeMax`. The best of nine
 * scales is improved by one code after the other.
 */
export function fitPositive(x: Float32Array, codeMax: number, weights: Float32Array, codes: Uint8Array): number {
  const most = x.reduce((a, b) => Math.max(a, b), 0);
  if (most < TINY) {
    codes.fill(0, 0, x.length);
    return 0;
  }
  let inverse = 0;
  let bestError = Infinity;
  for (let n = 0; n <= 8; n++) {
    const tenths = n === 0 ? 0 : n <= 4 ? n - 5 : n - 4;
    const candidateInverse = fround(fround(fround(fround(0.1) * tenths) + codeMax) / most);
    const scale = fround(1 / candidateInverse);
    let error = 0;
    for (let i = 0; i < x.length; i++) {
      const code = Math.min(codeMax, nearestInteger(fround(candidateInverse * x[i])));
      const difference = fround(x[i] - fround(scale * code));
      error = fround(error + fround(fround(weights[i] * difference) * difference));
    }
    if (n === 0 || error < bestError) [inverse, bestError] = [candidateInverse, error];
  }
  let xy = 0;
  let yy = 0;
  for (let i = 0; i < x.length; i++) {
    const code = Math.min(codeMax, nearestInteger(fround(inverse * x[i])));
    codes[i] = code;
    xy = fround(xy + fround(fround(weights[i] * x[i]) * code));
    yy = fround(yy + fround(fround(weights[i] * code) * code));
  }
  for (let round = 0, changes = 1; round < 5 && changes > 0; round++) {
    changes = 0;
    for (let i = 0; i < x.length; i++) {
      const weighted = fround(weights[i] * x[i]);
      let otherXy = fround(xy - fround(weighted * codes[i]));
      let otherYy = fround(yy - fround(fround(weights[i] * codes[i]) * codes[i]));
      if (!(otherXy > 0 && otherYy > 0)) continue;
      const code = Math.min(codeMax, nearestInteger(fround(fround(x[i] * otherYy) / otherXy)));
      if (code === codes[i]) continue;
      otherXy = fround(otherXy + fround(weighted * code));
      otherYy = fround(otherYy + fround(fround(weights[i] * code) * code));
      if (!isBetter(otherXy, otherYy, xy, yy)) continue;
      codes[i] = code;
      [xy, yy] = [otherXy, otherYy];
      changes++;
    }
  }
  return yy > 0 ? fround(xy / yy) : 0;
}

/** The weighted error of the candidate's codes. */
function errorOf(
  x: Float32Array,
  at: number,
  count: number,
  weights: Float32Array,
  scale: number,
  low: number,
  isAbsolute: boolean,
): number {
  let error = 0;
  for (let i = 0; i < count; i++) {
    const difference = fround(fround(fround(scale * candidate[i]) + low) - x[at + i]);
    const size = isAbsolute ? abs(difference) : fround(difference * difference);
    error = fround(error + fround(weights[i] * size));
  }
  return error;
}

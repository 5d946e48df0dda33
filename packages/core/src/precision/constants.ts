// Numbers to more digits than a float64 has, as sums of float64 parts: computed from exact fractions of big integers
// when this file is loaded, so that none is copied from a table and none can be mistyped.

/**
 * The float64 (or, with `bits` 24, float32) nearest to p / q, ties to even; q > 0. Results below the normal numbers
 * are rounded twice, where they are not exact.
 */
export function nearestFloat(p: bigint, q: bigint, bits: 24 | 53 = 53): number {
  if (p < 0n) return -nearestFloat(-p, q, bits);
  if (p === 0n) return 0;
  // Scale the quotient to two or three bits more than are kept.
  const shift = bits + 2 - (bitLength(p) - bitLength(q));
  const [above, below] = shift >= 0 ? [p << BigInt(shift), q] : [p, q << BigInt(-shift)];
  let quotient = above / below;
  if (above % below !== 0n) quotient |= 1n; // Sticky: rounding to nearest has to see that this is no tie.
  const rounded = bits === 53 ? Number(quotient) : Math.fround(Number(quotient));
  // In two steps: 2^-shift alone may be out of range.
  const first = Math.min(Math.max(-shift, -1000), 900);
  const value = rounded * 2 ** first * 2 ** (-shift - first);
  return bits === 53 ? value : Math.fround(value);
}

function bitLength(value: bigint): number {
  return value.toString(2).length;
}

/** A finite float64 as an exact fraction whose denominator is a power of two. */
export function fractionOf(value: number): readonly [p: bigint, q: bigint] {
  let scaled = value;
  let exponent = 0;
  while (!Number.isInteger(scaled)) {
    scaled *= 2;
    exponent++;
  }
  return [BigInt(scaled), 1n << BigInt(exponent)];
}

/**
 * p / q as a sum of float64 parts, each the nearest to what the ones before leave; all but the last keep no more than
 * `bits` bits, so that their products with small integers are exact.
 */
export function splitFraction(p: bigint, q: bigint, parts: number, bits = 53): number[] {
  const found: number[] = [];
  let [rest, below] = [p, q];
  for (let i = 0; i < parts; i++) {
    let part = nearestFloat(rest, below);
    if (i < parts - 1 && bits < 53) part = keepBits(part, bits);
    found.push(part);
    const [n, d] = fractionOf(part);
    rest = rest * d - n * below;
    below *= d;
  }
  return found;
}

function keepBits(value: number, bits: number): number {
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(value))) + 1 - bits);
  return Math.round(value / unit) * unit;
}

/** Bits of the fixed-point constants below: enough for any argument reduction here. */
const FIXED_BITS = 320n;
const ONE = 1n << FIXED_BITS;

/** atanh(1/n) in fixed point, by its series. */
function inverseAtanh(n: bigint, alternate: boolean): bigint {
  let sum = 0n;
  let power = ONE / n;
  for (let i = 1n, sign = 1n; power !== 0n; i += 2n, power /= n * n, sign = alternate ? -sign : sign) {
    sum += (sign * power) / i;
  }
  return sum;
}

/** ln 2 = 2 atanh(1/3), times 2^320. */
const LN2_FIXED = 2n * inverseAtanh(3n, false);
/** Machin: pi = 16 atan(1/5) - 4 atan(1/239), times 2^320. */
const PI_FIXED = 16n * inverseAtanh(5n, true) - 4n * inverseAtanh(239n, true);

/** ln 2 in three parts, the first two of 42 bits: n ln 2 is exact in them for |n| < 2^11. */
export const LN2_PARTS = splitFraction(LN2_FIXED, ONE, 3, 42);
/** pi/2 in four parts, the first three of 33 bits: n pi/2 is exact in them for |n| < 2^20. */
export const HALF_PI_PARTS = splitFraction(PI_FIXED, 2n * ONE, 4, 33);

/** 1/n! as [high, low], for n from 0 to 29. */
export const INVERSE_FACTORIALS: readonly (readonly [hi: number, lo: number])[] = Array.from({ length: 30 }, (_, n) => {
  let factorial = 1n;
  for (let i = 2n; i <= BigInt(n); i++) factorial *= i;
  const [hi, lo] = splitFraction(1n, factorial, 2);
  return [hi!, lo!] as const;
});

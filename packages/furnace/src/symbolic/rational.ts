// Exact coefficients of symbolic expressions: fractions of whole numbers in lowest terms, the denominator positive.
// Every literal of a program is a finite decimal, so nothing is rounded before an expression is evaluated.

import { invariant } from "@fidelity/units";

export interface Rational {
  readonly numerator: bigint;
  readonly denominator: bigint;
}

/** A power is written out as a number up to this many bits. */
const FOLDED_BITS_MAX = 2048;

export function rational(numerator: bigint | number, denominator: bigint | number = 1n): Rational {
  let [p, q] = [BigInt(numerator), BigInt(denominator)];
  invariant(q !== 0n, "a fraction with denominator 0");
  if (q < 0n) [p, q] = [-p, -q];
  const divisor = greatestCommonDivisor(p < 0n ? -p : p, q);
  return { numerator: p / divisor, denominator: q / divisor };
}

export const ZERO = rational(0);
export const ONE = rational(1);
export const HALF = rational(1, 2);

function greatestCommonDivisor(a: bigint, b: bigint): bigint {
  while (b !== 0n) [a, b] = [b, a % b];
  return a;
}

/** The exact value of a decimal literal as JavaScript writes them, `12.5e-3`; undefined for anything else. */
export function parseDecimal(text: string): Rational | undefined {
  const match = /^(\d*)\.?(\d*)(?:e([+-]?\d{1,4}))?$/i.exec(text);
  const [, whole = "", fraction = "", power = "0"] = match ?? [];
  if (match === null || whole + fraction === "") return undefined;
  const digits = BigInt(whole + fraction);
  const exponent = Number(power) - fraction.length;
  return exponent >= 0 ? rational(digits * 10n ** BigInt(exponent)) : rational(digits, 10n ** BigInt(-exponent));
}

/** The exact value of a finite float64. */
export function exactly(value: number): Rational {
  invariant(Number.isFinite(value), `${value} is not a fraction`);
  // The shortest decimal that reads back is what an author wrote; the binary fraction is not.
  const decimal = parseDecimal(Math.abs(value).toString());
  invariant(decimal !== undefined, `${value} is not a decimal`);
  return value < 0 ? negate(decimal) : decimal;
}

export const isZero = (a: Rational): boolean => a.numerator === 0n;
export const isOne = (a: Rational): boolean => a.numerator === a.denominator;
export const isInteger = (a: Rational): boolean => a.denominator === 1n;
export const isNegative = (a: Rational): boolean => a.numerator < 0n;
export const equals = (a: Rational, b: Rational): boolean =>
  a.numerator === b.numerator && a.denominator === b.denominator;

export const negate = (a: Rational): Rational => ({ numerator: -a.numerator, denominator: a.denominator });
export const add = (a: Rational, b: Rational): Rational =>
  rational(a.numerator * b.denominator + b.numerator * a.denominator, a.denominator * b.denominator);
export const multiply = (a: Rational, b: Rational): Rational =>
  rational(a.numerator * b.numerator, a.denominator * b.denominator);

/** Below zero, zero or above as a is less than, equal to or greater than b. */
export function compare(a: Rational, b: Rational): number {
  const difference = a.numerator * b.denominator - b.numerator * a.denominator;
  return difference < 0n ? -1 : Number(difference > 0n);
}

/** `base` to a whole power; undefined for 0 to a negative one, and where the result is too long to write out. */
export function integerPower(base: Rational, exponent: bigint): Rational | undefined {
  if (isZero(base)) return exponent > 0n ? ZERO : undefined;
  const size = exponent < 0n ? -exponent : exponent;
  const bits = Math.max(bitLength(base.numerator), bitLength(base.denominator));
  if (BigInt(bits) * size > BigInt(FOLDED_BITS_MAX)) return undefined;
  const [p, q] = [base.numerator ** size, base.denominator ** size];
  return exponent < 0n ? rational(q, p) : rational(p, q);
}

/** The exact square root, where there is one. */
export function squareRoot(a: Rational): Rational | undefined {
  if (isNegative(a)) return undefined;
  const [p, q] = [integerRoot(a.numerator), integerRoot(a.denominator)];
  return p * p === a.numerator && q * q === a.denominator ? rational(p, q) : undefined;
}

function integerRoot(a: bigint): bigint {
  if (a < 2n) return a;
  let root = 1n << BigInt((bitLength(a) + 1) >> 1);
  for (;;) {
    const next = (root + a / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

function bitLength(a: bigint): number {
  return (a < 0n ? -a : a).toString(2).length;
}

/** The nearest float64. */
export function toNumber(a: Rational): number {
  const [p, q] = [Number(a.numerator), Number(a.denominator)];
  if (Number.isSafeInteger(p) && Number.isSafeInteger(q)) return p / q;
  const size = a.numerator < 0n ? -a.numerator : a.numerator;
  // A quotient of 65 bits or more with the rest folded into its last one rounds as the fraction itself would.
  const shift = 65 + bitLength(a.denominator) - bitLength(size);
  const [over, under] = [size << BigInt(Math.max(0, shift)), a.denominator << BigInt(Math.max(0, -shift))];
  const quotient = over / under;
  const sticky = quotient * under === over ? quotient : quotient | 1n;
  return Math.sign(p) * scaleByPowerOfTwo(Number(sticky), -shift);
}

function scaleByPowerOfTwo(value: number, exponent: number): number {
  // In two steps, since 2^-1100 alone would be 0.
  const half = Math.trunc(exponent / 2);
  return value * 2 ** half * 2 ** (exponent - half);
}

/** `-3`, `0.25`, `1/3`: a decimal where it is exact and no longer than the fraction. */
export function formatRational(a: Rational): string {
  const fraction = isInteger(a) ? `${a.numerator}` : `${a.numerator}/${a.denominator}`;
  const decimal = String(toNumber(a));
  const exact = /^-?\d+(\.\d+)?$/.test(decimal) ? parseDecimal(decimal.replace("-", "")) : undefined;
  const isExact = exact !== undefined && equals(isNegative(a) ? negate(exact) : exact, a);
  return isExact && decimal.length <= Math.max(fraction.length, 4) ? decimal : fraction;
}

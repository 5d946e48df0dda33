// Elementary functions in double-double arithmetic. The exponential divides its argument by 2^9 and squares the
// result as often, in the form e^x - 1 that keeps small results (Hida, Li and Bailey, QD, ARITH-15, 2001); the
// logarithm is one step of Newton's method from a float64 one; sine and cosine are Taylor series after reduction by
// pi/2. Errors: exp, log and tanh 2^-96 relative; sin and cos 2^-96 absolute up to |x| = 10^5, NaN beyond 2^19. Left
// out: results below the normal numbers, which lose bits gradually.

import { HALF_PI_PARTS, INVERSE_FACTORIALS, LN2_PARTS } from "./constants.ts";
import { DoubleDouble } from "./double_double.ts";
import type { Pair } from "./double_double.ts";

/** Squarings after the series of the exponential. */
const HALVINGS = 9;
/** Terms of its series that need a low part; the others count less than 2^-53 of the sum. */
const PAIR_TERMS = 6;
const EXP_TERMS = 9;
/** Beyond these e^x is 0 or infinite. */
const EXP_LOW = -745.2;
const EXP_HIGH = 709.79;
/** tanh is 1 to all digits beyond this. */
const TANH_FLAT = 40;
/** Beyond this the quarter turns of an angle have no exact products with the parts of pi/2. */
const ANGLE_MAX = 2 ** 19;
const SINE_TERMS = 29;

/** e^x and e^x - 1. */
interface Exponentials<T> {
  readonly exp: Pair<T>;
  readonly expm1: Pair<T>;
}

/** Double-double operations and functions over any arithmetic. */
export class DoubleDoubleFunctions<T, M> extends DoubleDouble<T, M> {
  exp(x: Pair<T>): Pair<T> {
    return this.#exponentials(x).exp;
  }

  /** x - n (sum of parts), where all products with n but the last are exact. */
  #reduce(x: Pair<T>, n: T, parts: readonly number[]): Pair<T> {
    const { constant, neg } = this.on;
    let rest = x;
    for (const part of parts) {
      const product = this.twoProduct(n, constant(part));
      rest = this.addNumber(this.addNumber(rest, neg(product.hi)), neg(product.lo));
    }
    return rest;
  }

  #exponentials(x: Pair<T>): Exponentials<T> {
    const { add, constant, eq, lt, mul, nearest, sub } = this.on;
    const below = lt(x.hi, constant(EXP_LOW));
    const above = lt(constant(EXP_HIGH), x.hi);
    const isNumber = eq(x.hi, x.hi);
    const zero = this.number(0);
    const inside = this.select(isNumber, this.select(below, zero, this.select(above, zero, x)), zero);
    const n = nearest(mul(inside.hi, constant(Math.LOG2E)));
    const r = this.scale(this.#reduce(inside, n, LN2_PARTS), constant(2 ** -HALVINGS));
    // (e^r - 1) / r from its series: the tail in float64, the head in pairs.
    let tail = constant(INVERSE_FACTORIALS[EXP_TERMS]![0]);
    for (let i = EXP_TERMS - 1; i >= PAIR_TERMS; i--) tail = add(mul(tail, r.hi), constant(INVERSE_FACTORIALS[i]![0]));
    let sum = this.exact(tail);
    for (let i = PAIR_TERMS - 1; i >= 1; i--) {
      sum = this.add(this.mul(sum, r), this.constantPair(INVERSE_FACTORIALS[i]!));
    }
    // e^2r - 1 = (e^r - 1)^2 + 2 (e^r - 1).
    let less1 = this.mul(sum, r);
    for (let i = 0; i < HALVINGS; i++) less1 = this.add(this.mul(less1, less1), this.scale(less1, constant(2)));
    // 2^n in two factors, neither of which is out of range.
    const half = nearest(mul(n, constant(0.5)));
    const powers = [half, sub(n, half)].map((part) => this.on.powerOfTwo(part));
    const whole = powers.reduce((value, power) => this.scale(value, power), this.addNumber(less1, constant(1)));
    const out = (value: Pair<T>, low: number): Pair<T> => {
      const bounded = this.select(above, this.number(Infinity), this.select(below, this.number(low), value));
      return this.select(isNumber, bounded, this.exact(x.hi));
    };
    const expm1 = this.select(eq(n, constant(0)), less1, this.addNumber(whole, constant(-1)));
    return { exp: out(whole, 0), expm1: out(expm1, -1) };
  }

  /** The natural logarithm; -infinity at 0, NaN below. */
  log(x: Pair<T>): Pair<T> {
    const { add, constant, div, eq, lt, mul, neg, powerOfTwo, select, sub } = this.on;
    // Numbers near the ends of the range are moved to its middle first.
    const tiny = lt(x.hi, constant(2 ** -900));
    const huge = lt(constant(2 ** 900), x.hi);
    const one = constant(1);
    const moved = this.scale(x, select(tiny, constant(2 ** 200), select(huge, constant(2 ** -200), one)));
    const shift = select(tiny, constant(-200), select(huge, constant(200), constant(0)));
    // x = 2^e m with m in [0.7, 1.42].
    const exponent = this.on.exponent(mul(moved.hi, constant(Math.SQRT2)));
    const isUsual = lt(constant(0), x.hi);
    const e = select(isUsual, exponent, constant(0));
    const m = this.scale(moved, powerOfTwo(neg(e)));
    // log m to float64: the series of 2 atanh(s), s = (m - 1) / (m + 1).
    const s = div(sub(m.hi, one), add(m.hi, one));
    const z = mul(s, s);
    let series = constant(2 / 21);
    for (let i = 19; i >= 1; i -= 2) series = add(mul(series, z), constant(2 / i));
    const guess = mul(series, s);
    // m e^-guess - 1 = (m - 1) + m (e^-guess - 1), and log(1 + d) = d - d^2 / 2.
    const { expm1 } = this.#exponentials(this.exact(neg(guess)));
    const d = this.add(this.addNumber(m, constant(-1)), this.mul(m, expm1));
    const correction = this.addNumber(d, mul(mul(d.hi, d.hi), constant(-0.5)));
    const logM = this.addNumber(correction, guess);
    const turns = this.#reduce(this.number(0), neg(add(e, shift)), LN2_PARTS);
    const value = this.add(turns, logM);
    const zero = eq(x.hi, constant(0));
    const edge = select(zero, constant(-Infinity), select(isUsual, x.hi, constant(NaN)));
    const isInfinite = eq(x.hi, constant(Infinity));
    return this.select(isInfinite, this.exact(edge), this.select(isUsual, value, this.exact(edge)));
  }

  /** The hyperbolic tangent, from e^2|x| - 1. */
  tanh(x: Pair<T>): Pair<T> {
    const { abs, constant, lt } = this.on;
    const negative = lt(x.hi, constant(0));
    const magnitude = this.select(negative, this.neg(x), x);
    const flat = lt(constant(TANH_FLAT), abs(x.hi));
    const bounded = this.select(flat, this.number(TANH_FLAT), magnitude);
    const { expm1 } = this.#exponentials(this.scale(bounded, constant(2)));
    const value = this.select(flat, this.number(1), this.div(expm1, this.addNumber(expm1, constant(2))));
    return this.select(negative, this.neg(value), value);
  }

  sin(x: Pair<T>): Pair<T> {
    return this.#sine(x, 0);
  }

  cos(x: Pair<T>): Pair<T> {
    return this.#sine(x, 1);
  }

  /** sin(x + turns pi / 2). */
  #sine(x: Pair<T>, turns: number): Pair<T> {
    const { abs, add, constant, eq, lt, mul, nearest, select, sub } = this.on;
    const inside = lt(abs(x.hi), constant(ANGLE_MAX));
    const angle = this.select(inside, x, this.number(0));
    const n = nearest(mul(angle.hi, constant(2 / Math.PI)));
    const r = this.#reduce(angle, n, HALF_PI_PARTS);
    const turned = add(n, constant(turns));
    // n modulo 4, in -2..2.
    const quadrant = sub(turned, mul(nearest(mul(turned, constant(0.25))), constant(4)));
    const z = this.mul(r, r);
    const series = (from: number): Pair<T> => {
      let sum = this.constantPair(alternating(SINE_TERMS - 1 + from));
      for (let i = SINE_TERMS - 3 + from; i >= from; i -= 2) {
        sum = this.add(this.mul(sum, z), this.constantPair(alternating(i)));
      }
      return sum;
    };
    const [cos, sin] = [series(0), this.mul(series(1), r)];
    const isOdd = eq(abs(quadrant), constant(1));
    const value = this.select(isOdd, cos, sin);
    // Negative in the quadrants 2 and 3, which are -2 or 2, and -1.
    const isHalf = eq(abs(quadrant), constant(2));
    const sign = select(isHalf, constant(-1), select(eq(quadrant, constant(-1)), constant(-1), constant(1)));
    return this.select(inside, this.scale(value, sign), this.number(NaN));
  }
}

/** (-1)^(n div 2) / n!. */
function alternating(n: number): readonly [number, number] {
  const [hi, lo] = INVERSE_FACTORIALS[n]!;
  return (n >> 1) % 2 === 0 ? [hi, lo] : [-hi, -lo];
}

/** The functions of one or two pairs, by name. */
export const DOUBLE_DOUBLE_UNARY = ["sqrt", "exp", "log", "tanh", "sin", "cos"] as const;
export const DOUBLE_DOUBLE_BINARY = ["add", "sub", "mul", "div"] as const;
export type DoubleDoubleName = (typeof DOUBLE_DOUBLE_UNARY)[number] | (typeof DOUBLE_DOUBLE_BINARY)[number];

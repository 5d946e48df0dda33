// Floats wider than float64 in kernels, where a target has them in registers: f80, 64 bits, the x87 unit's, and f128,
// 113 bits, calls of a compiler's library. In memory a number is a pair of float64 tensors as in double_double.ts:
// f80 fits exactly, of f128 at least 106 bits are kept from kernel to kernel, and all 113 within one. Exponents are
// those of float64 in memory, and of 15 bits in registers, so that products of numbers beyond 2^970 keep their digits.
//
// Elementary functions are series after a reduction of the argument: exponential, sine and cosine by Taylor's, the
// logarithm by that of 2 atanh((m - 1) / (m + 1)), all to more terms than the format holds. Errors, relative, with
// u = 2^-64 or 2^-113: arithmetic u, and what a pair loses; exp, log, tanh and sqrt 2^-60 and 2^-104; sin and cos the
// same absolutely up to |x| = 10^5, NaN beyond 2^19. Special values are those of double_double_functions.ts.
// Left out: vectors, which neither format has.

import type { KernelBuilder } from "../loop/builder.ts";
import { F64, loopType } from "../loop/ir.ts";
import type { LoopValue, WideFloat } from "../loop/ir.ts";
import { loopArithmetic } from "./arithmetic.ts";
import type { Arithmetic } from "./arithmetic.ts";
import { HALF_PI_PARTS, INVERSE_FACTORIALS, LN2_PARTS, splitFraction } from "./constants.ts";
import type { Pair } from "./double_double.ts";

/** How numbers of more digits than float64 are computed: in pairs on every target, or in a format that some have. */
export type ExtendedFormat = "double-double" | WideFloat;

/** Beyond these e^x is 0 or infinite. */
const EXP_LOW = -745.2;
const EXP_HIGH = 709.79;
/** tanh is 1 to all digits beyond this. */
const TANH_FLAT = 40;
const ANGLE_MAX = 2 ** 19;
/** Terms of the series: of e^r for |r| < 0.35, of atanh(s) / s in s^2 < 0.03, of sine and cosine for |r| < 0.79. */
const TERMS: Readonly<Record<WideFloat, { readonly exp: number; readonly log: number; readonly sine: number }>> = {
  f80: { exp: 18, log: 14, sine: 21 },
  f128: { exp: 27, log: 24, sine: 29 },
};

/** e^x and e^x - 1 of one wide float. */
interface Exponentials {
  readonly exp: LoopValue;
  readonly expm1: LoopValue;
}

/** Arithmetic and functions of a wide format in a kernel: values are scalars of that kind. */
export class WideFunctions {
  readonly #k: KernelBuilder;
  readonly #format: WideFloat;
  /** Float64, for what decides and reduces. */
  readonly #on: Arithmetic<LoopValue, LoopValue>;

  constructor(k: KernelBuilder, format: WideFloat) {
    this.#k = k;
    this.#format = format;
    this.#on = loopArithmetic(k, 1);
  }

  /** A float64 in the format. */
  widen(x: LoopValue): LoopValue {
    return this.#k.convert(loopType(this.#format), x);
  }

  /** The nearest float64. */
  narrow(x: LoopValue): LoopValue {
    return this.#k.convert(F64, x);
  }

  /** The sum of float64 constants. */
  constant(...parts: readonly number[]): LoopValue {
    return parts.map((part) => this.widen(this.#on.constant(part))).reduce((a, b) => this.add(a, b));
  }

  fromPair({ hi, lo }: Pair<LoopValue>): LoopValue {
    return this.add(this.widen(hi), this.widen(lo));
  }

  /** Rounds to a pair. Infinities and NaN are in hi, with lo = 0. */
  toPair(x: LoopValue): Pair<LoopValue> {
    const { abs, constant, lt, select } = this.#on;
    const hi = this.narrow(x);
    const lo = this.narrow(this.sub(x, this.widen(hi)));
    return { hi, lo: select(lt(abs(hi), constant(Infinity)), lo, constant(0)) };
  }

  add(a: LoopValue, b: LoopValue): LoopValue {
    return this.#k.add(a, b);
  }

  sub(a: LoopValue, b: LoopValue): LoopValue {
    return this.#k.sub(a, b);
  }

  mul(a: LoopValue, b: LoopValue): LoopValue {
    return this.#k.mul(a, b);
  }

  div(a: LoopValue, b: LoopValue): LoopValue {
    return this.#k.div(a, b);
  }

  #select(mask: LoopValue, a: LoopValue, b: LoopValue): LoopValue {
    return this.#k.select(mask, a, b);
  }

  /** One step of Newton's method from float64's root. */
  sqrt(a: LoopValue): LoopValue {
    const { constant, lt, sqrt } = this.#on;
    const root = sqrt(this.narrow(a));
    // Of 0, infinities and NaN the root is all there is.
    const isUsual = this.#k.binary("and", lt(constant(0), root), lt(root, constant(Infinity)));
    const y = this.widen(root);
    const better = this.add(y, this.div(this.sub(a, this.mul(y, y)), this.add(y, y)));
    return this.#select(isUsual, better, y);
  }

  exp(x: LoopValue): LoopValue {
    return this.#exponentials(x).exp;
  }

  /** x - n (sum of parts); the products with n are exact. */
  #reduce(x: LoopValue, n: LoopValue, parts: readonly number[]): LoopValue {
    const times = this.widen(n);
    return parts.reduce((rest, part) => this.sub(rest, this.mul(times, this.constant(part))), x);
  }

  #exponentials(x: LoopValue): Exponentials {
    const { constant, eq, lt, mul, nearest, powerOfTwo, sub } = this.#on;
    const plain = this.narrow(x);
    const below = lt(plain, constant(EXP_LOW));
    const above = lt(constant(EXP_HIGH), plain);
    const isNumber = eq(plain, plain);
    const zero = this.constant(0);
    const inside = this.#select(isNumber, this.#select(below, zero, this.#select(above, zero, x)), zero);
    const n = nearest(mul(this.narrow(inside), constant(Math.LOG2E)));
    const r = this.#reduce(inside, n, LN2_PARTS);
    // (e^r - 1) / r from its series.
    const terms = TERMS[this.#format].exp;
    let sum = this.constant(...INVERSE_FACTORIALS[terms]!);
    for (let i = terms - 1; i >= 1; i--) sum = this.add(this.mul(sum, r), this.constant(...INVERSE_FACTORIALS[i]!));
    const less1 = this.mul(sum, r);
    // 2^n in two factors, neither of which is out of float64's range.
    const half = nearest(mul(n, constant(0.5)));
    const powers = [half, sub(n, half)].map((part) => this.widen(powerOfTwo(part)));
    const whole = powers.reduce((value, power) => this.mul(value, power), this.add(less1, this.constant(1)));
    const out = (value: LoopValue, low: number): LoopValue => {
      const bounded = this.#select(above, this.constant(Infinity), this.#select(below, this.constant(low), value));
      return this.#select(isNumber, bounded, x);
    };
    const expm1 = this.#select(eq(n, constant(0)), less1, this.add(whole, this.constant(-1)));
    return { exp: out(whole, 0), expm1: out(expm1, -1) };
  }

  /** The natural logarithm; -infinity at 0, NaN below. */
  log(x: LoopValue): LoopValue {
    const { add, constant, eq, lt, mul, neg, powerOfTwo, select } = this.#on;
    const plain = this.narrow(x);
    // Numbers near the ends of the range are moved to its middle first.
    const tiny = lt(plain, constant(2 ** -900));
    const huge = lt(constant(2 ** 900), plain);
    const factor = select(tiny, constant(2 ** 200), select(huge, constant(2 ** -200), constant(1)));
    const shift = select(tiny, constant(-200), select(huge, constant(200), constant(0)));
    const isUsual = lt(constant(0), plain);
    // x = 2^e m with m in [0.7, 1.42].
    const e = select(isUsual, this.#on.exponent(mul(mul(plain, factor), constant(Math.SQRT2))), constant(0));
    const m = this.mul(this.mul(x, this.widen(factor)), this.widen(powerOfTwo(neg(e))));
    const s = this.div(this.sub(m, this.constant(1)), this.add(m, this.constant(1)));
    const z = this.mul(s, s);
    const coefficient = (i: number): LoopValue => this.constant(...splitFraction(2n, BigInt(2 * i + 1), 2));
    const terms = TERMS[this.#format].log;
    let series = coefficient(terms);
    for (let i = terms - 1; i >= 0; i--) series = this.add(this.mul(series, z), coefficient(i));
    const logM = this.mul(series, s);
    // The parts of ln 2 from the smallest on.
    const turns = neg(add(e, shift));
    const value = this.#reduce(logM, turns, LN2_PARTS.toReversed());
    const edge = select(eq(plain, constant(0)), constant(-Infinity), select(isUsual, plain, constant(NaN)));
    const isFinite = lt(plain, constant(Infinity));
    return this.#select(isFinite, this.#select(isUsual, value, this.widen(edge)), this.widen(edge));
  }

  /** The hyperbolic tangent, from e^2|x| - 1. */
  tanh(x: LoopValue): LoopValue {
    const { abs, constant, lt } = this.#on;
    const plain = this.narrow(x);
    const negative = lt(plain, constant(0));
    const magnitude = this.#select(negative, this.#k.unary("neg", x), x);
    const flat = lt(constant(TANH_FLAT), abs(plain));
    const bounded = this.#select(flat, this.constant(TANH_FLAT), magnitude);
    const { expm1 } = this.#exponentials(this.add(bounded, bounded));
    const ratio = this.div(expm1, this.add(expm1, this.constant(2)));
    const value = this.#select(flat, this.constant(1), ratio);
    return this.#select(negative, this.#k.unary("neg", value), value);
  }

  sin(x: LoopValue): LoopValue {
    return this.#sine(x, 0);
  }

  cos(x: LoopValue): LoopValue {
    return this.#sine(x, 1);
  }

  /** sin(x + turns pi / 2). */
  #sine(x: LoopValue, turns: number): LoopValue {
    const { abs, add, constant, eq, lt, mul, nearest, select, sub } = this.#on;
    const plain = this.narrow(x);
    const inside = lt(abs(plain), constant(ANGLE_MAX));
    const n = nearest(select(inside, mul(plain, constant(2 / Math.PI)), constant(0)));
    const r = this.#reduce(this.#select(inside, x, this.constant(0)), n, HALF_PI_PARTS);
    const turned = add(n, constant(turns));
    // n modulo 4, in -2..2.
    const quadrant = sub(turned, mul(nearest(mul(turned, constant(0.25))), constant(4)));
    const z = this.mul(r, r);
    const terms = TERMS[this.#format].sine;
    const series = (from: number): LoopValue => {
      const term = (i: number): LoopValue => {
        const sign = (i >> 1) % 2 === 0 ? 1 : -1;
        return this.constant(...INVERSE_FACTORIALS[i]!.map((part) => sign * part));
      };
      let sum = term(terms - 1 + from);
      for (let i = terms - 3 + from; i >= from; i -= 2) sum = this.add(this.mul(sum, z), term(i));
      return sum;
    };
    const [cos, sin] = [series(0), this.mul(series(1), r)];
    const value = this.#select(eq(abs(quadrant), constant(1)), cos, sin);
    // Negative in the quadrants 2 and 3, which are -2 or 2, and -1.
    const isHalf = eq(abs(quadrant), constant(2));
    const sign = select(isHalf, constant(-1), select(eq(quadrant, constant(-1)), constant(-1), constant(1)));
    return this.#select(inside, this.mul(value, this.widen(sign)), this.constant(NaN));
  }
}

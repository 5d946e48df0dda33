// Double-double arithmetic: a number is the unevaluated sum hi + lo of two float64 numbers with |lo| <= ulp(hi) / 2,
// about 106 bits. Dekker, "A floating-point technique for extending the available precision" (Numer. Math. 18, 1971);
// error-free transformations after Knuth (TwoSum) and Dekker and Veltkamp (TwoProduct, split in halves); sums,
// products and quotients as analysed in Joldes, Muller and Popescu, "Tight and rigorous error bounds for basic
// building blocks of double-word arithmetic" (ACM TOMS 44, 2017); square root after Karp and Markstein (ACM TOMS 23,
// 1997).
//
// Errors, relative, with u = 2^-53: add 3 u^2, mul 7 u^2, div 15 u^2, sqrt 8 u^2, where nothing underflows: partial
// products below 2^-1022 lose bits. Elementary functions are in double_double_functions.ts.
// Infinities and NaN are in hi, with lo = 0. Products of numbers beyond 2^970 keep float64's precision only.
// Products are split by Dekker's method on every target: a fused multiply-add would take 2 operations where this
// takes 16, but machines without one, and WebAssembly, would then not give the same bits near the ends of the range.

import type { Arithmetic } from "./arithmetic.ts";

/** hi + lo, not evaluated. */
export interface Pair<T> {
  readonly hi: T;
  readonly lo: T;
}

/** 2^27 + 1 splits a float64 into halves of 26 bits. */
const SPLITTER = 2 ** 27 + 1;

/** Double-double operations over any arithmetic. */
export class DoubleDouble<T, M> {
  readonly on: Arithmetic<T, M>;

  constructor(on: Arithmetic<T, M>) {
    this.on = on;
  }

  number(value: number): Pair<T> {
    return this.exact(this.on.constant(value));
  }

  /** A float64 as a pair. */
  exact(hi: T): Pair<T> {
    return { hi, lo: this.on.constant(0) };
  }

  constantPair([hi, lo]: readonly [number, number]): Pair<T> {
    return { hi: this.on.constant(hi), lo: this.on.constant(lo) };
  }

  /** a + b = hi + lo exactly (Knuth). */
  twoSum(a: T, b: T): Pair<T> {
    const { add, sub } = this.on;
    const hi = add(a, b);
    const other = sub(hi, a);
    return { hi, lo: add(sub(a, sub(hi, other)), sub(b, other)) };
  }

  /** The same for |a| >= |b| (Dekker). */
  fastTwoSum(a: T, b: T): Pair<T> {
    const { add, sub } = this.on;
    const hi = add(a, b);
    return { hi, lo: sub(b, sub(hi, a)) };
  }

  #split(a: T): Pair<T> {
    const { constant, mul, sub } = this.on;
    const scaled = mul(a, constant(SPLITTER));
    const hi = sub(scaled, sub(scaled, a));
    return { hi, lo: sub(a, hi) };
  }

  /** a b = hi + lo exactly, for |a|, |b| < 2^970 and |a b| > 2^-968. */
  twoProduct(a: T, b: T): Pair<T> {
    const { add, mul, sub } = this.on;
    const hi = mul(a, b);
    const [x, y] = [this.#split(a), this.#split(b)];
    const crossed = add(mul(x.hi, y.lo), mul(x.lo, y.hi));
    return { hi, lo: add(add(sub(mul(x.hi, y.hi), hi), crossed), mul(x.lo, y.lo)) };
  }

  /** The pair, unless its low part came out infinite or NaN: then `plain`, as float64 arithmetic has it. */
  #finite({ hi, lo }: Pair<T>, plain: T): Pair<T> {
    const { abs, constant, lt, select } = this.on;
    const whole = lt(abs(lo), constant(Infinity));
    return { hi: select(whole, hi, plain), lo: select(whole, lo, constant(0)) };
  }

  neg({ hi, lo }: Pair<T>): Pair<T> {
    return { hi: this.on.neg(hi), lo: this.on.neg(lo) };
  }

  add(a: Pair<T>, b: Pair<T>): Pair<T> {
    const { add } = this.on;
    const high = this.twoSum(a.hi, b.hi);
    const low = this.twoSum(a.lo, b.lo);
    const first = this.fastTwoSum(high.hi, add(high.lo, low.hi));
    return this.#finite(this.fastTwoSum(first.hi, add(low.lo, first.lo)), high.hi);
  }

  sub(a: Pair<T>, b: Pair<T>): Pair<T> {
    return this.add(a, this.neg(b));
  }

  /** a + b for a float64 b. */
  addNumber(a: Pair<T>, b: T): Pair<T> {
    const sum = this.twoSum(a.hi, b);
    return this.#finite(this.fastTwoSum(sum.hi, this.on.add(a.lo, sum.lo)), sum.hi);
  }

  mul(a: Pair<T>, b: Pair<T>): Pair<T> {
    const { add, mul } = this.on;
    const product = this.twoProduct(a.hi, b.hi);
    const crossed = add(mul(a.hi, b.lo), mul(a.lo, b.hi));
    return this.#finite(this.fastTwoSum(product.hi, add(product.lo, crossed)), product.hi);
  }

  /** a b for a float64 b. */
  mulNumber(a: Pair<T>, b: T): Pair<T> {
    const product = this.twoProduct(a.hi, b);
    const low = this.on.add(product.lo, this.on.mul(a.lo, b));
    return this.#finite(this.fastTwoSum(product.hi, low), product.hi);
  }

  /** a 2^n for a power of two, which is exact. */
  scale(a: Pair<T>, power: T): Pair<T> {
    return { hi: this.on.mul(a.hi, power), lo: this.on.mul(a.lo, power) };
  }

  /** Long division: three float64 quotients. */
  div(a: Pair<T>, b: Pair<T>): Pair<T> {
    const { add, div } = this.on;
    const first = div(a.hi, b.hi);
    let rest = this.sub(a, this.mulNumber(b, first));
    const second = div(rest.hi, b.hi);
    rest = this.sub(rest, this.mulNumber(b, second));
    const third = div(rest.hi, b.hi);
    const quotient = this.fastTwoSum(first, second);
    return this.#finite(this.fastTwoSum(quotient.hi, add(quotient.lo, third)), first);
  }

  /** The root y of hi, and a correction (a - y^2) / 2 y. */
  sqrt(a: Pair<T>): Pair<T> {
    const { add, div, sqrt } = this.on;
    const root = sqrt(a.hi);
    const square = this.twoProduct(root, root);
    const rest = this.sub(a, square);
    const correction = div(rest.hi, add(root, root));
    return this.#finite(this.fastTwoSum(root, correction), root);
  }

  /** Compares as numbers. */
  lt(a: Pair<T>, b: Pair<T>): M {
    // Of equal high parts the low ones decide; of others the sign of their difference, which is never rounded to 0.
    const { eq, lt, select, sub, constant } = this.on;
    return lt(select(eq(a.hi, b.hi), sub(a.lo, b.lo), sub(a.hi, b.hi)), constant(0));
  }

  select(condition: M, a: Pair<T>, b: Pair<T>): Pair<T> {
    return { hi: this.on.select(condition, a.hi, b.hi), lo: this.on.select(condition, a.lo, b.lo) };
  }
}

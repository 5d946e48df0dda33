// Exact sums: a long accumulator after Kulisch ("Computer Arithmetic and Validity", 2013), in bins of float64 numbers
// as in Neal's small superaccumulator (arXiv 1505.05571). A bin takes what has one of eight neighbouring exponents;
// so many bits of room are left that adding to a bin never rounds. Carrying from bin to bin leaves digits of base 256
// in
// -128..128 whose sum is the exact sum, and reading them from the top rounds it once, ties to even. So a sum depends
// neither on the order of its terms nor on how they are shared.
//
// Numbers of up to 27 bits go into one bin, others in halves. Exact below 2^960 in magnitude: what is larger is added
// like float64, infinities and NaN included.

import type { KernelBuilder } from "../loop/builder.ts";
import { F32, F64, I32, INDEX, loopType } from "../loop/ir.ts";
import type { LoopValue } from "../loop/ir.ts";
import type { Arithmetic } from "./arithmetic.ts";
import { loopArithmetic } from "./arithmetic.ts";
import { fractionOf, nearestFloat } from "./constants.ts";
import { DoubleDouble } from "./double_double.ts";

/** 2048 exponents, eight to a bin of eight bytes: the offset of a bin is the exponent field without its low bits. */
const BINS_BYTES = 2048;
const EXPONENTS = 8;
/** The last bin that hands on a carry: beyond, the numbers that carrying uses would overflow. */
const LAST_CARRY = 247 * EXPONENTS;
/** Bins that carries may reach above the highest that was added to. */
const CARRY_BINS = 7;
/** What may be added between two carries: 2^17 terms of 2^34 units leave a bin below 2^52. */
export const TERMS_MAX = 2 ** 17;
const PADDING_BYTES = (CARRY_BINS + 1) * EXPONENTS;

/** Which bins hold something, as offsets: lowest and highest. */
export interface BinRange {
  readonly low: LoopValue;
  readonly high: LoopValue;
}

/** The accumulator of one kernel, in its scratch memory. One sum at a time. */
export class LoopAccumulator {
  readonly #k: KernelBuilder;
  readonly #bins: LoopValue;
  readonly #on: Arithmetic<LoopValue, LoopValue>;
  readonly #pairs: DoubleDouble<LoopValue, LoopValue>;

  /** Clears all bins. */
  constructor(k: KernelBuilder) {
    this.#k = k;
    this.#bins = k.allocateScratch(BINS_BYTES + PADDING_BYTES);
    this.#on = loopArithmetic(k, 1);
    this.#pairs = new DoubleDouble(this.#on);
    k.loop(0, BINS_BYTES + PADDING_BYTES, 8, (at) => k.store(k.constant(F64, 0), k.add(this.#bins, at)));
  }

  /** The range of an empty sum. */
  empty(): BinRange {
    return { low: this.#k.index(BINS_BYTES - EXPONENTS), high: this.#k.index(0) };
  }

  /** Adds a float64 of at most 27 significant bits. */
  addShort(x: LoopValue, { low, high }: BinRange): BinRange {
    const k = this.#k;
    const word = k.extract(k.bitcast(loopType("i32", 4), k.splat(x, 2)), 1);
    const field = k.binary("and", k.shift("shr_u", word, 20), k.i32(0x7f8));
    // Zeros would widen the range to all bins: they are added where something is.
    const offset = k.select(k.compare("eq", x, k.constant(F64, 0)), low, k.convert(INDEX, field));
    const address = k.add(this.#bins, offset);
    k.store(k.add(k.load(F64, address), x), address);
    return { low: k.min(low, offset), high: k.max(high, offset) };
  }

  /** Adds any float64. */
  add(x: LoopValue, range: BinRange): BinRange {
    const k = this.#k;
    const words = loopType("i32", 4);
    let mask = k.constant(words, -1);
    for (const lane of [0, 2]) mask = k.insert(mask, k.i32(-(2 ** 27)), lane);
    const bits = k.binary("and", k.bitcast(words, k.splat(x, 2)), mask);
    const high = k.extract(k.bitcast(loopType("f64", 2), bits), 0);
    const finite = k.compare("lt", k.unary("abs", x), k.constant(F64, Infinity));
    const low = k.select(finite, k.sub(x, high), k.constant(F64, 0));
    return this.addShort(low, this.addShort(k.select(finite, high, x), range));
  }

  /** Adds the product of two float64 numbers. */
  addProduct(a: LoopValue, b: LoopValue, range: BinRange): BinRange {
    const { hi, lo } = this.#pairs.twoProduct(a, b);
    const finite = this.#on.lt(this.#on.abs(lo), this.#on.constant(Infinity));
    return this.add(this.#on.select(finite, lo, this.#on.constant(0)), this.add(hi, range));
  }

  /** Hands on what is beyond a bin's digit, from the lowest bin to the highest; the range after it. */
  carry({ low, high }: BinRange): BinRange {
    const k = this.#k;
    const { add, constant, mul, powerOfTwo, sub } = this.#on;
    const end = k.min(k.add(high, k.index(CARRY_BINS * EXPONENTS)), k.index(LAST_CARRY + EXPONENTS));
    // Adding and taking away 3 2^51 units of the next bin rounds to those units.
    const exponent = sub(k.convert(F64, k.convert(I32, low)), constant(989));
    const first = mul(powerOfTwo(exponent), constant(1.5));
    const [left] = k.for(low, end, EXPONENTS, [constant(0), first], (at, [carried, unit]) => {
      const address = k.add(this.#bins, at);
      const value = add(k.load(F64, address), carried!);
      const next = sub(add(value, unit!), unit!);
      k.store(sub(value, next), address);
      return [next, mul(unit!, constant(2 ** EXPONENTS))];
    });
    const top = k.max(end, low);
    const address = k.add(this.#bins, top);
    k.store(add(k.load(F64, address), left!), address);
    return { low, high: k.max(top, high) };
  }

  /** The sum rounded once, as a float64 or a float32; clears the bins. They must have been carried. */
  round({ low, high }: BinRange, kind: "f32" | "f64"): LoopValue {
    const k = this.#k;
    const { add, constant, eq, select } = this.#on;
    const zero = constant(0);
    const count = k.select(k.compare("lt", high, low), k.index(0), k.add(k.sub(high, low), k.index(EXPONENTS)));
    const [hi, lo, rest] = k.for(0, count, EXPONENTS, [zero, zero, zero], (done, carried) => {
      const address = k.add(this.#bins, k.sub(high, done));
      const digit = k.load(F64, address);
      k.store(zero, address);
      const [sumHi, sumLo, below] = carried as [LoopValue, LoopValue, LoopValue];
      // Digits are added while that is exact; the first that is not decides with those below it.
      const isExact = eq(sumLo, zero);
      const sum = this.#pairs.twoSum(sumHi, digit);
      const tail = select(isExact, below, add(below, digit));
      return [select(isExact, sum.hi, sumHi), select(isExact, sum.lo, sumLo), tail];
    });
    return kind === "f64" ? this.#untied(hi!, lo!, rest!) : this.#single(hi!, lo!, rest!);
  }

  /** hi, or its neighbour: where lo is half a unit, what is below it decides in place of the even digit. */
  #untied(hi: LoopValue, lo: LoopValue, rest: LoopValue): LoopValue {
    const { add, constant, eq, lt, mul, select, sub } = this.#on;
    const twice = add(lo, lo);
    const other = add(hi, twice);
    const isTie = eq(sub(other, hi), twice);
    const agree = lt(constant(0), mul(signOf(this.#on, lo), signOf(this.#on, rest)));
    return select(agree, select(isTie, other, hi), hi);
  }

  /** The same in float32, where hi is between two numbers and lo, or what is below, decides a tie. */
  #single(hi: LoopValue, lo: LoopValue, rest: LoopValue): LoopValue {
    const k = this.#k;
    const { add, constant, eq, select, sub } = this.#on;
    const nearest = k.convert(F64, k.convert(F32, hi));
    const below = select(eq(lo, constant(0)), rest, lo);
    const difference = sub(hi, nearest);
    const other = add(nearest, add(difference, difference));
    const isTie = eq(k.convert(F64, k.convert(F32, other)), other);
    const agree = this.#on.lt(constant(0), this.#on.mul(signOf(this.#on, difference), signOf(this.#on, below)));
    return k.convert(F32, select(agree, select(isTie, other, nearest), nearest));
  }
}

/** -1, 0 or 1. */
function signOf<T, M>(on: Arithmetic<T, M>, x: T): T {
  const zero = on.constant(0);
  return on.select(on.lt(x, zero), on.constant(-1), on.select(on.lt(zero, x), on.constant(1), zero));
}

/** Every finite float64 is a whole multiple of 2^-1074. */
const UNIT_BITS = 1074n;

/** The exact sum of a[i] b[i] (of a[i] where b is absent), rounded once: the reference, in big integers. */
export function exactSum(a: ArrayLike<number>, b: ArrayLike<number> | undefined, bits: 24 | 53): number {
  let sum = 0n;
  let plain = 0;
  for (let i = 0; i < a.length; i++) {
    const y = b?.[i] ?? 1;
    plain += a[i]! * y;
    if (!Number.isFinite(a[i]! * y)) continue;
    const [p, q] = fractionOf(a[i]!);
    const [r, s] = fractionOf(y);
    sum += ((p * r) << (2n * UNIT_BITS)) / (q * s);
  }
  return Number.isFinite(plain) ? nearestFloat(sum, 1n << (2n * UNIT_BITS), bits) : plain;
}

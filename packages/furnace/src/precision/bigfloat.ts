// Floating-point numbers of any precision, slow and plain: what the extended formats are checked against. A number is
// m 2^e with a big integer m; operations round to nearest, ties to even, to the context's number of bits. Elementary
// functions are Taylor series with argument reduction, computed with 64 bits more than asked for, so that their
// results are right to the last bit but for rare ties (Muller, "Elementary Functions", chapter 4). Left out: signed
// zeros, limits on exponents (nothing overflows), and speed.

import { FidelityError } from "@fidelity/units";

/** m 2^e, or what is no number of this kind: NaN and the infinities. */
export type BigFloat = { readonly m: bigint; readonly e: number } | number;

/** More bits than anyone needs, or fewer than one. */
export class PrecisionError extends FidelityError {}

const BITS_MAX = 1 << 16;
/** Bits that elementary functions compute beyond those of their result. */
const GUARD_BITS = 64;

const isSpecial = (x: BigFloat): x is number => typeof x === "number";
const ZERO = { m: 0n, e: 0 } as const;
const magnitude = (m: bigint): bigint => (m < 0n ? -m : m);

function bitLength(m: bigint): number {
  return m === 0n ? 0 : magnitude(m).toString(16).length * 4 - leadingZeros(magnitude(m));
}

function leadingZeros(m: bigint): number {
  const top = m.toString(16)[0]!;
  return Math.clz32(Number.parseInt(top, 16)) - 28;
}

/** m / 2^shift, rounded to nearest, ties to even. */
function shiftRounded(m: bigint, shift: number): bigint {
  if (shift <= 0) return m << BigInt(-shift);
  const below = BigInt(shift);
  const whole = m >> below;
  const rest = m - (whole << below);
  const half = 1n << (below - 1n);
  return rest > half || (rest === half && (whole & 1n) === 1n) ? whole + 1n : whole;
}

/** Exactly the number that a float64 is. */
export function bigFloat(value: number): BigFloat {
  if (!Number.isFinite(value)) return value;
  if (value === 0) return ZERO;
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const bits = view.getBigUint64(0);
  const field = Number((bits >> 52n) & 0x7ffn);
  const fraction = bits & 0xfffffffffffffn;
  const m = field === 0 ? fraction : fraction | 0x10000000000000n;
  return { m: value < 0 ? -m : m, e: Math.max(field, 1) - 1075 };
}

/** The nearest float64, ties to even, subnormal numbers included. */
export function toFloat64(x: BigFloat): number {
  if (isSpecial(x)) return x;
  if (x.m === 0n) return 0;
  const top = bitLength(x.m) + x.e;
  const unit = Math.max(top - 53, -1074);
  const rounded = Number(shiftRounded(x.m, unit - x.e));
  // In two steps: 2^unit alone may be below the smallest number.
  const first = Math.max(unit, -1000);
  return rounded * 2 ** first * 2 ** (unit - first);
}

/** The nearest sum of two float64 numbers: the nearest one, and the nearest to what that leaves. */
export function toPair(x: BigFloat): readonly [hi: number, lo: number] {
  const hi = toFloat64(x);
  if (!Number.isFinite(hi)) return [hi, 0];
  return [hi, toFloat64(EXACT.sub(x, bigFloat(hi)))];
}

/** Arithmetic with results of `bits` bits. */
export class BigFloats {
  readonly bits: number;

  /** @throws PrecisionError for anything but a whole number of bits from 1 to 65,536; Infinity is for exact sums. */
  constructor(bits: number) {
    if (bits !== Infinity && !(Number.isInteger(bits) && bits >= 1 && bits <= BITS_MAX)) {
      throw new PrecisionError("no such precision", { expected: `1 to ${BITS_MAX} bits`, got: String(bits) });
    }
    this.bits = bits;
  }

  round(x: BigFloat): BigFloat {
    if (isSpecial(x)) return x;
    const extra = bitLength(x.m) - this.bits;
    return extra <= 0 ? x : { m: shiftRounded(x.m, extra), e: x.e + extra };
  }

  neg(x: BigFloat): BigFloat {
    return isSpecial(x) ? -x : { m: -x.m, e: x.e };
  }

  abs(x: BigFloat): BigFloat {
    return isSpecial(x) ? Math.abs(x) : { m: magnitude(x.m), e: x.e };
  }

  add(x: BigFloat, y: BigFloat): BigFloat {
    if (isSpecial(x) || isSpecial(y)) return signed(x) + signed(y);
    const e = Math.min(x.e, y.e);
    return this.round({ m: (x.m << BigInt(x.e - e)) + (y.m << BigInt(y.e - e)), e });
  }

  sub(x: BigFloat, y: BigFloat): BigFloat {
    return this.add(x, this.neg(y));
  }

  mul(x: BigFloat, y: BigFloat): BigFloat {
    if (isSpecial(x) || isSpecial(y)) return signed(x) * signed(y);
    return this.round({ m: x.m * y.m, e: x.e + y.e });
  }

  div(x: BigFloat, y: BigFloat): BigFloat {
    if (isSpecial(x) || isSpecial(y) || y.m === 0n) return signed(x) / signed(y);
    const shift = Math.max(0, this.bits + 2 - (bitLength(x.m) - bitLength(y.m)));
    const above = magnitude(x.m) << BigInt(shift);
    const below = magnitude(y.m);
    // A last bit for what is left says which side of a tie the quotient lies on.
    const quotient = ((above / below) << 1n) | (above % below === 0n ? 0n : 1n);
    return this.round({ m: x.m < 0n === y.m < 0n ? quotient : -quotient, e: x.e - y.e - shift - 1 });
  }

  sqrt(x: BigFloat): BigFloat {
    if (isSpecial(x)) return Math.sqrt(x);
    if (x.m <= 0n) return x.m === 0n ? x : NaN;
    let shift = Math.max(0, 2 * this.bits + 4 - bitLength(x.m));
    if ((x.e - shift) % 2 !== 0) shift++;
    const scaled = x.m << BigInt(shift);
    const root = integerRoot(scaled);
    const sticky = root * root === scaled ? 0n : 1n;
    return this.round({ m: (root << 1n) | sticky, e: (x.e - shift) / 2 - 1 });
  }

  compare(x: BigFloat, y: BigFloat): number {
    if (isSpecial(x) || isSpecial(y)) return signed(x) - signed(y);
    const difference = EXACT.sub(x, y);
    return isSpecial(difference) ? difference : Number(difference.m > 0n) - Number(difference.m < 0n);
  }

  /** The nearest integer, ties to even; with `floor`, the largest that is not above. */
  integer(x: BigFloat, floor = false): BigFloat {
    if (isSpecial(x) || x.e >= 0) return x;
    return { m: floor ? x.m >> BigInt(-x.e) : shiftRounded(x.m, -x.e), e: 0 };
  }

  /** Runs a function with guard bits, and more for `magnitudeBits` of an argument that cancel, and rounds once. */
  #guarded(compute: (on: BigFloats) => BigFloat, magnitudeBits = 0): BigFloat {
    return this.round(compute(new BigFloats(this.bits + GUARD_BITS + Math.max(0, magnitudeBits))));
  }

  exp(x: BigFloat): BigFloat {
    if (isSpecial(x)) return Math.exp(x);
    if (x.m === 0n) return bigFloat(1);
    return this.#guarded((on) => {
      const ln2 = on.ln2();
      const n = on.integer(on.div(x, ln2));
      const turns = isSpecial(n) ? 0 : Number(n.m << BigInt(n.e));
      // Halved further, so that the series is short.
      const halvings = Math.ceil(Math.sqrt(on.bits) / 2);
      const rest = on.sub(x, on.mul(n, ln2));
      let power = on.series(scaled(rest, -halvings), (term, i, r) => on.div(on.mul(term, r), bigFloat(i)));
      for (let i = 0; i < halvings; i++) power = on.mul(power, power);
      return scaled(power, turns);
    }, exponentOf(x));
  }

  /** 1 + the terms that `next` gives from the one before, until they no longer count. */
  series(r: BigFloat, next: (term: BigFloat, i: number, r: BigFloat) => BigFloat): BigFloat {
    let term: BigFloat = bigFloat(1);
    let sum: BigFloat = term;
    for (let i = 1; ; i++) {
      term = next(term, i, r);
      if (isSpecial(term) || term.m === 0n || bitLength(term.m) + term.e < -this.bits - 8) return sum;
      sum = this.add(sum, term);
    }
  }

  /** ln 2 by 2 atanh(1/3). */
  ln2(): BigFloat {
    return scaled(this.#atanhInverse(3n, false), 1);
  }

  /** Machin's formula: pi = 16 atan(1/5) - 4 atan(1/239). */
  pi(): BigFloat {
    return this.sub(scaled(this.#atanhInverse(5n, true), 4), scaled(this.#atanhInverse(239n, true), 2));
  }

  #atanhInverse(n: bigint, alternate: boolean): BigFloat {
    const fixed = this.bits + GUARD_BITS;
    let sum = 0n;
    let power = (1n << BigInt(fixed)) / n;
    for (let i = 1n, sign = 1n; power !== 0n; i += 2n, power /= n * n, sign = alternate ? -sign : sign) {
      sum += (sign * power) / i;
    }
    return this.round({ m: sum, e: -fixed });
  }

  /** Newton's method on the exponential, from float64's logarithm of the leading digits. */
  log(x: BigFloat): BigFloat {
    if (isSpecial(x)) return Math.log(x);
    if (x.m <= 0n) return x.m === 0n ? -Infinity : NaN;
    if (this.compare(x, bigFloat(1)) === 0) return ZERO;
    const shift = exponentOf(x);
    const near = scaled(x, -shift);
    // Near 1 the logarithm is small, and its digits begin late.
    const closeness = -exponentOf(EXACT.sub(x, bigFloat(1)));
    return this.#guarded((on) => {
      let y: BigFloat = on.add(bigFloat(Math.log(toFloat64(near))), on.mul(bigFloat(shift), on.ln2()));
      for (let known = 45; known < 2 * on.bits; known *= 2) {
        const power = on.exp(y);
        y = on.add(y, scaled(on.div(on.sub(x, power), on.add(x, power)), 1));
      }
      return y;
    }, closeness);
  }

  sin(x: BigFloat): BigFloat {
    return this.#sine(x, 0);
  }

  cos(x: BigFloat): BigFloat {
    return this.#sine(x, 1);
  }

  #sine(x: BigFloat, shift: number): BigFloat {
    if (isSpecial(x)) return NaN;
    return this.#guarded(
      (on) => {
        const quarter = scaled(on.pi(), -1);
        const n = on.integer(on.div(x, quarter));
        const r = on.sub(x, on.mul(n, quarter));
        const turns = isSpecial(n) ? 0 : Number(((n.m << BigInt(n.e)) + BigInt(shift)) & 3n);
        const odd = (turns & 1) === 0;
        const square = on.neg(on.mul(r, r));
        const value = on.series(square, (term, i, z) => {
          return on.div(on.mul(term, z), bigFloat(odd ? 2 * i * (2 * i + 1) : 2 * i * (2 * i - 1)));
        });
        const signedValue = odd ? on.mul(value, r) : value;
        return turns >= 2 ? on.neg(signedValue) : signedValue;
      },
      2 * Math.abs(exponentOf(x)),
    );
  }

  /** The hyperbolic tangent, (e^2x - 1) / (e^2x + 1). */
  tanh(x: BigFloat): BigFloat {
    if (isSpecial(x)) return Math.tanh(x);
    return this.#guarded(
      (on) => {
        const bounded = on.compare(on.abs(x), bigFloat(on.bits)) > 0 ? bigFloat(signed(x) * on.bits) : x;
        const power = on.exp(scaled(bounded, 1));
        return on.div(on.sub(power, bigFloat(1)), on.add(power, bigFloat(1)));
      },
      Math.abs(exponentOf(x)),
    );
  }
}

/** Sums and products without rounding. */
const EXACT = new BigFloats(Infinity);

/** x 2^n. */
function scaled(x: BigFloat, n: number): BigFloat {
  return isSpecial(x) ? x : { m: x.m, e: x.e + n };
}

/** e with 2^(e-1) <= |x| < 2^e. */
function exponentOf(x: BigFloat): number {
  return isSpecial(x) ? 0 : bitLength(x.m) + x.e;
}

/** A number with the sign and the specialness of x: enough for what IEEE 754 says of special operands. */
function signed(x: BigFloat): number {
  return isSpecial(x) ? x : Number(x.m > 0n) - Number(x.m < 0n);
}

/** The largest integer whose square is not above n. */
function integerRoot(n: bigint): bigint {
  let x = 1n << BigInt((bitLength(n) + 1) >> 1);
  for (;;) {
    const next = (x + n / x) >> 1n;
    if (next >= x) return x;
    x = next;
  }
}

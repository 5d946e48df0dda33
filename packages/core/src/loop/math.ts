// Elementary functions as loop IR, for float32 and float64, scalars and vectors of any number of lanes. Each reduces
// its argument to a small interval and evaluates a polynomial there; signs, infinities and NaN come out as in IEEE 754.
// Method and splitting of constants after Cody and Waite, "Software Manual for the Elementary Functions" (1980); the
// rational approximation of tanh in float64 is that of the Cephes library. Polynomials are Taylor series where they
// are short enough, else minimax fits (Remez), as each says.
// Errors: float32 within 2.5 units in the last place, float64 within 1e-15 relative. Left out: tiny results of exp,
// which are zero; sin and cos beyond 1e6 radians, which lose accuracy gradually.

import { loopType } from "./ir.ts";
import type { LoopValue } from "./ir.ts";
import type { KernelBuilder } from "./builder.ts";

/** Sum of coefficients[i] * x^i, by Horner's rule. */
function polynomial(k: KernelBuilder, x: LoopValue, coefficients: readonly number[]): LoopValue {
  const constants = coefficients.map((coefficient) => k.constant(x.type, coefficient));
  return constants.reduceRight((sum, constant) => k.fma(sum, x, constant));
}

function reciprocalFactorials(from: number, to: number): number[] {
  const factorials = [1];
  for (let i = 1; i <= to; i++) factorials.push(factorials[i - 1] * i);
  return factorials.slice(from).map((factorial) => 1 / factorial);
}

/** Float64 code below works on the 32-bit halves of pairs: a scalar goes through a pair. */
function onPairs(k: KernelBuilder, x: LoopValue, compute: (x: LoopValue) => LoopValue): LoopValue {
  if (x.type.kind !== "f64" || x.type.lanes > 1) return compute(x);
  return k.extract(compute(k.splat(x, 2)), 0);
}

/**
 * Float64 lanes put together from 32-bit words: each float64 gets as its low and its high word the even word (0) or the
 * odd word (1) of the same float64 in `a`, or the first word of `b` (2).
 */
export function float64Words(k: KernelBuilder, a: LoopValue, b: LoopValue, low: number, high: number): LoopValue {
  const { lanes } = a.type;
  const pick = (lane: number, pair: number): number => (lane < 2 ? lane + 2 * pair : lanes);
  const list = Array.from({ length: lanes }, (_, lane) => pick(lane % 2 === 0 ? low : high, lane >> 1));
  return k.shuffle(a, b, list);
}

interface ExpParameters {
  /** Adding it rounds to an integer and leaves that integer plus the exponent's bias, less one, in the low bits. */
  readonly round: number;
  /** ln 2 in two parts; the first has trailing zeros, so that its product with the exponent is exact. */
  readonly ln2: readonly [number, number];
  /** What smaller and larger arguments count as: there the exponent's field is that of 0, or the result infinity. */
  readonly low: number;
  readonly high: number;
  /** 2 e^r for |r| <= (ln 2) / 2. The power of two beside it is half as large, so that it overflows with the result. */
  readonly twice: readonly number[];
}

const EXP32: ExpParameters = {
  round: 1.5 * 2 ** 23 + 126,
  ln2: [0.693359375, -2.1219444e-4],
  low: -87.2,
  high: 89,
  // Minimax for the error in units of the last place: 1.05.
  twice: [1, 0.999999463558, 0.499991387129, 0.166681095958, 0.0418990142643, 0.00826592743397].map((c) => 2 * c),
};

const EXP64: ExpParameters = {
  round: 1.5 * 2 ** 52 + 1022,
  ln2: [6.93145751953125e-1, 1.42860682030941723212e-6],
  low: -708.7,
  high: 710,
  twice: reciprocalFactorials(0, 13).map((c) => 2 * c),
};

/** The same for 2^x in float32, where the remainder is exact. */
const EXP2: Pick<ExpParameters, "low" | "high" | "twice"> = {
  low: -126,
  high: 129,
  twice: [1, 0.693146824837, 0.240222364664, 0.0555089153349, 0.0096717625856, 0.00132257072255].map((c) => 2 * c),
};

/** e^x. Results below twice the smallest normal number are 0. */
export function expOf(k: KernelBuilder, x: LoopValue): LoopValue {
  return onPairs(k, x, (v) => exp(k, v));
}

function exp(k: KernelBuilder, argument: LoopValue): LoopValue {
  const { type } = argument;
  const parameters = type.kind === "f64" ? EXP64 : EXP32;
  const constant = (value: number): LoopValue => k.constant(type, value);
  const x = within(k, argument, parameters);
  const rounded = k.fma(x, constant(Math.LOG2E), constant(parameters.round));
  const n = k.sub(rounded, constant(parameters.round));
  const r = k.fma(n, constant(-parameters.ln2[1]), k.fma(n, constant(-parameters.ln2[0]), x));
  return k.mul(polynomial(k, r, parameters.twice), powerOfTwo(k, rounded));
}

/**
 * 2^x of float32, cheaper than e^x. Results below twice the smallest normal number are 0, but where vectors have
 * `scale`, which rounds them as IEEE 754 does and needs no bounds.
 */
export function exp2Of(k: KernelBuilder, argument: LoopValue): LoopValue {
  if (k.scales(argument.type)) return exp2Scaled(k, [argument])[0]!;
  return exp2Within(k, [within(k, argument, EXP2)])[0]!;
}

/**
 * 2^x of several vectors without an element above 0, step by step: each waits for its own last step, and processors do
 * not look far enough ahead to find the next one meanwhile.
 */
export function exp2OfAll(k: KernelBuilder, negatives: readonly LoopValue[]): LoopValue[] {
  if (k.scales(negatives[0]!.type)) return exp2Scaled(k, negatives);
  return exp2Within(
    k,
    negatives.map((x) => atLeast(k, x, EXP2.low)),
  );
}

function exp2Within(k: KernelBuilder, xs: readonly LoopValue[]): LoopValue[] {
  const round = k.constant(xs[0]!.type, EXP32.round);
  const rounded = xs.map((x) => k.add(x, round));
  const whole = rounded.map((sum) => k.sub(sum, round));
  const remainders = whole.map((n, i) => k.sub(xs[i]!, n));
  const powers = polynomials(k, remainders, EXP2.twice);
  const scales = rounded.map((sum) => powerOfTwo(k, sum));
  return powers.map((power, i) => k.mul(power, scales[i]!));
}

/** What is infinite has no remainder, but an infinite power of two all the same. */
function exp2Scaled(k: KernelBuilder, xs: readonly LoopValue[]): LoopValue[] {
  const whole = xs.map((x) => k.unary("nearest", x));
  const remainders = whole.map((n, i) => k.sub(xs[i]!, n));
  const coefficients = EXP2.twice.map((coefficient) => coefficient / 2);
  return polynomials(k, remainders, coefficients).map((power, i) => k.binary("scale", power, whole[i]!));
}

/** The polynomial of each of some vectors, step by step. */
function polynomials(k: KernelBuilder, xs: readonly LoopValue[], coefficients: readonly number[]): LoopValue[] {
  const constants = coefficients.map((coefficient) => k.constant(xs[0]!.type, coefficient));
  const last = constants.pop()!;
  return constants.reduceRight<LoopValue[]>(
    (sums, constant) => sums.map((sum, i) => k.fma(sum, xs[i]!, constant)),
    xs.map(() => last),
  );
}

/** Comparisons, since NaN has to come through; processors have them as one operation. */
function within(k: KernelBuilder, x: LoopValue, bounds: Pick<ExpParameters, "low" | "high">): LoopValue {
  const high = k.constant(x.type, bounds.high);
  return atLeast(k, k.select(k.compare("gt", x, high), high, x), bounds.low);
}

function atLeast(k: KernelBuilder, x: LoopValue, bound: number): LoopValue {
  const low = k.constant(x.type, bound);
  return k.select(k.compare("lt", x, low), low, x);
}

/** 2^n from the bits of n + `round`: the biased exponent is moved from the low bits to its place. */
function powerOfTwo(k: KernelBuilder, rounded: LoopValue): LoopValue {
  const { type } = rounded;
  if (type.kind === "f32") {
    const bits = k.bitcast(loopType("i32", type.lanes), rounded);
    return k.bitcast(type, k.shift("shl", bits, 23));
  }
  const words32 = loopType("i32", type.lanes * 2);
  const bits = k.bitcast(words32, rounded);
  const high = float64Words(k, bits, k.constant(words32, 0), 2, 0);
  return k.bitcast(type, k.shift("shl", high, 20));
}

/** The natural logarithm; -infinity at 0, NaN below. */
export function logOf(k: KernelBuilder, x: LoopValue): LoopValue {
  return onPairs(k, x, (v) => log(k, v));
}

function log(k: KernelBuilder, x: LoopValue): LoopValue {
  const { type } = x;
  const single = type.kind === "f32";
  const constant = (value: number): LoopValue => k.constant(type, value);
  // Subnormals are scaled up first: their exponent field says nothing.
  const scaleBits = single ? 23 : 52;
  const tiny = k.compare("lt", x, constant(single ? 2 ** -126 : 2 ** -1022));
  const scaled = k.select(tiny, k.mul(x, constant(2 ** scaleBits)), x);
  const { mantissa, exponent } = single ? splitFloat32(k, scaled) : splitFloat64(k, scaled);
  const n = k.sub(exponent, k.select(tiny, constant(scaleBits), constant(0)));
  // log(1 + f) = f - (f^2/2 - s (f^2/2 + R)), s = f / (2 + f), R = sum of 2 s^2i / (2i + 1): the series of 2 atanh(s).
  const f = k.sub(mantissa, constant(1));
  const s = k.div(f, k.add(f, constant(2)));
  const z = k.mul(s, s);
  const series = Array.from({ length: single ? 4 : 10 }, (_, i) => 2 / (2 * i + 3));
  const tail = k.mul(z, polynomial(k, z, series));
  const square = k.mul(k.mul(constant(0.5), f), f);
  const [ln2High, ln2Low] = single ? EXP32.ln2 : EXP64.ln2;
  const correction = k.fma(s, k.add(square, tail), k.mul(n, constant(ln2Low)));
  const finite = k.fma(n, constant(ln2High), k.sub(f, k.sub(square, correction)));
  // Infinity and NaN pass through x + x; zero and negative numbers are set last.
  const special = k.select(k.compare("lt", x, constant(Infinity)), finite, k.add(x, x));
  const negative = k.select(k.compare("lt", x, constant(0)), constant(NaN), special);
  return k.select(k.compare("eq", x, constant(0)), constant(-Infinity), negative);
}

interface Split {
  /** In [sqrt(1/2), sqrt(2)). */
  readonly mantissa: LoopValue;
  readonly exponent: LoopValue;
}

function splitFloat32(k: KernelBuilder, x: LoopValue): Split {
  const integers = loopType("i32", x.type.lanes);
  const bits = k.bitcast(integers, x);
  const sqrtHalf = 0x3f3504f3;
  const exponent = k.shift("shr_s", k.sub(bits, k.constant(integers, sqrtHalf)), 23);
  const mantissa = k.bitcast(x.type, k.sub(bits, k.shift("shl", exponent, 23)));
  return { mantissa, exponent: k.convert(x.type, exponent) };
}

function splitFloat64(k: KernelBuilder, x: LoopValue): Split {
  const integers = loopType("i32", x.type.lanes * 2);
  const zero = k.constant(integers, 0);
  const bits = k.bitcast(integers, x);
  const sqrtHalfHigh = 0x3fe6a09e;
  const shifted = k.shift("shr_s", k.sub(bits, k.constant(integers, sqrtHalfHigh)), 20);
  const high = float64Words(k, shifted, zero, 2, 1);
  const mantissa = k.bitcast(x.type, k.sub(bits, k.shift("shl", high, 20)));
  // The float64 with high word 0x43300000 and low word u is 2^52 + u.
  const biased = k.binary("xor", shifted, k.constant(integers, -(2 ** 31)));
  const exponent = k.bitcast(x.type, float64Words(k, biased, k.constant(integers, 0x43300000), 1, 2));
  return { mantissa, exponent: k.sub(exponent, k.constant(x.type, 2 ** 52 + 2 ** 31)) };
}

/** 1 / (1 + e^-x). */
export function sigmoidOf(k: KernelBuilder, x: LoopValue): LoopValue {
  const one = k.constant(x.type, 1);
  return k.div(one, k.add(one, expOf(k, k.unary("neg", x))));
}

/** Cephes tanhf: minimax for (tanh(x) - x) / x^3 in x^2, |x| < 0.625. */
const TANH32 = [-3.33332819422e-1, 1.33314422036e-1, -5.37397155531e-2, 2.06390887954e-2, -5.70498872745e-3];
/** Cephes tanh: numerator and monic denominator of the same quantity. */
const TANH64_NUMERATOR = [-1.61468768441708447952e3, -9.92877231001918586564e1, -9.64399179425052238628e-1];
const TANH64_DENOMINATOR = [4.84406305325125486048e3, 2.23548839060100448583e3, 1.12811678491632931402e2, 1];

/** The hyperbolic tangent. */
export function tanhOf(k: KernelBuilder, x: LoopValue): LoopValue {
  const constant = (value: number): LoopValue => k.constant(x.type, value);
  const magnitude = k.unary("abs", x);
  const z = k.mul(x, x);
  const cubic =
    x.type.kind === "f32"
      ? polynomial(k, z, TANH32)
      : k.div(polynomial(k, z, TANH64_NUMERATOR), polynomial(k, z, TANH64_DENOMINATOR));
  const small = k.fma(k.mul(z, cubic), x, x);
  const e = expOf(k, k.add(magnitude, magnitude));
  const positive = k.sub(constant(1), k.div(constant(2), k.add(e, constant(1))));
  const large = k.select(k.compare("lt", x, constant(0)), k.unary("neg", positive), positive);
  return k.select(k.compare("lt", magnitude, constant(0.625)), small, large);
}

/** erf(x) / x in x^2, |x| < 1, and e^(x^2) erfc(x) in 1 / (1 + x / 2) up to where erf is 1: minimax (Remez). */
const ERF32 = {
  near: [1.12837912249, -0.376123261867, 0.112801801124, -0.0267113113295, 0.00491755144913, -5.63142230927e-4],
  far: [-0.0128216641811, 0.387787540881, -0.0495349289062, 0.71020463147, -0.0330845642299],
};
const ERF64 = {
  near: [
    1.12837916709551257, -0.376126389031835195, 0.112837916709441847, -0.0268661706431114685, 0.00522397760611848683,
    -8.54832592931515984e-4, 1.20552935769207514e-4, -1.49247123023920797e-5, 1.64471315758963405e-6,
    -1.62063137929187996e-7, 1.37109805425345561e-8, -7.77946875031240617e-10,
  ],
  far: [
    -3.47780895689610097e-6, 0.28219655519597497, 0.280735240429286886, 0.257817603490041266, 0.116469050262673775,
    0.315314460193475078, -0.656135816552162217, 1.28124154313101609, -2.02036898740406107, 1.96334208945686838,
    -1.13722294062762298, 0.368970947501096763, -0.0523568970737592586,
  ],
};

/** The error function. */
export function erfOf(k: KernelBuilder, x: LoopValue): LoopValue {
  const constant = (value: number): LoopValue => k.constant(x.type, value);
  const { near, far } = x.type.kind === "f32" ? ERF32 : ERF64;
  const magnitude = k.unary("abs", x);
  const square = k.mul(x, x);
  const small = k.mul(x, polynomial(k, square, near));
  const t = k.div(constant(1), k.fma(magnitude, constant(0.5), constant(1)));
  const rest = k.mul(expOf(k, k.unary("neg", square)), polynomial(k, t, far));
  const positive = k.sub(constant(1), rest);
  const large = k.select(k.compare("lt", x, constant(0)), k.unary("neg", positive), positive);
  return k.select(k.compare("lt", magnitude, constant(1)), small, large);
}

/** The sine; accurate to |x| of 1e6 at least. */
export function sinOf(k: KernelBuilder, x: LoopValue): LoopValue {
  return sine(k, x, 0);
}

/** The cosine; accurate to |x| of 1e6 at least. */
export function cosOf(k: KernelBuilder, x: LoopValue): LoopValue {
  return sine(k, x, 1);
}

/** pi/2 in three parts, the first two of 33 bits, so that their products with n < 2^20 are exact (fdlibm). */
const HALF_PI = [1.57079632673412561417, 6.0771005063039659766e-11, 2.02226624879595063154e-21];

interface Quadrant {
  /** x - n pi/2, within pi/4 of zero. */
  readonly r: LoopValue;
  /** n modulo 4, as a float. */
  readonly quadrant: LoopValue;
}

/** Float64 argument reduction; `shift` quarter turns are added to the quadrant. */
function reduce(k: KernelBuilder, x: LoopValue, shift: number): Quadrant {
  const constant = (value: number): LoopValue => k.constant(x.type, value);
  const n = k.unary("nearest", k.mul(x, constant(2 / Math.PI)));
  let r = x;
  for (const part of HALF_PI) r = k.sub(r, k.mul(n, constant(part)));
  const turned = k.add(n, constant(shift));
  const whole = k.unary("floor", k.mul(turned, constant(0.25)));
  return { r, quadrant: k.sub(turned, k.mul(whole, constant(4))) };
}

/** Float32 angles are reduced in float64: n pi/2 needs more than 24 bits long before 1e6. */
function reduceFloat32(k: KernelBuilder, x: LoopValue, shift: number): Quadrant {
  if (x.type.lanes === 1) {
    const { r, quadrant } = reduce(k, k.convert(loopType("f64"), x), shift);
    return { r: k.convert(x.type, r), quadrant: k.convert(x.type, quadrant) };
  }
  const low = reduce(k, k.widen(x, "low"), shift);
  const high = reduce(k, k.widen(x, "high"), shift);
  return { r: k.narrow(low.r, high.r), quadrant: k.narrow(low.quadrant, high.quadrant) };
}

/** Every second reciprocal factorial with alternating signs: the series of sine or cosine in x^2. */
function alternating(from: number, to: number): number[] {
  return reciprocalFactorials(from, to)
    .filter((_, i) => i % 2 === 0)
    .map((value, i) => (i % 2 === 0 ? value : -value));
}

function sine(k: KernelBuilder, x: LoopValue, shift: number): LoopValue {
  const single = x.type.kind === "f32";
  const constant = (value: number): LoopValue => k.constant(x.type, value);
  const { r, quadrant } = single ? reduceFloat32(k, x, shift) : reduce(k, x, shift);
  const z = k.mul(r, r);
  const sin = k.fma(
    k.mul(z, r),
    polynomial(
      k,
      z,
      alternating(3, single ? 9 : 17).map((c) => -c),
    ),
    r,
  );
  const cosTail = k.mul(k.mul(z, z), polynomial(k, z, alternating(4, single ? 10 : 18)));
  const cos = k.add(k.sub(constant(1), k.mul(constant(0.5), z)), cosTail);
  const first = k.compare("eq", quadrant, constant(1));
  const third = k.compare("eq", quadrant, constant(3));
  const value = k.select(k.binary("or", first, third), cos, sin);
  const signed = k.select(k.compare("ge", quadrant, constant(2)), k.unary("neg", value), value);
  return k.select(k.compare("le", k.unary("abs", x), constant(2 ** 30)), signed, constant(NaN));
}

// What an algorithm on float64 numbers needs of the numbers, so that it is written once and runs on JavaScript's own
// (the reference interpreter, constants) and on vectors of the loop IR (every compiled target). Only operations that
// IEEE 754 rounds correctly are here, and moves of bits, so both give the same bits on every target: no fused
// multiply-add, whose rounding targets choose, and no function of a library.

import type { KernelBuilder } from "../loop/builder.ts";
import { loopType } from "../loop/ir.ts";
import type { LoopType, LoopValue } from "../loop/ir.ts";
import { float64Words } from "../loop/math.ts";

/** Float64 arithmetic on values `T`, with truth values `M`. */
export interface Arithmetic<T, M> {
  readonly constant: (value: number) => T;
  readonly add: (a: T, b: T) => T;
  readonly sub: (a: T, b: T) => T;
  readonly mul: (a: T, b: T) => T;
  readonly div: (a: T, b: T) => T;
  readonly sqrt: (a: T) => T;
  readonly abs: (a: T) => T;
  readonly neg: (a: T) => T;
  /** The nearest integer, ties to even. */
  readonly nearest: (a: T) => T;
  readonly lt: (a: T, b: T) => M;
  readonly eq: (a: T, b: T) => M;
  readonly select: (condition: M, a: T, b: T) => T;
  /** The exponent e of a positive normal number 2^e m, 1 <= m < 2. Meaningless, but the same everywhere, for others. */
  readonly exponent: (a: T) => T;
  /** 2^n for an integer n from -1022 to 1023. Meaningless for others. */
  readonly powerOfTwo: (n: T) => T;
}

const bits = new DataView(new ArrayBuffer(8));

/** JavaScript's numbers. */
export const NUMBER_ARITHMETIC: Arithmetic<number, boolean> = {
  constant: (value) => value,
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  sqrt: Math.sqrt,
  abs: Math.abs,
  neg: (a) => -a,
  nearest(a) {
    if (Math.abs(a) >= 2 ** 52 || Number.isNaN(a)) return a;
    // Adding and taking away 2^52 leaves no fraction, and rounds ties to even.
    const magnitude = Math.abs(a) + 2 ** 52 - 2 ** 52;
    return a < 0 || Object.is(a, -0) ? -magnitude : magnitude;
  },
  lt: (a, b) => a < b,
  eq: (a, b) => a === b,
  select: (condition, a, b) => (condition ? a : b),
  exponent(a) {
    bits.setFloat64(0, a);
    return (bits.getUint32(0) >>> 20) - 1023;
  },
  powerOfTwo(n) {
    bits.setUint32(0, (n + 1023) << 20);
    bits.setUint32(4, 0);
    return bits.getFloat64(0);
  },
};

/** Vectors of `lanes` float64 values in a kernel, or scalars. */
export function loopArithmetic(k: KernelBuilder, lanes: number): Arithmetic<LoopValue, LoopValue> {
  const type = loopType("f64", lanes);
  const constant = (value: number): LoopValue => k.constant(type, value);
  return {
    constant,
    add: (a, b) => k.add(a, b),
    sub: (a, b) => k.sub(a, b),
    mul: (a, b) => k.mul(a, b),
    div: (a, b) => k.div(a, b),
    sqrt: (a) => k.unary("sqrt", a),
    abs: (a) => k.unary("abs", a),
    neg: (a) => k.unary("neg", a),
    nearest: (a) => k.unary("nearest", a),
    lt: (a, b) => k.compare("lt", a, b),
    eq: (a, b) => k.compare("eq", a, b),
    select: (condition, a, b) => k.select(condition, a, b),
    exponent: (a) => onPairs(k, a, (x) => exponentOf(k, x)),
    powerOfTwo: (n) => onPairs(k, n, (x) => powerOfTwoOf(k, x)),
  };
}

/** Bits are taken apart as pairs of 32-bit words: a scalar goes through a pair of lanes. */
function onPairs(k: KernelBuilder, x: LoopValue, compute: (x: LoopValue) => LoopValue): LoopValue {
  return x.type.lanes > 1 ? compute(x) : k.extract(compute(k.splat(x, 2)), 0);
}

function wordType({ lanes }: LoopType): LoopType {
  return loopType("i32", 2 * lanes);
}

function exponentOf(k: KernelBuilder, x: LoopValue): LoopValue {
  const type = wordType(x.type);
  const fields = k.shift("shr_u", k.bitcast(type, x), 20);
  // The float64 with high word 0x43300000 and low word u is 2^52 + u.
  const biased = k.bitcast(x.type, float64Words(k, fields, k.constant(type, 0x43300000), 1, 2));
  return k.sub(biased, k.constant(x.type, 2 ** 52 + 1023));
}

function powerOfTwoOf(k: KernelBuilder, n: LoopValue): LoopValue {
  const type = wordType(n.type);
  // Leaves the biased exponent in the low word.
  const low = k.bitcast(type, k.add(n, k.constant(n.type, 1.5 * 2 ** 52 + 1023)));
  return k.bitcast(n.type, k.shift("shl", float64Words(k, low, k.constant(type, 0), 2, 0), 20));
}

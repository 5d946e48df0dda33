// Double-double against arbitrary precision: the arithmetic itself on JavaScript's numbers, by its error bounds, and
// the pair functions over tensors through the interpreter. That compiled programs have the same bits is tested where
// they are compiled.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DoubleDoubleFunctions, interpret, NUMBER_ARITHMETIC, tensorType, trace } from "@fidelity/core";
import type { HostTensor, Pair, Tensor, TensorPair } from "@fidelity/core";
import { seededRandom } from "@fidelity/core/testing";
import fc from "fast-check";
import type { BigFloat } from "./bigfloat.ts";
import { bigFloat, BigFloats, toFloat64 } from "./bigfloat.ts";
import { pairs } from "./double_double.ts";

const dd = new DoubleDoubleFunctions(NUMBER_ARITHMETIC);
const big = new BigFloats(320);
const exact = ({ hi, lo }: Pair<number>): BigFloat => big.add(bigFloat(hi), bigFloat(lo));

/** |got - want| / |want|, or without the divisor. */
function errorOf(got: Pair<number>, want: BigFloat, absolute = false): number {
  const difference = toFloat64(big.abs(big.sub(exact(got), want)));
  return absolute || difference === 0 ? difference : difference / Math.abs(toFloat64(want));
}

/** Pairs of magnitudes from 2^-60 to 2^60, with a low part of any size. */
const pairOf = fc
  .tuple(
    fc.double({ min: 1, max: 2, noNaN: true }),
    fc.integer({ min: -60, max: 60 }),
    fc.double({ min: -1, max: 1, noNaN: true }),
    fc.integer({ min: 53, max: 120 }),
    fc.boolean(),
  )
  .map(([mantissa, exponent, low, below, negative]) => {
    const hi = (negative ? -1 : 1) * mantissa * 2 ** exponent;
    return dd.fastTwoSum(hi, hi * low * 2 ** -below);
  });

test("a sum of two float64 is exact, and so is a product", () => {
  const number = pairOf.map(({ hi }) => hi);
  const property = fc.property(number, number, (a, b) => {
    assert.equal(toFloat64(big.sub(exact(dd.twoSum(a, b)), big.add(bigFloat(a), bigFloat(b)))), 0);
    assert.equal(toFloat64(big.sub(exact(dd.twoProduct(a, b)), big.mul(bigFloat(a), bigFloat(b)))), 0);
  });
  fc.assert(property, { numRuns: 500, seed: 1 });
});

test("arithmetic stays within its bounds of the exact result, and its results are normalised", () => {
  const bounds = { add: 3, sub: 3, mul: 7, div: 15 } as const;
  const property = fc.property(pairOf, pairOf, (a, b) => {
    for (const [name, units] of Object.entries(bounds) as [keyof typeof bounds, number][]) {
      const result = dd[name](a, b);
      assert.ok(errorOf(result, big[name](exact(a), exact(b))) <= units * 2 ** -106, name);
      assert.equal(result.hi + result.lo, result.hi, `${name} is normalised`);
    }
    const positive = a.hi < 0 ? dd.neg(a) : a;
    assert.ok(errorOf(dd.sqrt(positive), big.sqrt(exact(positive))) <= 8 * 2 ** -106, "sqrt");
    assert.equal(dd.lt(a, b), big.compare(exact(a), exact(b)) < 0);
  });
  fc.assert(property, { numRuns: 400, seed: 2 });
});

test("elementary functions are right to 96 bits", () => {
  const ranges = { exp: 700, tanh: 30, sin: 1e5, cos: 1e5 } as const;
  // Of smaller numbers the oracle's 320 bits do not hold 1 + x.
  const unit = fc.double({ min: -1, max: 1, noNaN: true }).map((x) => (Math.abs(x) < 1e-60 ? 0 : x));
  const property = fc.property(unit, unit, fc.integer({ min: 0, max: 40 }), (x, low, scale) => {
    for (const [name, range] of Object.entries(ranges) as [keyof typeof ranges, number][]) {
      const hi = x * range * 2 ** -scale;
      const at = dd.fastTwoSum(hi, hi * low * 2 ** -53);
      const isAbsolute = name === "sin" || name === "cos";
      assert.ok(errorOf(dd[name](at), big[name](exact(at)), isAbsolute) <= 2 ** -96, `${name} at ${at.hi}`);
    }
    // Logarithms of numbers near 1, and of all sizes.
    const near = dd.add(dd.number(1), dd.fastTwoSum(x * 2 ** -scale, x * low * 2 ** (-scale - 53)));
    const far = dd.exp(dd.number(x * 600));
    for (const at of [near, far]) {
      if (at.hi > 0 && !(at.hi === 1 && at.lo === 0)) {
        assert.ok(errorOf(dd.log(at), big.log(exact(at))) <= 2 ** -96, `log at ${at.hi}`);
      }
    }
  });
  fc.assert(property, { numRuns: 60, seed: 3 });
});

test("special values are float64's, in the high part", () => {
  const functions = { exp: Math.exp, log: Math.log, sqrt: Math.sqrt, tanh: Math.tanh } as const;
  for (const x of [0, 1, -1, Infinity, -Infinity, NaN, 1e308, -1e308, 800, -800]) {
    for (const [name, plain] of Object.entries(functions) as [keyof typeof functions, (x: number) => number][]) {
      const { hi, lo } = dd[name](dd.number(x));
      const want = plain(x);
      const close = Number.isFinite(want) ? Math.abs(hi - want) <= Math.abs(want) * 2 ** -51 : Object.is(hi, want);
      assert.ok(close && Number.isFinite(lo), `${name}(${x}) is ${hi} + ${lo}`);
    }
    for (const y of [0, 2, Infinity, NaN]) {
      const [a, b] = [dd.number(x), dd.number(y)];
      const results = { add: x + y, sub: x - y, mul: x * y, div: x / y };
      for (const [name, want] of Object.entries(results) as [keyof typeof results, number][]) {
        const { hi, lo } = dd[name](a, b);
        assert.ok(Object.is(hi, want) || hi === want, `${name}(${x}, ${y}) is ${hi}, not ${want}`);
        if (!Number.isFinite(want)) assert.equal(lo, 0);
      }
    }
  }
});

/** Runs a function of pairs on pairs of random numbers. */
function run(
  fn: (...operands: TensorPair[]) => TensorPair | Tensor,
  shapes: readonly (readonly number[])[],
): { inputs: Pair<number>[][]; results: Float64Array[] } {
  const random = seededRandom(7);
  const types = shapes.map((shape) => ({ hi: tensorType("f64", shape), lo: tensorType("f64", shape) }));
  const { graph } = trace("pairs", fn as never, types as never);
  const inputs = shapes.map((shape) =>
    Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => {
      const hi = random() * 4 - 2;
      return dd.fastTwoSum(hi, hi * (random() - 0.5) * 2 ** -53);
    }),
  );
  const host = inputs.flatMap((values, i): HostTensor[] => [
    { type: types[i]!.hi, data: Float64Array.from(values, ({ hi }) => hi) },
    { type: types[i]!.lo, data: Float64Array.from(values, ({ lo }) => lo) },
  ]);
  return { inputs, results: interpret(graph, host).map(({ data }) => data) };
}

const pairAt = ([hi, lo]: readonly Float64Array[], i: number): Pair<number> => ({ hi: hi![i]!, lo: lo![i]! });

test("sums, products of matrices and dots over tensors are right to 100 bits", () => {
  const sum = run((x) => pairs.sum(x, [0, 2]), [[3, 2, 11]]);
  for (const j of [0, 1]) {
    const terms = sum.inputs[0]!.filter((_x, i) => Math.floor(i / 11) % 2 === j).map(exact);
    const want = terms.reduce((a, b) => big.add(a, b), bigFloat(0));
    const scale = terms.reduce<number>((a, b) => a + Math.abs(toFloat64(b)), 0);
    assert.ok(errorOf(pairAt(sum.results, j), want, true) <= scale * 2 ** -100);
  }
  const product = run(
    (a, b) => pairs.matmul(a, b, true, true),
    [
      [2, 5, 3],
      [2, 4, 5],
    ],
  );
  for (const [p, i, j] of [0, 1].flatMap((p) => [0, 1, 2].flatMap((i) => [0, 3].map((j) => [p, i, j] as const)))) {
    let want: BigFloat = bigFloat(0);
    for (let l = 0; l < 5; l++) {
      const [a, b] = [product.inputs[0]![p * 15 + l * 3 + i]!, product.inputs[1]![p * 20 + j * 5 + l]!];
      want = big.add(want, big.mul(exact(a), exact(b)));
    }
    assert.ok(errorOf(pairAt(product.results, (p * 3 + i) * 4 + j), want, true) <= 2 ** -98);
  }
  const dot = run((a, b) => pairs.dot(a, b), [[9], [9]]);
  const want = dot.inputs[0]!.reduce<BigFloat>(
    (total, a, i) => big.add(total, big.mul(exact(a), exact(dot.inputs[1]![i]!))),
    bigFloat(0),
  );
  assert.ok(errorOf(pairAt(dot.results, 0), want, true) <= 2 ** -98);
});

test("comparisons, choices and rounding to integers see the low parts", () => {
  const tiny = 2 ** -80;
  const apply = (fn: (a: TensorPair, b: TensorPair) => unknown, a: Pair<number>, b: Pair<number>): Float64Array[] => {
    const type = tensorType("f64", []);
    const pairType = { hi: type, lo: type };
    const { graph } = trace("pairs", fn as never, [pairType, pairType] as never);
    const host = [a.hi, a.lo, b.hi, b.lo].map((value) => ({ type, data: Float64Array.of(value) }));
    return interpret(graph, host).map(({ data }) => data);
  };
  const [below, one, above] = [-tiny, 0, tiny].map((lo) => ({ hi: 1, lo }));
  assert.equal(apply(pairs.lt, below!, one!)[0]![0], 1);
  assert.equal(apply(pairs.lt, one!, one!)[0]![0], 0);
  assert.equal(apply(pairs.eq, one!, above!)[0]![0], 0);
  assert.deepEqual(
    apply(pairs.max, below!, above!).flatMap((x) => [...x]),
    [1, tiny],
  );
  assert.deepEqual(
    apply(pairs.min, below!, above!).flatMap((x) => [...x]),
    [1, -tiny],
  );
  assert.deepEqual(
    apply((a) => pairs.floor(a), below!, one!).flatMap((x) => [...x]),
    [0, 0],
  );
  assert.deepEqual(
    apply((a) => pairs.abs(pairs.neg(a)), above!, one!).flatMap((x) => [...x]),
    [1, tiny],
  );
  const rounded = (hi: number, lo: number): number => apply((a) => pairs.nearest(a), { hi, lo }, one!)[0]![0]!;
  assert.deepEqual(
    [rounded(2.5, 0), rounded(2.5, tiny), rounded(2.5, -tiny), rounded(3.5, -tiny), rounded(-2.5, -tiny)],
    [2, 3, 2, 3, -3],
  );
  assert.deepEqual([rounded(2 ** 53, 0.75), rounded(1.25, tiny)], [2 ** 53, 1]);
  const nan = apply(pairs.max, { hi: NaN, lo: 0 }, one!).map((x) => x[0]);
  assert.ok(Number.isNaN(nan[0]) && nan[1] === 0);
});

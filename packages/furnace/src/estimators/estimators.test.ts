// Each estimator against its own formula in plain numbers: the weight that a step computes with, the gradient that
// reaches the master, the weight of the finished model. Surrogates that are smooth stand beside central differences.

import assert from "node:assert/strict";
import { test } from "node:test";
import { dequantize, interpret, isTernary, mul, reduceSum, splat, tensorType, ternarize, trace } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { assertClose } from "../support.test.ts";
import { valueAndGrad } from "../vjp.ts";
import { softStairs } from "./dsq.ts";
import type { Estimator, Float } from "./estimator.ts";
import { asTernary } from "./estimator.ts";
import { mixture } from "./gumbel.ts";
import { hadamardMatrix } from "./hadamard.ts";
import { ESTIMATORS, findEstimator } from "./index.ts";

/** Mean magnitude 1, so that w is its own u; codes 1 0 -1 -1 1 0 -1 1. */
const WEIGHT = [1.0625, 0.25, -1.1875, -0.8125, 2.4375, 0.375, -0.9375, 0.9375];
const CODES = [1, 0, -1, -1, 1, 0, -1, 1];
const COTANGENT = [1, -2, 3, -4, 5, -6, 7, -8];
const SHAPE = [2, 4] as const;

interface Observed {
  readonly value: number[];
  readonly bias: number[];
  readonly gradient: number[];
  readonly scaleGradient: number;
  readonly finished: number[];
}

interface Setting {
  readonly progress?: number;
  readonly scale?: number;
  readonly noise?: readonly number[];
  readonly depth?: number;
  readonly cotangent?: readonly number[];
  /** Of the bias. */
  readonly biasCotangent?: readonly number[];
}

/** Interprets one step of an estimator on WEIGHT: L = sum of COTANGENT * weight + sum of biasCotangent * bias. */
function observe(estimator: Estimator, setting: Setting = {}): Observed {
  const { progress = 0.5, scale = 1, noise = [], depth = 0.5, cotangent = COTANGENT, biasCotangent = [0, 0] } = setting;
  const matrix = tensorType("f32", SHAPE);
  const scalar = tensorType("f32", []);
  const noises = Array.from({ length: estimator.noiseCount ?? 0 }, () => matrix);
  type Learned = { readonly weight: Float; readonly scale: Float };
  const step = valueAndGrad(
    (learned: Learned, at: Float, random: readonly Float[], slope: Float, biasSlope: Float) => {
      const { weight, bias } = estimator.estimate({
        ...learned,
        firstMagnitude: 1,
        progress: at,
        noise: random,
        depth,
      });
      const dense = (isTernary(weight.dtype) ? dequantize(weight as Tensor<never, "ternary">) : weight) as Float;
      const sum = reduceSum(mul(dense, slope));
      const loss = bias === undefined ? sum : reduceSum(mul(bias, biasSlope));
      return [loss, { dense, bias: bias ?? reduceSum(dense) }] as const;
    },
    { aux: true },
  );
  const { graph } = trace(
    "estimate",
    (learned, at, random, slope, biasSlope) => {
      const { grad, aux } = step(learned, at, random, slope, biasSlope);
      const master = { ...learned, firstMagnitude: 1 };
      const finished = dequantize(ternarize(estimator.finish?.(master) ?? learned.weight));
      return [aux.dense, aux.bias, (grad as Learned).weight, (grad as Learned).scale, finished];
    },
    [{ weight: matrix, scale: scalar }, scalar, noises, matrix, tensorType("f32", [2])],
  );
  const data = [WEIGHT, [scale], [progress], ...noises.map(() => noise), cotangent, biasCotangent];
  const byPath = graph.parameters.map(({ type }, i) => ({ type, data: Float64Array.from(data[i]!) }));
  const [value, bias, gradient, [scaleGradient], finished] = interpret(graph, byPath).map((r) => Array.from(r.data));
  return { value: value!, bias: bias!, gradient: gradient!, scaleGradient: scaleGradient!, finished: finished! };
}

const named = (name: string): Estimator => findEstimator(name)!;
const each = (fn: (w: number, g: number, i: number) => number): number[] =>
  WEIGHT.map((w, i) => fn(w, COTANGENT[i]!, i));

test("names are unique, and each has a line for lists", () => {
  assert.equal(new Set(ESTIMATORS.map(({ name }) => name)).size, ESTIMATORS.length);
  for (const { name, summary } of ESTIMATORS) assert.ok(summary.length > 10 && summary.length < 100, name);
  assert.equal(findEstimator("guess"), undefined);
});

for (const name of ["straight-through", "clipped", "dsq", "reste", "adaptive"]) {
  test(`${name} computes with the codes of the master`, () => {
    const { value, finished } = observe(named(name));
    assertClose(value, CODES);
    assertClose(finished, CODES);
  });
}

test("straight-through: the gradient as it is", () => {
  assertClose(observe(named("straight-through")).gradient, COTANGENT);
});

test("clipped: none beyond the mean magnitude", () => {
  assertClose(
    observe(named("clipped")).gradient,
    each((w, g) => (Math.abs(w) <= 1 ? g : 0)),
  );
});

test("dsq: the derivative of tanh stairs, by the formula and by central differences", () => {
  const k = Math.log(9);
  const slope = (u: number): number => k / (2 * Math.tanh(k / 2)) / Math.cosh(k * (Math.abs(u) - 0.5)) ** 2;
  const expected = each((w, g) => (Math.abs(w) <= 1 ? g * slope(w) : 0));
  assertClose(observe(named("dsq")).gradient, expected, 1e-9);
  assertClose(differences(softStairs), WEIGHT.map(slope), 1e-6);
});

test("reste: the derivative of a power that sharpens with progress, a chord near the threshold, none far away", () => {
  assertClose(
    observe(named("reste"), { progress: 0 }).gradient,
    each((w, g) => (Math.abs(w) <= 1.25 ? g : 0)),
  );
  const order = 2;
  const slope = (u: number): number => {
    const r = Math.abs(2 * Math.abs(u) - 1);
    if (r > 1.5) return 0;
    return r < 0.1 ? 0.1 ** (1 / order - 1) : r ** (1 / order - 1) / order;
  };
  assertClose(
    observe(named("reste"), { progress: 0.5 }).gradient,
    each((w, g) => g * slope(w)),
    1e-9,
  );
  // The stairs themselves: power functions with a chord, flat far away.
  const stairs = (u: number): number => {
    const r = 2 * Math.abs(u) - 1;
    const size = Math.min(Math.abs(r), 1.5);
    const risen = size < 0.1 ? size * 0.1 ** (1 / order - 1) : size ** (1 / order);
    return Math.sign(u) * (0.5 * Math.sign(r) * risen + 0.5);
  };
  const step = 1e-6;
  assertClose(
    WEIGHT.map((u) => (stairs(u + step) - stairs(u - step)) / (2 * step)),
    WEIGHT.map(slope),
    1e-6,
  );
});

test("quest: the best grid for normal weights, and gradients where it moved a weight by less than half a step", () => {
  const level = 1.224 * Math.sqrt(WEIGHT.reduce((sum, w) => sum + w * w, 0) / WEIGHT.length);
  const quantised = WEIGHT.map((w) => level * Math.max(-1, Math.min(1, Math.round(w / level))));
  const { value, gradient, finished } = observe(named("quest"));
  assertClose(value, quantised);
  assertClose(finished, quantised);
  assertClose(
    gradient,
    each((w, g, i) => (Math.abs(w - quantised[i]!) <= level / 2 ? g : 0)),
  );
  assert.ok(gradient.includes(0), "the largest weight is not trusted");
});

test("quest-hadamard: the same of transformed rows, with gradients transformed back", () => {
  const h = hadamardMatrix(4);
  const rows = (m: readonly number[]): number[] =>
    m.map((_x, i) => [0, 1, 2, 3].reduce((sum, j) => sum + m[4 * Math.floor(i / 4) + j]! * h[4 * j + (i % 4)]!, 0));
  assertClose(rows(rows(WEIGHT)), WEIGHT, 1e-12);
  const turned = rows(WEIGHT);
  const level = 1.224 * Math.sqrt(WEIGHT.reduce((sum, w) => sum + w * w, 0) / WEIGHT.length);
  const quantised = turned.map((w) => level * Math.max(-1, Math.min(1, Math.round(w / level))));
  const masked = COTANGENT.map((g, i) => (Math.abs(turned[i]! - quantised[i]!) <= level / 2 ? g : 0));
  const { value, gradient, finished } = observe(named("quest-hadamard"));
  assertClose(value, quantised);
  assertClose(finished, quantised);
  assertClose(gradient, rows(masked));
});

test("tequila: weights of the dead zone add up to a bias that fades", () => {
  const { value, bias, gradient } = observe(named("tequila"), { progress: 0.25, biasCotangent: [10, 100] });
  assertClose(value, CODES);
  assertClose(bias, [0.75e-3 * 0.25, 0.75e-3 * 0.375], 1e-12);
  assertClose(gradient, [0, 0.0075, 0, 0, 0, 0.075, 0, 0], 1e-12);
});

test("stretched-elastic: equal thirds of a learned range, LSQ's gradients of weight and range", () => {
  const range = 1.5 * 0.8;
  const u = WEIGHT.map((w) => Math.max(-1, Math.min(1, w / range)));
  const level = u.map((x) => Math.max(-1, Math.min(1, Math.round(1.5 * x))) / 1.5);
  const { value, gradient, scaleGradient, finished } = observe(named("stretched-elastic"), { scale: 0.8 });
  const expected = level.map((x) => x * range);
  assertClose(value, expected);
  assertClose(finished, expected);
  assertClose(
    gradient,
    each((w, g) => (Math.abs(w / range) < 1 ? g : 0)),
  );
  const byRange = COTANGENT.reduce(
    (sum, g, i) => sum + g * (level[i]! - (Math.abs(WEIGHT[i]! / range) < 1 ? u[i]! : 0)),
    0,
  );
  assertClose([scaleGradient], [(1.5 * byRange) / Math.sqrt(8)]);
});

test("gumbel: a softmax over distances and noise, with its true derivative", () => {
  const noise = WEIGHT.map((_w, i) => (i + 1) / 10);
  const progress = 0.5;
  const temperature = Math.sqrt(0.05);
  // Equal noise for all levels drops out.
  const mixtureOf = (u: number): number => {
    const [a, b, c] = [-1, 0, 1].map((g) => Math.exp((-8 * (u - g) ** 2) / temperature));
    return (c! - a!) / (a! + b! + c!);
  };
  const { value, gradient, finished } = observe(named("gumbel"), { progress, noise });
  assertClose(value, WEIGHT.map(mixtureOf));
  assertClose(finished, CODES);
  const slopes = WEIGHT.map((u) => (mixtureOf(u + 1e-5) - mixtureOf(u - 1e-5)) / 2e-5);
  assertClose(
    gradient,
    each((_w, g, i) => g * slopes[i]!),
    1e-6,
  );
  const zero = (x: Float): Float => mul(x, 0) as Float;
  assertClose(
    differences((x) => mixture(x, [zero(x), zero(x), zero(x)], splat(temperature, []))),
    slopes,
    1e-6,
  );
});

test("stochastic: the upper neighbour where the fraction and the noise pass 1, straight-through gradients", () => {
  const noise = [0.9, 0.7, 0.1, 0.3, 0, 0.7, 0.05, 0.05];
  const { value, gradient, finished } = observe(named("stochastic"), { noise });
  assertClose(value, [1, 0, -1, -1, 1, 1, -1, 0]);
  assertClose(gradient, COTANGENT);
  assertClose(finished, CODES);
});

test("warm-up: the mixture of each schedule, straight-through gradients, codes from the middle of the run on", () => {
  const shares: [name: string, progress: number, depth: number, share: number][] = [
    ["linear", 0.125, 0, 0.25],
    ["exponential", 0.25, 0, (Math.exp(2.5) - 1) / (Math.exp(5) - 1)],
    ["sigmoid", 0.2, 0, 1 / (1 + Math.exp(2))],
    ["discrete", 0.2, 0, 0.25],
    ["layerwise", 0.2, 0.3, 1],
    ["layerwise", 0.2, 0.5, 0],
  ];
  for (const [name, progress, depth, share] of shares) {
    const { value, gradient, finished } = observe(named(`warmup-${name}`), { progress, depth });
    assertClose(
      value,
      each((w, _g, i) => (1 - share) * w + share * CODES[i]!),
      1e-9,
      name,
    );
    assertClose(gradient, COTANGENT);
    assertClose(finished, CODES);
    for (const late of [0.5, 0.75]) assertClose(observe(named(`warmup-${name}`), { progress: late }).value, CODES);
  }
});

test("adaptive: small gradients raised to the distance from the nearest threshold", () => {
  const distance = WEIGHT.map((w) => Math.abs(Math.abs(w) - 0.5));
  for (const [name, strength] of [
    ["adaptive", 1],
    ["adaptive-0.1", 0.1],
    ["adaptive-0.01", 0.01],
  ] as const) {
    const cotangent = [0.001, -0.001, 0.3, -0.3, 0, 3, -3, 0.02];
    const raised = cotangent.map((g, i) => Math.sign(g) * Math.max(Math.abs(g), strength * distance[i]!));
    assertClose(observe(named(name), { cotangent }).gradient, raised, 1e-9);
  }
});

test("any codes and scale are a matrix that ternarize makes them of", () => {
  for (const codes of [
    [1, 0, 0, 0],
    [0, 0, 0, 0],
    [-1, 1, 1, -1],
    [1, 0, -1, 1],
  ]) {
    const { graph } = trace("as_ternary", (c, s) => dequantize(ternarize(asTernary(c, s))), [
      tensorType("f32", [1, 4]),
      tensorType("f32", []),
    ]);
    const inputs = [codes, [0.3]].map((data, i) => ({
      type: graph.parameters[i]!.type,
      data: Float64Array.from(data),
    }));
    assertClose(
      Array.from(interpret(graph, inputs)[0]!.data),
      codes.map((c) => c * 0.3),
      1e-6,
    );
  }
});

/** The derivative of an elementwise function at WEIGHT, by central differences in float64. */
function differences(fn: (u: Float) => Float): number[] {
  const { graph } = trace("curve", (u) => fn(u as Float), [tensorType("f32", [WEIGHT.length])]);
  const type = graph.parameters[0]!.type;
  const at = (shift: number): Float64Array => {
    return interpret(graph, [{ type, data: Float64Array.from(WEIGHT, (w) => w + shift) }])[0]!.data as Float64Array;
  };
  const [above, below] = [at(1e-5), at(-1e-5)];
  return WEIGHT.map((_w, i) => (above[i]! - below[i]!) / 2e-5);
}

// Problems that are known to need digits, each in float32, float32 with sums in float64, float64 and double-double,
// on a compiled device: descent in Rosenbrock's valley, equations with a nearly singular matrix, the gradient through
// a long recurrence, and latent weights that small steps have to carry across the threshold of a ternary code.

import {
  add,
  decodeTensor,
  div,
  matmul,
  mul,
  reduceSum,
  scan,
  slice,
  splat,
  square,
  sub,
  tensorType,
  trace,
} from "@fidelity/core";
import type { Device, Graph, Tensor } from "@fidelity/core";
import {
  accumulations,
  bigFloat,
  BigFloats,
  compensated,
  doubleDouble,
  extendGraph,
  grad,
  rounded,
  sgd,
  toFloat64,
} from "@fidelity/furnace";
import type { BigFloat, Optimizer } from "@fidelity/furnace";
import { RandomStream } from "@fidelity/models";
import type { Shape } from "@fidelity/units";
import { writeTensor } from "./tensors.ts";

type X = Tensor<Shape, "f64">;
type Fn = (...args: X[]) => X;

export const ARITHMETICS = ["float32", "float32, sums in float64", "float64", "double-double"] as const;
export type Arithmetic = (typeof ARITHMETICS)[number];

export interface ProblemResult {
  readonly problem: string;
  readonly measure: string;
  readonly arithmetic: string;
  /** One for each seed. */
  readonly values: readonly number[];
}

function graphOf(fn: Fn, shapes: readonly (readonly number[])[], arithmetic: Arithmetic): Graph {
  const dtype = arithmetic.startsWith("float32") ? "f32" : "f64";
  const types = shapes.map((shape) => tensorType(dtype, shape));
  const body = arithmetic === "double-double" ? doubleDouble(fn as never) : fn;
  const { graph } = trace("problem", body as never, types as never);
  return arithmetic === "float32, sums in float64" ? extendGraph(graph, accumulations("f64")) : graph;
}

/** Runs a graph once; pairs come out as their exact sums. */
async function run(device: Device, graph: Graph, inputs: readonly (readonly number[])[]): Promise<BigFloat[]> {
  const program = await device.compile(graph);
  const tensors = program.parameterTypes.map((type) => device.tensor(type));
  const results = program.resultTypes.map((type) => device.tensor(type));
  inputs.forEach((values, i) => writeTensor(tensors[i], values));
  program.bind(tensors, results);
  program.run();
  const [hi, lo] = results.map((tensor) => decodeTensor(tensor.type, tensor.bytes()).data);
  program.free();
  for (const tensor of [...tensors, ...results]) tensor.free();
  return Array.from(hi, (value, i) => EXACT.add(bigFloat(value), bigFloat(lo?.[i] ?? 0)));
}

const EXACT = new BigFloats(400);
const relative = (got: readonly BigFloat[], want: readonly BigFloat[]): number => {
  const norm = (values: readonly BigFloat[]): number => Math.hypot(...values.map(toFloat64));
  return norm(got.map((value, i) => EXACT.sub(value, want[i]))) / norm(want);
};

/** A number that every dtype holds: float32. */
const random = (seed: number, purpose: number, count: number, scale = 1): number[] => {
  const stream = new RandomStream(seed, purpose);
  return Array.from({ length: count }, () => Math.fround(stream.normal() * scale));
};

const at = (x: X, low: number, high: number): X => slice(x as never, [low], [high]) as X;

const ROSENBROCK_STEPS = 20_000;

/** Momentum descent in ten dimensions; the value of the function where it ends. */
async function rosenbrock(device: Device, arithmetic: Arithmetic, seed: number): Promise<number> {
  const dim = 10;
  const valley = (x: X): X => {
    const [head, tail] = [at(x, 0, dim - 1), at(x, 1, dim)];
    const bend = mul(square(sub(tail, square(head) as X) as X) as X, 100) as X;
    return reduceSum(add(bend, square(sub(1, head) as X) as X) as X) as never;
  };
  const descend: Fn = (x) => {
    const step = ({ x: here, v }: { x: X; v: X }): unknown => {
      const next = sub(mul(v, 0.9375) as X, mul(grad(valley as never)(here as never) as X, 2 ** -12) as X) as X;
      return { carry: { x: add(here, next), v: next }, y: {} };
    };
    const first = { x, v: splat(0, [dim], x.dtype) };
    const { carry } = scan(step as never, first, {}, { length: ROSENBROCK_STEPS }) as unknown as { carry: { x: X } };
    return carry.x;
  };
  const end = await run(device, graphOf(descend, [[dim]], arithmetic), [random(seed, 0, dim, 0.5)]);
  // The value itself is computed exactly enough for all.
  return end.slice(1).reduce<number>((sum, y, i) => {
    const bend = EXACT.sub(y, EXACT.mul(end[i], end[i]));
    const rest = EXACT.sub(bigFloat(1), end[i]);
    return sum + 100 * toFloat64(EXACT.mul(bend, bend)) + toFloat64(EXACT.mul(rest, rest));
  }, 0);
}

const HILBERT = 8;

/** Conjugate gradients on H x = H x0, H the Hilbert matrix of order 8 (condition 1.5e10); the error of x. */
async function hilbertSystem(device: Device, arithmetic: Arithmetic, seed: number): Promise<number> {
  const solve: Fn = (scale, truth) => {
    // Entries 1 / (i + j + 1) of the arithmetic at hand, from whole numbers.
    const h = div(1, scale) as X;
    const target = matmul(h, truth) as X;
    // Keeps 0 / 0 away once the residual is 0.
    const tiny = truth.dtype === ("f32" as string) ? 1e-37 : 1e-290;
    const dot = (a: X, b: X): X => reduceSum(mul(a, b) as X) as never;
    const step = ({ x, r, p }: { x: X; r: X; p: X }): unknown => {
      const q = matmul(h, p) as X;
      const size = dot(r, r);
      const alpha = div(size, add(dot(p, q), tiny) as X) as X;
      const rest = sub(r, mul(alpha, q) as X) as X;
      const beta = div(dot(rest, rest), add(size, tiny) as X) as X;
      return { carry: { x: add(x, mul(alpha, p) as X), r: rest, p: add(rest, mul(beta, p) as X) }, y: {} };
    };
    const first = { x: splat(0, [HILBERT, 1], truth.dtype), r: target, p: target };
    const { carry } = scan(step as never, first, {}, { length: 60 }) as unknown as { carry: { x: X } };
    return carry.x;
  };
  const truth = random(seed, 1, HILBERT);
  const sums = Array.from({ length: HILBERT ** 2 }, (_, i) => (i % HILBERT) + Math.floor(i / HILBERT) + 1);
  const shapes = [
    [HILBERT, HILBERT],
    [HILBERT, 1],
  ];
  return relative(await run(device, graphOf(solve, shapes, arithmetic), [sums, truth]), truth.map(bigFloat));
}

const RECURRENCE_STEPS = 4096;

/** d/da of the sum of h_t = a h_{t-1} + x_t over 4,096 steps, a near 1, beside the same in exact numbers. */
async function recurrence(device: Device, arithmetic: Arithmetic, seed: number): Promise<number> {
  const loss: Fn = (a, xs) => {
    const step = ({ h, sum }: { h: X; sum: X }, x: X): unknown => {
      const next = add(mul(a, h) as X, x) as X;
      return { carry: { h: next, sum: add(sum, next) }, y: {} };
    };
    const zero = splat(0, [1], a.dtype);
    const { carry } = scan(step as never, { h: zero, sum: zero }, xs) as unknown as { carry: { sum: X } };
    return reduceSum(carry.sum) as never;
  };
  const gate = 1 - 2 ** -10;
  const xs = random(seed, 2, RECURRENCE_STEPS);
  const shapes = [[1], [RECURRENCE_STEPS, 1]];
  const slope = await run(device, graphOf(grad(loss as never) as never, shapes, arithmetic), [[gate], xs]);
  let [h, dh, want] = [bigFloat(0), bigFloat(0), bigFloat(0)] as [BigFloat, BigFloat, BigFloat];
  for (const x of xs) {
    dh = EXACT.add(EXACT.mul(bigFloat(gate), dh), h);
    h = EXACT.add(EXACT.mul(bigFloat(gate), h), bigFloat(x));
    want = EXACT.add(want, dh);
  }
  return relative(slope, [want]);
}

const PROBLEMS = [
  { problem: "Rosenbrock, 10 dimensions, 20,000 steps", measure: "value at the end", solve: rosenbrock },
  { problem: "equations with the Hilbert matrix of order 8", measure: "error of the solution", solve: hilbertSystem },
  { problem: "gradient through 4,096 steps of a recurrence", measure: "error of the gradient", solve: recurrence },
] as const;

export async function illConditioned(device: Device, seeds: readonly number[]): Promise<ProblemResult[]> {
  const results: ProblemResult[] = [];
  for (const { problem, measure, solve } of PROBLEMS) {
    for (const arithmetic of ARITHMETICS) {
      const values: number[] = [];
      for (const seed of seeds) values.push(await solve(device, arithmetic, seed));
      results.push({ problem, measure, arithmetic, values });
    }
  }
  return results;
}

/** Latent weights under steps of one size, and the share of codes that change which should. */
export interface ThresholdResult {
  /** log2 of the step over the largest weight. */
  readonly stepBits: number;
  readonly storage: string;
  readonly flipped: readonly number[];
}

const STORAGES: readonly { name: string; dtype: "f32" | "bf16"; wrap?: (optimizer: Optimizer) => Optimizer }[] = [
  { name: "float32", dtype: "f32" },
  { name: "float32, compensated", dtype: "f32", wrap: compensated },
  { name: "bf16", dtype: "bf16", wrap: rounded },
  { name: "bf16, compensated", dtype: "bf16", wrap: compensated },
];

const WEIGHTS = 256;
/** Sizes of steps by their exponents, with the exponent of the way that they go together. */
const WAYS = [
  { stepBits: -8, wayBits: -3 },
  { stepBits: -12, wayBits: -3 },
  { stepBits: -16, wayBits: -3 },
  { stepBits: -27, wayBits: -18 },
] as const;

/** Of the ternary codes that change under steps without rounding, the share that changes with it. */
export async function thresholds(device: Device, seeds: readonly number[]): Promise<ThresholdResult[]> {
  const results: ThresholdResult[] = [];
  for (const way of WAYS) {
    // Of weights so near to the threshold bf16 has one.
    for (const storage of STORAGES.filter(({ dtype }) => dtype === "f32" || way.wayBits === -3)) {
      const flipped: number[] = [];
      for (const seed of seeds) flipped.push(await crossing(device, storage, way, seed));
      results.push({ stepBits: way.stepBits, storage: storage.name, flipped });
    }
  }
  return results;
}

async function crossing(
  device: Device,
  { dtype, wrap }: (typeof STORAGES)[number],
  { stepBits, wayBits }: (typeof WAYS)[number],
  seed: number,
): Promise<number> {
  const optimizer = wrap === undefined ? sgd() : wrap(sgd());
  const types = { w: tensorType(dtype, [WEIGHTS]) };
  const scalar = tensorType("f32", []);
  const inputs = [types, optimizer.init(types), tensorType("f32", [WEIGHTS]), scalar, scalar];
  const update = (p: never, state: never, g: unknown, learningRate: Tensor, step: Tensor): unknown =>
    optimizer.update(p, { w: g } as never, state, { learningRate, step });
  const { graph } = trace("steps", update as never, inputs as never);
  const count = graph.results.length;
  const donations = Array.from({ length: count }, (_, i) => ({ parameter: i, result: i }));
  const program = await device.compile(graph, { donations });
  const tensors = program.parameterTypes.map((type) => device.tensor(type));
  program.bind(tensors, tensors.slice(0, count));
  // Weights as near to the threshold 0.5 as the steps go, on either side, all of them numbers of the storage.
  const stream = new RandomStream(seed, 5);
  const start = Array.from(
    { length: WEIGHTS },
    () => 0.5 + Math.round((stream.uniform() - 0.5) * 64) * 2 ** (wayBits - 5),
  );
  const signs = Array.from({ length: WEIGHTS }, () => (stream.uniform() < 0.5 ? -1 : 1));
  writeTensor(tensors[0], start);
  writeTensor(tensors[count], signs);
  writeTensor(tensors[count + 1], [2 ** stepBits]);
  writeTensor(tensors[count + 2], [1]);
  const steps = 2 ** (wayBits - stepBits);
  for (let step = 0; step < steps; step++) program.run();
  const end = decodeTensor(tensors[0].type, tensors[0].bytes()).data;
  let [wanted, done] = [0, 0];
  start.forEach((value, i) => {
    const should = value - signs[i] * steps * 2 ** stepBits;
    if (value > 0.5 === should > 0.5) return;
    wanted++;
    if (end[i] > 0.5 === should > 0.5) done++;
  });
  program.free();
  for (const tensor of tensors) tensor.free();
  return done / wanted;
}

// Values and gradients of 200 configurations of ops against what PyTorch 1.13.1 computed in float64 (goldens/ops.py).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as T from "@fidelity/core";
import type { HostTensor, Tensor, TensorType } from "@fidelity/core";
import { grad } from "./vjp.ts";

interface Golden {
  readonly op: string;
  readonly attrs: Readonly<Record<string, unknown>>;
  readonly seed: number;
  readonly inputs: readonly { readonly shape: readonly number[]; readonly range: readonly [number, number] }[];
  readonly ids: readonly (readonly number[])[];
  readonly shape: readonly number[];
  readonly value: readonly number[];
  readonly gradients: readonly (readonly number[])[];
}

const goldens = JSON.parse(readFileSync(new URL("../goldens/ops.json", import.meta.url), "utf8")) as Golden[];

type Floats = Tensor<readonly number[], "f32">;
type Integers = Tensor<readonly number[], "i32">;
/** What a golden's attributes hold; each op reads those that its script wrote. */
interface Attrs {
  readonly exponent: number;
  readonly threshold: number;
  readonly axes: readonly number[];
  readonly keepDims: boolean;
  readonly epsilon: number;
  readonly permutation: readonly number[];
  readonly shape: readonly number[];
  readonly axis: number;
  readonly start: number;
  readonly stop: number;
  readonly size: number;
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly rows: number;
  readonly descending: boolean;
  readonly count: number;
  readonly transposeA: true;
  readonly theta: number;
  readonly pairing: "adjacent" | "halves";
  readonly position: number;
  readonly lower: boolean;
}
type Run = (x: readonly Floats[], attrs: Attrs, ids: Integers) => Tensor;

const eye = (like: Floats): Floats => {
  const n = like.shape[0]!;
  const columns = T.broadcastTo(T.iota([1, n], "i32"), [n, n]);
  return T.select(T.eq(columns, T.transpose(columns)), T.splat(1, [n, n]), 0) as Floats;
};
const definite = (a: Floats): Floats => T.add(T.matmul(a, a, { transposeB: true }), T.mul(eye(a), 2)) as Floats;
const dominant = (a: Floats): Floats => T.add(a, T.mul(eye(a), 4));
const scalar = (value: number): Tensor<readonly [], "i32"> => T.splat(value, [], "i32");

const elementwise =
  (fn: (x: Floats) => Tensor): Run =>
  ([x]) =>
    fn(x!);
const pairwise =
  (fn: (x: Floats, y: Floats) => Tensor): Run =>
  ([x, y]) =>
    fn(x!, y!);

const RUNS: Readonly<Record<string, Run>> = {
  abs: elementwise(T.abs),
  cos: elementwise(T.cos),
  exp: elementwise(T.exp),
  gelu: elementwise(T.gelu),
  log: elementwise(T.log),
  neg: elementwise(T.neg),
  relu: elementwise(T.relu),
  rsqrt: elementwise(T.rsqrt),
  sigmoid: elementwise(T.sigmoid),
  silu: elementwise(T.silu),
  sin: elementwise(T.sin),
  softplus: elementwise(T.softplus),
  sqrt: elementwise(T.sqrt),
  square: elementwise(T.square),
  tanh: elementwise(T.tanh),
  softmax: elementwise(T.softmax),
  logSoftmax: elementwise(T.logSoftmax),
  add: pairwise((x, y) => T.add(x, y)),
  sub: pairwise((x, y) => T.sub(x, y)),
  mul: pairwise((x, y) => T.mul(x, y)),
  div: pairwise((x, y) => T.div(x, y)),
  max: pairwise((x, y) => T.max(x, y)),
  min: pairwise((x, y) => T.min(x, y)),
  pow: ([x], { exponent }) => T.pow(x!, exponent),
  select: ([x, y], { threshold }) => T.select(T.lt(x!, threshold), x!, y!),
  reduceSum: ([x], { axes, keepDims }) => T.reduceSum(x!, axes, keepDims),
  mean: ([x], { axes, keepDims }) => T.mean(x!, axes, keepDims),
  reduceMax: ([x], { axes, keepDims }) => T.reduceMax(x!, axes, keepDims),
  crossEntropy: ([x], _attrs, ids) => T.crossEntropy(x!, ids),
  rmsNorm: ([x, weight], { epsilon }) => T.rmsNorm(x!, { epsilon, ...(weight && { weight }) }),
  transpose: ([x], { permutation }) => T.transpose(x!, permutation),
  reshape: ([x], { shape }) => T.reshape(x!, shape),
  broadcastTo: ([x], { shape }) => T.broadcastTo(x!, shape),
  concat: (xs, { axis }) => T.concat(xs, axis),
  sliceAxis: ([x], { axis, start, stop }) => T.sliceAxis(x!, axis, start, stop),
  pad: ([x], { before, after }) => T.pad(x!, before, after),
  gather: ([x], _attrs, ids) => T.gather(x!, ids),
  scatterAdd: ([x], { rows }, ids) => T.scatterAdd(ids, x!, rows),
  sort: ([x], { descending }) => T.sort(x!, { descending }),
  topK: ([x], { count }) => T.topK(x!, count).values,
  dynamicSlice: ([x], { axis, start, size }) => T.dynamicSlice(x!, scalar(start), axis, size),
  dynamicUpdateSlice: ([x, y], { axis, start }) => T.dynamicUpdateSlice(x!, y!, scalar(start), axis),
  matmul: ([x, y], attrs) => T.matmul(x!, y!, attrs),
  linearRecurrence: ([f, x, h]) => T.linearRecurrence(f!, x!, h),
  rope: ([x], { theta, pairing, position }) => T.rope(x!, scalar(position), { theta, pairing }),
  attention: ([q, k, v], { position }) => T.attention(q!, k!, v!, scalar(position)).output,
  ternarize: ([w]) => T.dequantize(T.ternarize(w!)),
  quantizeActivations: ([x]) => T.dequantize(T.quantizeActivations(x!)),
  bitLinear: ([x, w]) => T.ternaryLinear(T.quantizeActivations(x!), T.ternarize(w!)),
  cholesky: ([a]) => T.cholesky(definite(a!)),
  inverse: ([a]) => T.inverse(dominant(a!)),
  logdet: ([a]) => T.logdet(definite(a!)),
  eigenvalues: ([a]) => T.eigh(definite(a!)).values,
  solve: ([a, b]) => T.solve(dominant(a!), b!),
  singularValues: ([a]) => T.svd(a!).s,
  qrProduct: ([a]) => T.abs(T.qr(a!).r as Floats),
  triangularSolve: ([a, b], { lower }) => T.triangularSolve(dominant(a!), b!, { lower }),
};

/** The generator of goldens/ops.py. */
function numbers(seed: number, count: number, [low, high]: readonly [number, number]): Float64Array {
  let state = seed;
  return Float64Array.from({ length: count }, () => {
    state = (Math.imul(1664525, state) + 1013904223) >>> 0;
    return low + (high - low) * ((state >>> 8) / 2 ** 24);
  });
}

function assertClose(found: Float64Array, expected: readonly number[], what: string): void {
  assert.equal(found.length, expected.length, what);
  expected.forEach((value, i) => {
    const error = Math.abs(found[i]! - value);
    assert.ok(error <= 1e-8 * Math.max(1, Math.abs(value)), `${what}[${i}]: ${found[i]}, PyTorch has ${value}`);
  });
}

test("there are 200 goldens", () => assert.equal(goldens.length, 200));

for (const op of new Set(goldens.map((golden) => golden.op))) {
  test(`${op} has PyTorch's values and gradients`, () => {
    for (const [at, golden] of goldens.entries()) if (golden.op === op) checkGolden(golden, `${op}, golden ${at}`);
  });
}

function checkGolden({ op, attrs, seed, inputs, ids, shape, value, gradients }: Golden, name: string): void {
  const types: TensorType[] = inputs.map((input) => ({ dtype: "f32", shape: input.shape }));
  const idTypes: TensorType[] = ids.map((list) => ({ dtype: "i32", shape: [list.length] }));
  const run = (x: readonly Floats[], integers: readonly Integers[]): Floats =>
    RUNS[op]!(x, attrs as unknown as Attrs, integers[0]!) as Floats;
  const weighted = (x: readonly Floats[], integers: readonly Integers[], weights: Floats): Tensor<readonly [], "f32"> =>
    T.reduceSum(T.mul(run(x, integers), weights));
  const { graph } = T.trace(
    name,
    (x, integers, weights) => {
      const floats = x as Floats[];
      return [
        run(floats, integers as Integers[]),
        ...grad(weighted)(floats, integers as Integers[], weights as Floats),
      ];
    },
    [types, idTypes, { dtype: "f32", shape } as TensorType],
  );
  assert.deepEqual(graph.results[0]!.shape, shape, name);
  const size = (dims: readonly number[]): number => dims.reduce((total, dim) => total * dim, 1);
  const given: HostTensor[] = [
    ...inputs.map((input, i) => ({ type: types[i]!, data: numbers(seed + i, size(input.shape), input.range) })),
    ...ids.map((list, i) => ({ type: idTypes[i]!, data: Float64Array.from(list) })),
    { type: { dtype: "f32", shape }, data: Float64Array.from({ length: size(shape) }, (_, i) => Math.cos(i + 1)) },
  ];
  const [result, ...slopes] = T.interpret(graph, given);
  assertClose(result!.data, value, `${name}: value`);
  slopes.forEach((slope, i) => assertClose(slope.data, gradients[i]!, `${name}: gradient ${i}`));
}

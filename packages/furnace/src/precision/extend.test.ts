// Extended graphs against the oracle: functions, gradients and loops in double-double; selected ops in float64 or
// exactly; and what has no such form.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  cholesky,
  crossEntropy,
  div,
  exp,
  gather,
  gelu,
  interpret,
  linearRecurrence,
  log,
  logSoftmax,
  matmul,
  max,
  mul,
  pow,
  printGraph,
  reduceMax,
  reduceSum,
  rmsNorm,
  round,
  scan,
  sigmoid,
  silu,
  sin,
  softmax,
  softplus,
  sqrt,
  sub,
  tanh,
  tensorType,
  trace,
} from "@fidelity/core";
import type { HostTensor, Tensor, TensorType } from "@fidelity/core";
import { randomHost, seededRandom } from "@fidelity/core/testing";
import { customJvp } from "../custom_jvp.ts";
import { grad } from "../vjp.ts";
import { jvp } from "../jvp.ts";
import type { BigFloat } from "./bigfloat.ts";
import { bigFloat, BigFloats, toFloat64 } from "./bigfloat.ts";
import { accumulations, doubleDouble, extendGraph, NoExtendedRuleError, withPrecision } from "./extend.ts";
import { bigTensor, evaluateBig, NoOracleRuleError } from "./oracle.ts";

const big = new BigFloats(320);
type Any = (...args: never[]) => unknown;
type X = Tensor<readonly number[], "f64">;

function inputsOf(types: readonly TensorType[], low = 0.25, high = 2): HostTensor[] {
  const random = seededRandom(11);
  return types.map((type) => randomHost(type, random, type.dtype === "i32" ? [0, 2] : [low, high]));
}

/** Compares `doubleDouble(fn)` with the oracle's evaluation of the same graph. */
function assertDouble(name: string, fn: Any, types: readonly TensorType[], bits = 94): void {
  const inputs = inputsOf(types);
  const plain = trace(name, fn, types as never).graph;
  const extended = trace(name, doubleDouble(fn as never) as Any, types as never).graph;
  const got = interpret(extended, inputs);
  evaluateBig(plain, inputs.map(bigTensor), big).forEach((want, i) => {
    const scale = Math.max(1e-3, ...want.data.map((value) => Math.abs(toFloat64(value))));
    want.data.forEach((value, j) => {
      const sum = big.add(bigFloat(got[2 * i]!.data[j]!), bigFloat(got[2 * i + 1]!.data[j]!));
      const error = toFloat64(big.abs(big.sub(sum, value)));
      assert.ok(error <= scale * 2 ** -bits, `${name}: result ${i}[${j}] is off by 2^${Math.log2(error / scale)}`);
    });
  });
}

const vector = tensorType("f64", [6]);
const matrix = tensorType("f64", [3, 4]);
const ids = tensorType("i32", [3]);
const sum = (x: unknown): X => reduceSum(x as X) as never;

const FUNCTIONS: Readonly<Record<string, readonly [Any, readonly TensorType[]]>> = {
  arithmetic: [(x: X, y: X) => div(mul(add(x, y), sub(x, 3)), sqrt(y)), [vector, vector]],
  elementary: [(x: X) => mul(exp(sin(x)), add(log(x), tanh(x))), [vector]],
  gates: [(x: X) => add(mul(sigmoid(x), silu(x)), add(softplus(x), gelu(x))), [vector]],
  powers: [(x: X) => add(pow(x, 3), pow(x, -1.5)), [vector]],
  choices: [(x: X, y: X) => mul(max(x, y), sub(reduceMax(x, [0], true) as X, x)), [vector, vector]],
  rows: [(x: X) => add(softmax(x), logSoftmax(rmsNorm(x) as X)), [matrix]],
  products: [(x: X, y: X) => matmul(x, y, { transposeB: true } as never), [matrix, matrix]],
  table: [(x: X, i: never) => gather(x, i), [matrix, ids]],
  loss: [(x: X, i: never) => sum(crossEntropy(x as never, i)), [matrix, ids]],
  loop: [
    (x: X, h: X) => scan(((c: X, s: X) => ({ carry: tanh(add(mul(c, s), s)), y: mul(c, s) })) as never, h, x).ys,
    [matrix, tensorType("f64", [4])],
  ],
};

for (const [name, [fn, types]] of Object.entries(FUNCTIONS)) {
  test(`${name} in double-double is the oracle's to 94 bits`, () => assertDouble(name, fn, types));
  test(`the gradient of ${name} in double-double is, too`, () => {
    assertDouble(
      `grad_${name}`,
      grad(((x: X, ...rest: never[]) => sum((fn as never as Any)(x as never, ...rest))) as never) as Any,
      types,
      90,
    );
  });
}

test("forward mode and second derivatives are computed in double-double", () => {
  const energy = (x: X): X => sum(mul(sin(x), exp(x)));
  assertDouble("tangent", (x: X, dx: X) => jvp(energy as never)([x] as never, [dx] as never), [vector, vector]);
  assertDouble("second", grad(((x: X) => sum(mul(grad(energy as never)(x as never) as X, x))) as never) as Any, [
    vector,
  ]);
});

test("what cancels in float64 is there in double-double", () => {
  const fn = (x: X): X => sub(exp(x), add(add(mul(x, x), x), 1)) as X;
  const type = tensorType("f64", [1]);
  const input = [{ type, data: Float64Array.of(1e-9) }];
  const plain = trace("cancel", fn as never, [type] as never).graph;
  const extended = trace("cancel", doubleDouble(fn as never) as Any, [type] as never).graph;
  const want = evaluateBig(plain, input.map(bigTensor), big)[0]!.data[0]!;
  const error = (got: number): number => Math.abs(got / toFloat64(want) - 1);
  assert.ok(error(interpret(plain, input)[0]!.data[0]!) > 0.5, "float64 has no digit left");
  assert.ok(error(interpret(extended, input)[0]!.data[0]!) < 1e-12);
});

test("pairs go in and come out", () => {
  const type = tensorType("f64", [2]);
  const pair = { hi: type, lo: type };
  const third = (hi: number): number[] => [hi, hi];
  const square = doubleDouble(((x: X) => mul(x, x)) as never) as Any;
  const { graph } = trace("square", square, [pair] as never);
  const inputs = [third(1), third(2 ** -70)].map((data) => ({ type, data: Float64Array.from(data) }));
  const [hi, lo] = interpret(graph, inputs).map(({ data }) => data[0]!);
  assert.equal(hi, 1);
  assert.equal(lo, 2 ** -69);
});

test("recurrences with a kernel of their own become loops, forwards and backwards", () => {
  const type = tensorType("f32", [2, 4, 3]);
  const fn = (f: Tensor, x: Tensor): X =>
    sum(mul(linearRecurrence(sigmoid(f as never), x as never) as never, x as never));
  const { graph } = trace("recurrence", grad(fn as never) as Any, [type, type] as never);
  const extended = trace("recurrence", doubleDouble(grad(fn as never) as never) as Any, [type, type] as never).graph;
  const inputs = inputsOf([type, type]);
  const [want, got] = [interpret(graph, inputs)[0]!, interpret(extended, inputs)[0]!];
  want.data.forEach((value, i) => assert.ok(Math.abs(value - got.data[i]!) <= 1e-12 * Math.abs(value)));
});

test("a policy extends the ops that it names, and results keep their types", () => {
  const type = tensorType("f32", [5, 5]);
  const step = (x: Tensor<readonly number[], "f32">) => tanh(matmul(x, x) as never) as never;
  const loss = grad(((x: never) => sum(step(x))) as never) as Any;
  const { graph } = trace("step", loss, [type] as never);
  const wide = extendGraph(graph, accumulations("f64"));
  assert.equal(wide.results[0]!.dtype, "f32");
  const text = printGraph(wide);
  assert.match(text, /matmul.*f64/u);
  assert.doesNotMatch(text, /tanh.*f64/u);
  const inputs = inputsOf([type]);
  const [a, b] = [interpret(graph, inputs)[0]!.data, interpret(wide, inputs)[0]!.data];
  a.forEach((value, i) => assert.ok(Math.abs(value - b[i]!) < 1e-6));
});

test("exact accumulation gives one rounding of the exact sum, in any order", () => {
  const type = tensorType("f32", [6]);
  const fn = withPrecision(((x: Tensor) => reduceSum(x as never)) as never, accumulations("exact")) as Any;
  const { graph } = trace("sum", fn, [type] as never);
  const values = [1e30, 1, -1e30, 2 ** -40, 3e-20, 1e20].map(Math.fround);
  const exactly = values.reduce<BigFloat>((total, x) => big.add(total, bigFloat(x)), bigFloat(0));
  const want = toFloat64(new BigFloats(24).round(exactly));
  for (const order of [values, values.toReversed(), [...values].sort((a, b) => a - b)]) {
    assert.equal(interpret(graph, [{ type, data: Float64Array.from(order) }])[0]!.data[0], want);
  }
});

test("a gradient goes through a function that is partly extended", () => {
  const fn = withPrecision(((x: X) => sum(mul(exp(x), x))) as never, () => "double-double") as Any;
  const slope = trace("slope", grad(fn as never) as Any, [vector] as never).graph;
  const inputs = inputsOf([vector]);
  interpret(slope, inputs)[0]!.data.forEach((value, i) => {
    const x = inputs[0]!.data[i]!;
    assert.ok(Math.abs(value - Math.exp(x) * (1 + x)) < 1e-12);
  });
});

test("a rule of an author's own survives being partly extended", () => {
  const rounded = customJvp(
    (x: X) => round(x) as X,
    (_primals: readonly [X], [tangent]: readonly [X]) => tangent,
  );
  const fn = withPrecision(((x: X) => sum(mul(rounded(x), 3))) as never, () => "double-double") as Any;
  const slope = trace("slope", grad(fn as never) as Any, [vector] as never).graph;
  assert.deepEqual([...interpret(slope, inputsOf([vector]))[0]!.data], [3, 3, 3, 3, 3, 3]);
});

test("an op without a form in double-double, or in the oracle, is named", () => {
  const square = tensorType("f64", [2, 2]);
  assert.throws(
    () => trace("factor", doubleDouble(cholesky as never) as Any, [square] as never),
    (error: unknown) => error instanceof NoExtendedRuleError && error.op === "cholesky",
  );
  const { graph } = trace("factor", cholesky as Any, [square] as never);
  assert.throws(() => evaluateBig(graph, inputsOf([square]).map(bigTensor), big), NoOracleRuleError);
});

// What furnace's tests share: running small float64 graphs on the interpreter, and central differences.

import assert from "node:assert/strict";
import { test } from "node:test";
import { interpret, mul, reduceSum, tensorType, trace } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";

/** Numbers with a shape; a plain number is a scalar. */
export interface Values {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

export type F64 = Tensor<readonly number[], "f64">;
export type TensorFunction = (...inputs: F64[]) => unknown;

export function scalar(value: number): Values {
  return { shape: [], data: [value] };
}

export function vector(...data: number[]): Values {
  return { shape: [data.length], data };
}

/** Deterministic values between -1 and 1 that repeat nowhere. */
export function values(shape: readonly number[], seed = 1): Values {
  const count = shape.reduce((product, dim) => product * dim, 1);
  return { shape, data: Array.from({ length: count }, (_none, i) => Math.sin(12.9898 * (i + 1) + 78.233 * seed)) };
}

/** Traces `fn` in float64 and interprets it: the data of all leaves of its result. */
export function run(fn: TensorFunction, ...inputs: Values[]): number[][] {
  const { graph } = trace(
    "test",
    fn as (...args: Tensor[]) => unknown,
    inputs.map(({ shape }) => tensorType("f64", shape)),
  );
  const hosts = inputs.map(({ shape, data }) => ({ type: tensorType("f64", shape), data: Float64Array.from(data) }));
  return interpret(graph, hosts).map(({ data }) => Array.from(data));
}

/** The one number that `fn` gives. */
export function runScalar(fn: TensorFunction, ...inputs: Values[]): number {
  const [first] = run(fn, ...inputs);
  assert.equal(first!.length, 1);
  return first![0]!;
}

/** The gradient of the scalar `fn` with respect to input `at`, by central differences. */
export function centralDifferences(fn: TensorFunction, inputs: readonly Values[], at: number, step = 1e-5): number[] {
  return inputs[at]!.data.map((_value, i) => {
    const shifted = (by: number): Values[] => {
      const data = inputs[at]!.data.map((value, j) => (i === j ? value + by : value));
      return inputs.map((input, j) => (j === at ? { shape: input.shape, data } : input));
    };
    return (runScalar(fn, ...shifted(step)) - runScalar(fn, ...shifted(-step))) / (2 * step);
  });
}

/** Fails unless the numbers agree, relative to the largest of them. */
export function assertClose(actual: readonly number[], expected: readonly number[], tolerance = 1e-6, what = ""): void {
  assert.equal(actual.length, expected.length, `${what}: ${actual.length} numbers for ${expected.length}`);
  const size = Math.max(1, ...expected.map(Math.abs));
  actual.forEach((value, i) => {
    const off = Math.abs(value - expected[i]!);
    assert.ok(off <= tolerance * size, `${what} [${i}]: ${value}, expected ${expected[i]} (off by ${off})`);
  });
}

test("central differences of a cube", () => {
  const cubes = (x: F64): F64 => reduceSum(mul(mul(x, x), x));
  assertClose(centralDifferences(cubes, [vector(2, -1)], 0), [12, 3], 1e-8);
});

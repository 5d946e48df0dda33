// Numbers wider than float64, from the function to the machine: sums, products and elementary functions in double-double,
// f80 and f128 by native code, against arbitrary precision; and the same programs on wasm, which has no wider format and
// computes them in double-double.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createDevice, findCompilerLibrary, searchTools } from "@fidelity/alex/node";
import { add, jit, matmul, reduceSum, tensorType } from "@fidelity/core";
import type { Device, ExtendedFormat, Tensor, TensorPair } from "@fidelity/core";
import { seededRandom } from "@fidelity/core/testing";
import {
  accumulations,
  bigFloat,
  BigFloats,
  doubleDouble,
  grad,
  pairsIn,
  toFloat64,
  withPrecision,
} from "@fidelity/furnace";
import type { BigFloat } from "@fidelity/furnace";

const big = new BigFloats(400);
const COUNT = 40;
const FUNCTIONS = ["exp", "log", "tanh", "sin", "cos", "sqrt"] as const;
const OPERATIONS = ["add", "sub", "mul", "div"] as const;
const vector = { hi: tensorType("f64", [COUNT]), lo: tensorType("f64", [COUNT]) };

type Columns = Readonly<Record<"hi" | "lo", Float64Array>>;
type Scalars = Readonly<Record<"hi" | "lo", number>>;

/** Everything of a format, in one program. */
function everything(format: ExtendedFormat): (x: TensorPair, y: TensorPair) => Record<string, TensorPair> {
  const on = pairsIn(format);
  return (x, y) => ({
    ...Object.fromEntries(FUNCTIONS.map((name) => [name, on[name](x)])),
    ...Object.fromEntries(OPERATIONS.map((name) => [name, on[name](x, y)])),
    total: on.sum(x),
    dot: on.dot(x, y),
  });
}

/** Positive numbers of many sizes, whose low part is kept to `bits` bits in all. */
function numbers(bits: number, seed: number): Columns {
  const random = seededRandom(seed);
  const hi = Float64Array.from({ length: COUNT }, (_, i) => (random() + 0.5) * 2 ** ((i % 13) - 8));
  const unit = (x: number): number => 2 ** (Math.floor(Math.log2(x)) + 1 - bits);
  const lo = hi.map((x) => Math.round(((random() - 0.5) * x * 2 ** -53) / unit(x)) * unit(x));
  return { hi, lo };
}

const columnOf = (value: Float64Array | number): Float64Array =>
  typeof value === "number" ? Float64Array.of(value) : value;

/** Why a format cannot be computed in by native code here, or undefined. */
function whyNot(format: ExtendedFormat): string | undefined {
  if (searchTools().missing.length > 0) return "needs LLVM 19 (tools/setup.sh)";
  if (format === "f80" && process.arch !== "x64") return "is a format of x86";
  const architecture = process.arch === "x64" ? "x86-64" : "aarch64";
  if (format === "f128" && findCompilerLibrary(architecture) === undefined) return "needs a compiler's library";
  return undefined;
}

/** The largest relative error of each result, in bits. */
async function errorsOn(device: Device, format: ExtendedFormat): Promise<Map<string, number>> {
  const program = await jit(device, everything(format) as never, [vector, vector] as never);
  const bits = format === "f80" ? 64 : 105;
  const [x, y] = [numbers(bits, 1), numbers(bits, 2)];
  const results = (program as (x: Columns, y: Columns) => Record<string, Columns | Scalars>)(x, y);
  const at = ({ hi, lo }: Columns, i: number): BigFloat => big.add(bigFloat(hi[i]!), bigFloat(lo[i]!));
  const [a, b] = [x, y].map((column) => Array.from({ length: COUNT }, (_, i) => at(column, i)));
  const sum = (terms: readonly BigFloat[]): BigFloat => terms.reduce((left, right) => big.add(left, right));
  const wanted: Record<string, BigFloat[]> = {
    ...Object.fromEntries(FUNCTIONS.map((name) => [name, a!.map((value) => big[name](value))])),
    ...Object.fromEntries(OPERATIONS.map((name) => [name, a!.map((value, i) => big[name](value, b![i]!))])),
    total: [sum(a!)],
    dot: [sum(a!.map((value, i) => big.mul(value, b![i]!)))],
  };
  return new Map(
    Object.entries(wanted).map(([name, values]) => {
      const { hi, lo } = results[name]!;
      const columns = { hi: columnOf(hi), lo: columnOf(lo) };
      const errors = values.map((want, i) => {
        const difference = toFloat64(big.abs(big.sub(at(columns, i), want)));
        return difference / Math.abs(toFloat64(want));
      });
      return [name, Math.log2(Math.max(...errors))];
    }),
  );
}

// Sums of positive numbers lose what the last of them rounds; differences of numbers that are close are exact.
const BOUNDS = { "double-double": -96, f80: -58, f128: -103 } as const;

for (const target of ["native", "wasm"] as const) {
  for (const format of ["double-double", "f80", "f128"] as const) {
    const skip = target === "native" ? (whyNot(format) ?? false) : false;
    test(`${format} is as precise as it says on ${target}`, { skip }, async () => {
      const device = createDevice({ target, threads: 1 });
      try {
        const errors = await errorsOn(device, format);
        const bound = target === "wasm" ? BOUNDS["double-double"] : BOUNDS[format];
        for (const [name, error] of errors) assert.ok(error <= bound, `${name}: 2^${error.toFixed(1)}`);
        // What sets f80 apart: it has no more digits than it should.
        if (format === "f80" && target === "native") assert.ok(errors.get("exp")! > -70, "computed in f80");
      } finally {
        await device.close();
      }
    });
  }
}

for (const format of ["f80", "f128"] as const) {
  test(`sums, products and a gradient of float64 tensors in ${format}`, { skip: whyNot(format) ?? false }, async () => {
    type Matrix = Tensor<readonly number[], "f64">;
    const [left, right] = [tensorType("f64", [2, 3]), tensorType("f64", [3, 2])];
    const product = withPrecision((a: Matrix, b: Matrix) => matmul(a, b) as Matrix, accumulations(format));
    const total = withPrecision((a: Matrix) => reduceSum(a) as Matrix, accumulations(format));
    const slope = doubleDouble(
      grad((a: Matrix) => reduceSum(add(a, a)) as never),
      format,
    );
    const all = (a: Matrix, b: Matrix): unknown => [product(a, b), total(a), slope(a)];
    const device = createDevice({ target: "native", threads: 1 });
    try {
      const run = await jit(device, all as never, [left, right] as never);
      // Float64 forgets 2^-60 beside 1; f80 keeps it, and f128 2^-100, too.
      const small = format === "f80" ? 2 ** -60 : 2 ** -100;
      const given = [Float64Array.of(1, small, -1, 0, 0, 0), Float64Array.of(1, 0, 1, 0, 1, 0)];
      const results = (run as (...arrays: Float64Array[]) => [Float64Array, number, Columns])(...given);
      assert.deepEqual([...results[0]], [small, 0, 0, 0]);
      assert.equal(results[1], small);
      assert.deepEqual([...results[2].hi], [2, 2, 2, 2, 2, 2]);
    } finally {
      await device.close();
    }
  });
}

// Sorting and factorisations compiled, at sizes that the samples of the registry do not reach, in both float dtypes.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  cholesky,
  eigh,
  interpret,
  matmul,
  qr,
  solve,
  sortWithIndices,
  svd,
  tensorType,
  trace,
  transpose,
} from "@fidelity/core";
import type { HostTensor, Tensor } from "@fidelity/core";
import { randomHost, relativeError, seededRandom } from "@fidelity/core/testing";
import type { Shape } from "@fidelity/units";
import { runCompiled } from "./testing.ts";

type Matrix = Tensor<Shape, "f64">;

/** Results are compared as the function gives them, so a function whose factors are only unique up to rounding gives
 * what they multiply to. */
const functions: Readonly<Record<string, (x: Matrix) => unknown>> = {
  cholesky: (x) => cholesky(matmul(x, transpose(x) as never) as Matrix),
  solve: (x) => solve(x, x),
  qr: (x) => qr(x),
  eigh: (x) => eigh(x).values,
  svd: (x) => svd(x).s,
};

for (const dtype of ["f32", "f64"] as const) {
  for (const [name, fn] of Object.entries(functions)) {
    test(`${name} in ${dtype}, two matrices of 21 rows`, () => {
      const type = tensorType(dtype, [2, 21, 21]);
      const noise = randomHost(type, seededRandom(3));
      const data = noise.data.map((x, i) => Math.fround(x + (Math.floor(i / 21) % 21 === i % 21 ? 12 + (i % 21) : 0)));
      const { graph } = trace(name, fn as (x: Tensor) => unknown, [type]);
      const inputs: HostTensor[] = [{ type, data }];
      const expected = interpret(graph, inputs);
      runCompiled(graph, inputs).forEach((result, i) => {
        const error = relativeError(result.data, expected[i]!.data);
        assert.ok(error < (dtype === "f32" ? 1e-5 : 1e-13), `result ${i}: ${error}`);
      });
    });
  }
}

test("rows of many numbers, equal ones among them, in every dtype and direction", () => {
  for (const dtype of ["f32", "f64", "i32"] as const) {
    for (const descending of [false, true]) {
      for (const columns of [1, 2, 513, 1300]) {
        const type = tensorType(dtype, [3, columns]);
        const { graph } = trace("sort", (x: Tensor) => sortWithIndices(x as Matrix, { descending }), [type]);
        const random = seededRandom(columns);
        const data = Float64Array.from({ length: 3 * columns }, () => Math.floor(random() * columns) - (columns >> 1));
        if (dtype !== "i32" && columns > 2) data[7] = Number.NaN;
        const expected = interpret(graph, [{ type, data }]);
        runCompiled(graph, [{ type, data }]).forEach((result, i) => assert.deepEqual(result.data, expected[i]!.data));
      }
    }
  }
});

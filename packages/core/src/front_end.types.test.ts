// What the compiler knows of tensors: shapes and dtypes through the front end. Checked by `tsc`, and traced once at run
// time so that types and graphs cannot drift apart.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  cast,
  concat,
  eq,
  exp,
  gather,
  matmul,
  mul,
  reduceSum,
  select,
  splat,
  tensorType,
  trace,
  transpose,
} from "./index.ts";
import type { Shape, Tensor } from "./index.ts";

/** The shape of a tensor whose shape in the type system is `S`, or more exact. */
function shapeOf<S extends Shape>(x: Tensor<S>): readonly number[] {
  return x.shape;
}

test("shapes and dtypes follow the values", () => {
  const types = [tensorType("f32", [5, 2, 3]), tensorType("f32", [3, 4]), tensorType("i32", [5])] as const;
  trace(
    "f",
    (x, w, ids) => {
      const y = matmul(x, w);
      assert.deepEqual(shapeOf<readonly [5, 2, 4]>(y), [5, 2, 4]);
      assert.deepEqual(shapeOf<readonly [5, 2, 3]>(matmul(y, w, { transposeB: true })), [5, 2, 3]);
      assert.deepEqual(shapeOf<readonly [5, 2, 3]>(add(x, splat(1, [3]))), [5, 2, 3]);
      assert.deepEqual(shapeOf<readonly [5, 2, 3]>(mul(splat(1, [2, 1]), x)), [5, 2, 3]);
      assert.deepEqual(shapeOf<readonly [5, 3, 2]>(transpose(x)), [5, 3, 2]);
      assert.deepEqual(shapeOf<readonly [3, 5, 2]>(transpose(x, [2, 0, 1])), [3, 5, 2]);
      assert.deepEqual(shapeOf<readonly [5, 2]>(reduceSum(x, -1)), [5, 2]);
      assert.deepEqual(shapeOf<readonly [5, 1, 3]>(reduceSum(x, 1, true)), [5, 1, 3]);
      assert.deepEqual(shapeOf<readonly [5, 4]>(gather(w, select(eq(ids, 9), 0, ids))), [5, 4]);
      assert.deepEqual(shapeOf<readonly [5, number, 3]>(concat([x, x], 1)), [5, 4, 3]);
      const mask: Tensor<readonly [5], "bool"> = eq(ids, 1);
      const real: Tensor<readonly [5], "f64"> = cast(ids, "f64");
      return [mask, real, exp(x)];
    },
    types,
  );
});

/** Never called: every line is an error, and the compiler says so or `tsc` fails. */
export function refused(
  x: Tensor<["batch", 768], "f32">,
  y: Tensor<[512], "f32">,
  n: Tensor<["batch", 768], "i32">,
): void {
  // @ts-expect-error shapes that do not broadcast
  add(x, y);
  // @ts-expect-error dtypes that differ
  add(x, n);
  // @ts-expect-error an integer has no exponential here
  exp(n);
  // @ts-expect-error inner dimensions that differ
  matmul(x, transpose(x, [0, 1]));
  // @ts-expect-error a permutation that does not name every axis
  transpose(x, [0]);
  // @ts-expect-error row numbers that are not integers
  gather(x, y);
  // @ts-expect-error a mask that is not a bool
  select(n, x, x);
  // @ts-expect-error a result of another shape
  const wrong: Tensor<["batch", 512], "f32"> = exp(x);
  void wrong;
}

// Functions over tensors, called with plain numbers.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as T from "./index.ts";
import { ArgumentError, createInterpreter, jit, tensorType } from "./index.ts";

const device = createInterpreter();
const pair = { weight: tensorType("f64", [2, 2]), bias: tensorType("f64", []) };

test("trees of arguments and results, scalars as numbers", async () => {
  const affine = await jit(
    device,
    ({ weight, bias }, x) => ({ y: T.add(T.matmul(x, weight), bias), total: T.reduceSum(weight) }),
    [pair, tensorType("f64", [1, 2])],
  );
  const first = affine({ weight: [1, 2, 3, 4], bias: 0.5 }, Float64Array.of(1, 1));
  assert.deepEqual(first, { y: Float64Array.of(4.5, 6.5), total: 10 });
  const second = affine({ weight: [0, 0, 0, 0], bias: 1 }, [1, 1]);
  assert.deepEqual([...first.y, ...second.y], [4.5, 6.5, 1, 1], "earlier results stay");
  affine.free();
});

test("float32 and integers keep their dtypes", async () => {
  const rows = await jit(device, (table, ids) => T.gather(table, ids), [
    tensorType("f32", [3, 1]),
    tensorType("i32", [2]),
  ]);
  assert.deepEqual(rows([0.1, 2, 3], [2, 0]), Float32Array.of(3, 0.1));
});

test("arguments that do not fit are named", async () => {
  const sum = await jit(device, ({ weight, bias }) => T.add(T.reduceSum(weight), bias), [pair]);
  assert.throws(
    () => sum({ weight: [1, 2, 3], bias: 0 }),
    (error: unknown) => error instanceof ArgumentError && /argument 0\.weight.*4 numbers.*got: +3/s.test(error.message),
  );
  assert.throws(() => sum({ weight: [1, 2, 3, 4] } as never), /argument 0\.bias.*got: +undefined/s);
  await assert.rejects(
    jit(device, (x) => T.cast(x, "bf16"), [tensorType("f32", [1])]),
    /cannot pass bf16\[1\]/,
  );
});

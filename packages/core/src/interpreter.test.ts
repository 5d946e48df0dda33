// The reference device: storage in each dtype's layout, binding, donation, and its errors.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Dtype } from "./dtype.ts";
import { DTYPES } from "./dtype.ts";
import type { Tensor } from "./graph.ts";
import { decodeTensor, encodeTensor } from "./host.ts";
import { createInterpreter, ExecutionError, interpret } from "./interpreter.ts";
import { add } from "./ops/add.ts";
import { dynamicUpdateSlice } from "./ops/dynamic_update_slice.ts";
import { gather } from "./ops/gather.ts";
import { storageBytes } from "./storage.ts";
import { randomHost, seededRandom } from "./testing.ts";
import { tensorType, trace } from "./trace.ts";

test("storage gives back what was stored, in every dtype", () => {
  const random = seededRandom(7);
  for (const dtype of Object.keys(DTYPES) as Dtype[]) {
    for (const shape of [
      [1, 1],
      [3, 17],
      [33, 40],
    ]) {
      const tensor = randomHost({ dtype, shape }, random, [-2, 2]);
      const bytes = new Uint8Array(storageBytes(tensor.type));
      encodeTensor(tensor, bytes);
      assert.deepEqual(decodeTensor(tensor.type, bytes), tensor, `${dtype} [${shape.join(", ")}]`);
    }
  }
});

test("a bound program reads and writes its tensors at every run", async () => {
  const device = createInterpreter();
  const type = tensorType("f32", [2]);
  const { graph } = trace("count", (x: Tensor) => add(x, 1), [type]);
  const program = await device.compile(graph, { donations: [{ parameter: 0, result: 0 }] });
  const state = device.tensor(type);
  program.bind([state], [state]);
  state.f32().set([1, 0.1]);
  program.run();
  await program.runAsync();
  assert.deepEqual(Array.from(state.f32()), [3, Math.fround(2.1)]);
  program.free();
  assert.throws(() => program.run(), ExecutionError);
  state.free();
  assert.throws(() => state.f32(), /after free/);
  await device.close();
  assert.throws(() => device.tensor(type), ExecutionError);
});

test("a view shares the first bytes of a tensor, and dies with it", () => {
  const device = createInterpreter();
  const tensor = device.tensor(tensorType("f32", [3, 2]));
  const view = tensor.view(tensorType("f32", [2, 2]));
  view.f32().set([1, 2, 3, 4]);
  assert.deepEqual(Array.from(tensor.f32()), [1, 2, 3, 4, 0, 0]);
  view.free();
  assert.equal(view.f32()[3], 4);
  assert.throws(() => view.view(tensorType("f32", [3, 2])), /at most the 16 bytes of f32\[2, 2\]/);
  tensor.free();
  assert.throws(() => view.f32(), /after free/);
});

test("wrong inputs, bindings and donations are refused by name", async () => {
  const device = createInterpreter();
  const [two, three] = [tensorType("f32", [2]), tensorType("f32", [3])];
  const { graph } = trace("f", (x: Tensor) => add(x, 1), [two]);
  assert.throws(() => interpret(graph, []), /expected: f32\[2\]/);
  const program = await device.compile(graph);
  assert.throws(() => program.bind([device.tensor(three)], [device.tensor(two)]), /got: {6}f32\[3\]/);
  assert.throws(() => program.bind([device.tensor(two)], []), ExecutionError);
  await assert.rejects(device.compile(graph, { donations: [{ parameter: 0, result: 1 }] }), ExecutionError);
  const donated = await device.compile(graph, { donations: [{ parameter: 0, result: 0 }] });
  assert.throws(() => donated.bind([device.tensor(two)], [device.tensor(two)]), /is donated/);
});

test("indices outside what they index are refused", () => {
  const table = { type: tensorType("f32", [3, 1]), data: Float64Array.of(5, 6, 7) };
  const scalar = (value: number) => ({ type: tensorType("i32", []), data: Float64Array.of(value) });
  const look = trace("look", (t: Tensor, i: Tensor) => gather(t, i as Tensor<[], "i32">), [
    table.type,
    scalar(0).type,
  ]).graph;
  assert.deepEqual(Array.from(interpret(look, [table, scalar(2)])[0]!.data), [7]);
  assert.throws(() => interpret(look, [table, scalar(3)]), /there is no row 3 in a table of 3 rows/);
  const write = trace(
    "write",
    (x: Tensor, u: Tensor, i: Tensor) => dynamicUpdateSlice(x, u, i as Tensor<[], "i32">, 0),
    [table.type, tensorType("f32", [2, 1]), scalar(0).type],
  ).graph;
  const update = { type: tensorType("f32", [2, 1]), data: Float64Array.of(1, 2) };
  assert.deepEqual(Array.from(interpret(write, [table, update, scalar(1)])[0]!.data), [5, 1, 2]);
  assert.throws(() => interpret(write, [table, update, scalar(2)]), /outside an axis of 3/);
});

// Ops that move elements: by hand for small tensors, and across the borders of chunks for large ones.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Tensor } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import { interpret } from "../interpreter.ts";
import { tensorType, trace } from "../trace.ts";
import { concat } from "./concat.ts";
import { gather } from "./gather.ts";
import { iota } from "./iota.ts";
import { pad } from "./pad.ts";
import { scatterAdd } from "./scatter_add.ts";
import { slice, sliceAxis } from "./slice.ts";
import { transpose } from "./transpose.ts";

const matrix: HostTensor = { type: tensorType("f32", [2, 3]), data: Float64Array.of(1, 2, 3, 4, 5, 6) };

function run(
  fn: (...tensors: Tensor[]) => Tensor,
  ...inputs: HostTensor[]
): { shape: readonly number[]; data: number[] } {
  const { graph } = trace(
    "layout",
    (...tensors: Tensor[]) => fn(...tensors),
    inputs.map((input) => input.type),
  );
  const [result] = interpret(graph, inputs);
  return { shape: result!.type.shape, data: Array.from(result!.data) };
}

test("transpose, slice, pad and concat move elements to their places", () => {
  assert.deepEqual(
    run((x) => transpose(x), matrix),
    { shape: [3, 2], data: [1, 4, 2, 5, 3, 6] },
  );
  assert.deepEqual(
    run((x) => slice(x, [1, 0], [2, 2]), matrix),
    { shape: [1, 2], data: [4, 5] },
  );
  assert.deepEqual(
    run((x) => sliceAxis(x, -1, 1, 3), matrix),
    { shape: [2, 2], data: [2, 3, 5, 6] },
  );
  assert.deepEqual(
    run((x) => pad(x, [0, 1], [1, 0], 9), matrix),
    { shape: [3, 4], data: [9, 1, 2, 3, 9, 4, 5, 6, 9, 9, 9, 9] },
  );
  assert.deepEqual(
    run((x) => concat([x, x], 1), matrix),
    { shape: [2, 6], data: [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6] },
  );
  assert.deepEqual(
    run(() => iota([2, 3])),
    { shape: [2, 3], data: [0, 1, 2, 0, 1, 2] },
  );
});

test("gather picks rows and scatter_add adds them back", () => {
  const ids: HostTensor = { type: tensorType("i32", [3]), data: Float64Array.of(1, 0, 1) };
  const look = (table: Tensor, i: Tensor): Tensor => gather(table, i as Tensor<[number], "i32">);
  assert.deepEqual(run(look, matrix, ids), { shape: [3, 3], data: [4, 5, 6, 1, 2, 3, 4, 5, 6] });
  const addBack = (rows: Tensor, i: Tensor): Tensor =>
    scatterAdd(i as Tensor<[number], "i32">, rows as Tensor<readonly number[], "f32">, 2);
  const rows: HostTensor = { type: tensorType("f32", [3, 1]), data: Float64Array.of(1, 10, 100) };
  assert.deepEqual(run(addBack, rows, ids), { shape: [2, 1], data: [10, 101] });
});

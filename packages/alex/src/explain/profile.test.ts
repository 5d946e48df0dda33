// Profiles and ceilings on a device: every call has a time, and the memory that they took is given back.

import assert from "node:assert/strict";
import { test } from "node:test";
import { linearRecurrence, matmul, mul, scan, softmax, tensorType, trace } from "@fidelity/core";
import type { Graph, Shape, Tensor, TensorType } from "@fidelity/core";
import { compileStages } from "../compile.ts";
import { createDevice } from "../index.node.ts";
import { measureCeilings } from "./ceilings.ts";
import { explainProgram } from "./explain.ts";
import { profileProgram } from "./profile.ts";

type Rows = Tensor<Shape, "f32">;

function check(graph: Graph, donations: readonly { parameter: number; result: number }[] = []) {
  return async (): Promise<void> => {
    const compiled = compileStages(graph, { target: { lanes: 4, joinsVectors: true }, donations });
    const device = createDevice({ threads: 2 });
    const tensors = (types: readonly { readonly type: TensorType }[]) => types.map(({ type }) => device.tensor(type));
    const inputs = tensors(graph.parameters);
    const results = tensors(graph.results);
    for (const { parameter, result } of donations) results[result] = inputs[parameter]!;
    const { callSeconds, seconds, threads } = await profileProgram(device, compiled.program, [...inputs, ...results], {
      rounds: 3,
    });
    assert.equal(callSeconds.length, explainProgram(compiled).calls.length);
    for (const time of [seconds, ...callSeconds]) assert.ok(Number.isFinite(time) && time >= 0);
    assert.ok(seconds > 0 && threads === 2);
    await device.close(); // throws when memory was kept
  };
}

const matrix = tensorType("f32", [64, 64]);

test(
  "calls side by side",
  check(trace("heads", (x, a, b) => [softmax(matmul(x, a)), softmax(matmul(x, b))], [matrix, matrix, matrix]).graph),
);

test(
  "loops over time, with states that are updated in place",
  check(
    trace("steps", (state, xs) => scan((h: Rows, x) => ({ carry: mul(h, x as Rows), y: h }), state as Rows, xs).carry, [
      tensorType("f32", [64]),
      tensorType("f32", [5, 64]),
    ]).graph,
    [{ parameter: 0, result: 0 }],
  ),
);

test(
  "recurrences",
  check(
    trace("recurrence", (f, x, h) => linearRecurrence(f as never, x as never, h as never), [
      tensorType("f32", [1, 4, 32]),
      tensorType("f32", [1, 4, 32]),
      tensorType("f32", [1, 32]),
    ]).graph,
  ),
);

test("ceilings of a device are rates, for the team and for one member", async () => {
  const device = createDevice({ threads: 2 });
  const target = { lanes: 4 };
  const { team, one, threads } = await measureCeilings(device, {
    target,
    sampleMs: 1,
    bandwidthBytes: [2 ** 14, 2 ** 16],
  });
  assert.equal(threads, 2);
  for (const rates of [team, one]) {
    assert.deepEqual(
      rates.bandwidths.map(({ sizeBytes }) => sizeBytes),
      [2 ** 14, 2 ** 16],
    );
    const all = [
      ...rates.bandwidths.map(({ bytesPerSecond }) => bytesPerSecond),
      rates.f32PerSecond,
      rates.int8PerSecond,
    ];
    assert.ok(all.every((rate) => Number.isFinite(rate) && rate > 0));
  }
  await device.close();
});

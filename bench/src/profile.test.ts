// Profiles: reports of the runtime as it prints them, and times by family.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { matmul, mul, reduceSum, tensorType, trace } from "@fidelity/core";
import { longestItems, parseReport, Profile, timeByFamily } from "./profile.ts";

test("a report of an item gives labels and milliseconds; other lines give nothing", () => {
  assert.deepEqual(parseReport("step: parallel matmul | copy: 8 runs, min 1.20 ms, median 1.31 ms"), {
    labels: ["matmul", "copy"],
    medianMs: 1.31,
  });
  assert.deepEqual(parseReport("step: loop 3 x (mul+add | and 2 more): 1 runs, min 59.1 us, median 65.5 us"), {
    labels: ["mul+add", "and 2 more"],
    medianMs: 0.0655,
  });
  assert.equal(parseReport("step: 40 runs, min 1.20 ms, median 1.31 ms"), undefined);
  assert.equal(parseReport("step: 92 kernels, 189 schedule items, 699 buffers"), undefined);
});

test("items belong to the weightiest of what they call, and families are in order of time", () => {
  const items = [
    { labels: ["copy", "matmul"], medianMs: 1 },
    { labels: ["mul+add"], medianMs: 6 },
    { labels: ["matmul"], medianMs: 2 },
    { labels: ["ternarize_pack"], medianMs: 0.5 },
    { labels: ["copy"], medianMs: 0.5 },
  ];
  assert.deepEqual(
    longestItems(items, 2).map(({ name, timeMs }) => [name, timeMs]),
    [
      ["mul+add", 6],
      ["matmul", 2],
    ],
  );
  assert.deepEqual(
    timeByFamily(items).map(({ name, items, timeMs, share }) => [name, items, timeMs, share]),
    [
      ["fused rows", 1, 6, 0.6],
      ["matmul", 2, 3, 0.3],
      ["pack and quantise", 1, 0.5, 0.05],
      ["other", 1, 0.5, 0.05],
    ],
  );
});

test("a device reports every item of a program to a profile", async () => {
  const profile = new Profile();
  const device = createDevice({ threads: 1, debug: profile.sink });
  const square = tensorType("f32", [16, 16]);
  const { graph } = trace("p", (x, y) => reduceSum(mul(matmul(x, y), x)), [square, square]);
  const executable = await device.compile(graph);
  const tensors = (types: typeof executable.resultTypes) => types.map((type) => device.tensor(type));
  executable.bind(tensors(executable.parameterTypes), tensors(executable.resultTypes));
  executable.run();
  executable.free();
  await device.close();
  const labels = profile.items.flatMap((item) => item.labels);
  assert.ok(labels.includes("matmul") && labels.length > 1, labels.join(", "));
  assert.ok(profile.items.every(({ medianMs }) => medianMs > 0));
});

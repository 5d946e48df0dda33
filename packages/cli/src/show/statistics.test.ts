import assert from "node:assert/strict";
import { test } from "node:test";
import { tensorStatistics } from "./statistics.ts";

test("range, moments, zeros and a histogram that counts every finite value once", () => {
  const statistics = tensorStatistics(Float32Array.of(-1, 0, 0, 1, 2, Number.NaN, Infinity));
  const { count, least, greatest, mean, zeros, nonFinite, histogram } = statistics;
  assert.deepEqual([count, least, greatest, zeros, nonFinite], [7, -1, 2, 2, 2]);
  assert.ok(Math.abs(mean - 0.4) < 1e-12);
  assert.ok(Math.abs(statistics.deviation - Math.sqrt(1.04)) < 1e-12);
  assert.equal(
    histogram.reduce((a, b) => a + b, 0),
    5,
  );
  assert.equal(histogram[0], 1);
  assert.equal(histogram.at(-1), 1);
});

test("constant and empty tensors have no width", () => {
  const constant = tensorStatistics(new Float32Array(4).fill(3));
  assert.deepEqual([constant.deviation, constant.histogram[0]], [0, 4]);
  assert.equal(tensorStatistics(new Float32Array(0)).count, 0);
});

// Medians, quartiles and paired ratios, by their definitions.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { mean, median, pairedRatios, quantile, standardError, summarise } from "./statistics.ts";

const samples = fc.array(fc.double({ min: 0.5, max: 1e9, noNaN: true }), { minLength: 1, maxLength: 30 });

test("quantiles interpolate between the samples beside them", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(quantile([10, 20, 30, 40, 50], 0.25), 20);
  assert.equal(quantile([10, 20], 0.25), 12.5);
  assert.deepEqual(summarise([7]), { median: 7, low: 7, high: 7 });
});

test("a summary is in order, within the samples, and leaves them as they are", () => {
  fc.assert(
    fc.property(samples, (values) => {
      const before = [...values];
      const { low, median, high } = summarise(values);
      assert.ok(Math.min(...values) <= low && low <= median && median <= high && high <= Math.max(...values));
      assert.deepEqual(values, before);
    }),
  );
});

test("drift that hits both sides falls out of a paired ratio", () => {
  fc.assert(
    fc.property(samples, fc.double({ min: 0.1, max: 10, noNaN: true }), (drift, ratio) => {
      const got = pairedRatios(
        drift.map((speed) => speed * ratio),
        drift,
      );
      for (const one of [got.low, got.median, got.high]) assert.ok(Math.abs(one / ratio - 1) < 1e-9);
    }),
  );
});

test("means and their standard errors", () => {
  assert.equal(mean([1, 2, 6]), 3);
  // Deviations -2, -1, 3: variance 14 / 2, over 3 samples.
  assert.equal(standardError([1, 2, 6]), Math.sqrt(7 / 3));
  assert.equal(standardError([5, 5]), 0);
});

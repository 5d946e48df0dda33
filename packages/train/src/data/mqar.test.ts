import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NO_TARGET } from "@fidelity/models";
import { DataSettingError, mqarTask, symbolTokenizer } from "./index.ts";

const sizes = fc
  .record({
    pairs: fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 3 }),
    extraSymbols: fc.integer({ min: 0, max: 20 }),
    extraTime: fc.integer({ min: 0, max: 9 }),
    batchSize: fc.integer({ min: 1, max: 4 }),
    seed: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    step: fc.integer({ min: 0, max: 1e9 }),
    power: fc.constantFrom(0.01, 1, 2),
  })
  .map(({ pairs, extraSymbols, extraTime, ...rest }) => {
    const most = Math.max(...pairs);
    return { pairs, vocabSize: 2 * most + 2 + extraSymbols, contextLength: 4 * most + extraTime, ...rest };
  });

/** The rows of a batch, in training or in validation. */
function rowsOf(
  {
    pairs,
    vocabSize,
    power,
    batchSize,
    contextLength,
    seed,
  }: { pairs: number[]; vocabSize: number; power: number } & {
    batchSize: number;
    contextLength: number;
    seed: number;
  },
  index: number,
  kind: "batch" | "validationBatch",
): { inputs: number[]; targets: number[] }[] {
  const batches = mqarTask({ vocabSize, pairs, power }).batches({ batchSize, contextLength, seed });
  const [inputs, targets] = [new Int32Array(batchSize * contextLength), new Int32Array(batchSize * contextLength)];
  batches[kind](index, inputs, targets);
  const row = (array: Int32Array, at: number): number[] =>
    Array.from(array.subarray(at * contextLength, (at + 1) * contextLength));
  return Array.from({ length: batchSize }, (_, at) => ({ inputs: row(inputs, at), targets: row(targets, at) }));
}

test("each key stands once before its value, and is asked for once more; what is left is filler", () => {
  fc.assert(
    fc.property(sizes, fc.constantFrom("batch", "validationBatch"), (options, kind) => {
      const firstValue = options.vocabSize >> 1;
      for (const { inputs, targets } of rowsOf(options, options.step, kind)) {
        const asked = inputs.map((_, time) => time).filter((time) => targets[time] !== NO_TARGET);
        const count = asked.length;
        assert.ok(options.pairs.includes(count));
        const [keys, values] = [0, 1].map((at) => Array.from({ length: count }, (_, pair) => inputs[2 * pair + at]));
        assert.ok(keys.every((key) => key >= 1 && key < firstValue) && new Set(keys).size === count);
        assert.ok(values.every((v) => v >= firstValue && v < options.vocabSize) && new Set(values).size === count);
        for (const time of asked) {
          assert.ok(time >= 2 * count && time % 2 === 0);
          assert.equal(targets[time], values[keys.indexOf(inputs[time])]);
        }
        const others = inputs.filter((_, time) => time >= 2 * count && !asked.includes(time));
        assert.ok(others.every((token) => token === 0));
      }
    }),
  );
});

test("a batch depends on seed and step alone, and validation not even on the seed", () => {
  fc.assert(
    fc.property(sizes, (options) => {
      const { step } = options;
      assert.deepEqual(rowsOf(options, step, "batch"), rowsOf(options, step, "batch"));
      const other = { ...options, seed: options.seed === 0 ? 1 : options.seed - 1 };
      assert.deepEqual(rowsOf(options, step, "validationBatch"), rowsOf(other, step, "validationBatch"));
    }),
  );
  const options = { pairs: [6], vocabSize: 64, power: 1, batchSize: 4, contextLength: 40, seed: 1 };
  assert.notDeepEqual(rowsOf(options, 1, "batch"), rowsOf(options, 2, "batch"));
  assert.notDeepEqual(rowsOf(options, 1, "batch"), rowsOf({ ...options, seed: 2 }, 1, "batch"));
  assert.notDeepEqual(rowsOf(options, 1, "batch"), rowsOf(options, 1, "validationBatch"));
});

test("a small power puts queries near the pairs, and a power of 1 anywhere", () => {
  const meanGap = (power: number): number => {
    const options = { pairs: [1], vocabSize: 8, power, batchSize: 4, contextLength: 66, seed: 3 };
    const gaps = Array.from({ length: 100 }, (_, step) => rowsOf(options, step, "batch"))
      .flat()
      .map(({ targets }) => (targets.findIndex((target) => target !== NO_TARGET) - 2) / 2);
    return gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  };
  // 32 gaps: the mean of an even draw is 15.5; that of p(i) ~ i^-0.99 is 32 / (sum of i^-0.99 = 4.1) - 1.
  assert.ok(Math.abs(meanGap(1) - 15.5) < 1.5, String(meanGap(1)));
  assert.ok(Math.abs(meanGap(0.01) - 6.8) < 1.5, String(meanGap(0.01)));
});

test("what cannot be is named", () => {
  const options = { batchSize: 2, contextLength: 32, seed: 0 };
  assert.throws(() => mqarTask({ vocabSize: 16, pairs: [8] }), /8 pairs need more symbols(.|\n)*at least 18/);
  assert.doesNotThrow(() => mqarTask({ vocabSize: 18, pairs: [8] }));
  assert.throws(
    () => mqarTask({ vocabSize: 64, pairs: [4, 9] }).batches(options),
    /too short for 9 pairs(.|\n)*36 tokens/,
  );
  for (const wrong of [
    { pairs: [] },
    { pairs: [0] },
    { pairs: [1.5] },
    { power: 0 },
    { vocabSize: -1 },
    { power: NaN },
  ])
    assert.throws(() => mqarTask({ vocabSize: 64, pairs: [2], ...wrong }), DataSettingError);
  assert.throws(() => mqarTask({ vocabSize: 64, pairs: [2] }).batches({ ...options, batchSize: 0 }), DataSettingError);
  assert.throws(() => symbolTokenizer(30_000), DataSettingError);
  assert.equal(symbolTokenizer(40).vocabSize, 40);
});

test("the fingerprint tells tasks apart", () => {
  const of = (pairs: number[], vocabSize = 64): string => mqarTask({ vocabSize, pairs }).fingerprint;
  assert.equal(of([2, 4]), of([2, 4]));
  assert.equal(new Set([of([2, 4]), of([4]), of([2, 4], 66)]).size, 3);
});

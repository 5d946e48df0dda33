import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Batches, CorpusTooShortError, DataSettingError, splitTokens } from "./index.ts";

/** Tokens that tell their own position. */
const positions = (length: number): Int32Array => Int32Array.from({ length }, (_, position) => position);

function take(batches: Batches, step: number): { inputs: Int32Array; targets: Int32Array } {
  const size = batches.batchSize * batches.contextLength;
  const batch = { inputs: new Int32Array(size), targets: new Int32Array(size) };
  batches.batch(step, batch.inputs, batch.targets);
  return batch;
}

test("the first nine tenths train and the rest validates", () => {
  const { train, validation } = splitTokens(positions(1005));
  assert.deepEqual([train.length, validation.length, validation[0]], [904, 101, 904]);
});

test("a batch depends on seed and step alone; windows are runs of training tokens, targets one ahead", () => {
  const sizes = fc.record({
    length: fc.integer({ min: 100, max: 400 }),
    batchSize: fc.integer({ min: 1, max: 5 }),
    contextLength: fc.integer({ min: 1, max: 9 }),
    seed: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  });
  fc.assert(
    fc.property(sizes, fc.integer({ min: 0, max: 1e9 }), ({ length, ...options }, step) => {
      const tokens = positions(length);
      const straight = new Batches(tokens, options);
      take(straight, 0);
      const { inputs, targets } = take(straight, step);
      assert.deepEqual(take(new Batches(tokens, options), step), { inputs, targets });
      const trainLength = splitTokens(tokens).train.length;
      inputs.forEach((token, index) => {
        assert.equal(targets[index], token + 1);
        assert.ok(targets[index] < trainLength);
        if (index % options.contextLength > 0) assert.equal(token, inputs[index - 1] + 1);
      });
    }),
  );
});

test("steps and seeds give other batches, and the first and the last training token are both reached", () => {
  const options = { batchSize: 8, contextLength: 4, seed: 1 };
  const tokens = positions(60); // 54 train
  const batches = new Batches(tokens, options);
  assert.notDeepEqual(take(batches, 0), take(batches, 1));
  assert.notDeepEqual(take(new Batches(tokens, { ...options, seed: 2 }), 0), take(batches, 0));
  const seen = new Set<number>();
  for (let step = 0; step < 100; step++) for (const token of take(batches, step).targets) seen.add(token);
  assert.deepEqual(
    Array.from(seen).sort((a, b) => a - b),
    Array.from({ length: 53 }, (_, index) => index + 1),
  );
});

test("validation covers every token with the default count, and both ends with any count", () => {
  const sizes = fc.record({
    length: fc.integer({ min: 110, max: 2000 }),
    batchSize: fc.integer({ min: 1, max: 7 }),
    contextLength: fc.integer({ min: 1, max: 10 }),
    count: fc.integer({ min: 2, max: 5 }),
  });
  fc.assert(
    fc.property(sizes, ({ length, batchSize, contextLength, count }) => {
      const tokens = positions(length);
      const batches = new Batches(tokens, { batchSize, contextLength, seed: 0 });
      const { validation } = splitTokens(tokens);
      const inputs = new Int32Array(batchSize * contextLength);
      const targets = new Int32Array(batchSize * contextLength);
      const scored = new Set<number>();
      for (let index = 0; index < batches.validationBatchCount; index++) {
        batches.validationBatch(index, inputs, targets);
        for (const token of targets) scored.add(token);
      }
      assert.deepEqual(
        Array.from(scored).sort((a, b) => a - b),
        Array.from(validation.subarray(1)),
      );
      batches.validationBatch(0, inputs, targets, count);
      assert.equal(inputs[0], validation[0]);
      batches.validationBatch(count - 1, inputs, targets, count);
      assert.equal(targets[targets.length - 1], validation[validation.length - 1]);
    }),
  );
});

test("too little text and impossible sizes are named", () => {
  const options = { batchSize: 2, contextLength: 64, seed: 0 };
  assert.throws(
    () => new Batches(positions(300), options),
    (error) => {
      assert.ok(error instanceof CorpusTooShortError);
      assert.match(error.message, /context of 64(.|\n)*about 650 tokens(.|\n)*got: +300(.|\n)*at most 29/);
      return true;
    },
  );
  assert.throws(() => new Batches(positions(0), options), /use more text/);
  assert.doesNotThrow(() => new Batches(positions(300), { ...options, contextLength: 29 }));
  for (const wrong of [{ batchSize: 0 }, { contextLength: 1.5 }, { batchSize: 2 ** 30 }, { contextLength: NaN }]) {
    assert.throws(() => new Batches(positions(3000), { ...options, ...wrong }), DataSettingError);
  }
  const batches = new Batches(positions(3000), options);
  assert.throws(() => batches.batch(0, new Int32Array(3), new Int32Array(3)), /a batch has 128 tokens/);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { philox4x32, randomPurpose, RandomStream, SeedError } from "./random.ts";

const seeds = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });

test("philox 4x32-10 gives the published answers", () => {
  // kat_vectors of Random123 (D. E. Shaw Research), the rows "philox4x32 10".
  const rows: readonly (readonly [counter: number[], key: number[], answer: number[]])[] = [
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ];
  for (const [counter, key, answer] of rows) {
    const out = new Uint32Array(4);
    philox4x32(Uint32Array.from(counter), key[0], key[1], out);
    assert.deepEqual(Array.from(out), answer);
  }
});

test("the numbers of a step depend on seed, step and purpose alone, in any order of asking", () => {
  fc.assert(
    fc.property(seeds, seeds, seeds, (seed, step, otherStep) => {
      const take = (stream: RandomStream): number[] => Array.from({ length: 9 }, () => stream.word());
      const direct = take(new RandomStream(seed, step, randomPurpose.batches));
      const roundabout = new RandomStream(seed, otherStep, randomPurpose.batches);
      take(roundabout);
      roundabout.seek(step);
      assert.deepEqual(take(roundabout), direct);
      assert.notDeepEqual(take(new RandomStream(seed, step, randomPurpose.sampling)), direct);
      const neighbour = step === 0 ? 1 : step - 1;
      assert.notDeepEqual(take(new RandomStream(seed, neighbour, randomPurpose.batches)), direct);
    }),
  );
});

test("filling is drawing one by one, from wherever the stream is", () => {
  const skipped = fc.integer({ min: 0, max: 9 });
  fc.assert(
    fc.property(seeds, skipped, fc.integer({ min: 0, max: 600 }), (seed, skip, length) => {
      const [filled, drawn] = [new RandomStream(seed, 5), new RandomStream(seed, 5)];
      for (const stream of [filled, drawn]) for (let i = 0; i < skip; i++) stream.word();
      const normals = new Float64Array(length);
      const uniforms = new Float32Array(length);
      filled.fillNormal(normals, 1, 2);
      filled.fillUniform(uniforms, -1, 3);
      assert.deepEqual(
        normals,
        Float64Array.from(normals, () => 1 + 2 * drawn.normal()),
      );
      assert.deepEqual(
        uniforms,
        Float32Array.from(uniforms, () => -1 + 4 * drawn.uniform()),
      );
      assert.equal(filled.word(), drawn.word());
    }),
    { numRuns: 50, seed: 1 },
  );
});

test("uniform, below and normal have the moments that they should", () => {
  const stream = new RandomStream(7);
  const count = 20_000;
  const uniforms = Float64Array.from({ length: count }, () => stream.uniform());
  const normals = new Float64Array(count);
  stream.fillNormal(normals, 3, 2);
  const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = (values: Float64Array): number => mean(values.map((value) => (value - mean(values)) ** 2));
  // Four standard errors of each estimate.
  assert.ok(uniforms.every((value) => value >= 0 && value < 1));
  assert.ok(Math.abs(mean(uniforms) - 0.5) < 4 * Math.sqrt(1 / 12 / count));
  assert.ok(Math.abs(mean(normals) - 3) < 4 * (2 / Math.sqrt(count)));
  const spread = normals.subarray(0, 2000);
  assert.ok(Math.abs(variance(spread) - 4) < 4 * 4 * Math.sqrt(2 / spread.length));
  const counts = new Int32Array(6);
  for (let draw = 0; draw < count; draw++) counts[stream.below(6)]++;
  const chiSquared = counts.reduce((sum, seen) => sum + (seen - count / 6) ** 2 / (count / 6), 0);
  assert.ok(chiSquared < 20.5, `chi-squared ${chiSquared} with 5 degrees of freedom`); // p = 0.001
});

test("below reaches every integer and nothing else; fillUniform stays in its range", () => {
  fc.assert(
    fc.property(seeds, fc.integer({ min: 1, max: 2 ** 32 }), (seed, limit) => {
      const value = new RandomStream(seed).below(limit);
      assert.ok(Number.isInteger(value) && value >= 0 && value < limit);
    }),
  );
  const values = new Float64Array(500);
  new RandomStream(1).fillUniform(values, -2, -1);
  assert.ok(values.every((value) => value >= -2 && value < -1));
});

test("a seed that is no integer from 0 to 2^53 - 1 is refused", () => {
  for (const seed of [-1, 1.5, NaN, 2 ** 53]) assert.throws(() => new RandomStream(seed), SeedError);
});

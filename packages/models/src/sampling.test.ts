import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { randomPurpose, RandomStream } from "./random.ts";
import { LogitsError, Sampler } from "./sampling.ts";
import { topLogprobs } from "./sampling/logprobs.ts";
import { SamplingOptionError } from "./sampling/options.ts";
import type { SamplerOptions } from "./sampling/options.ts";

/** Logits whose softmax is exactly these probabilities. */
const logitsOf = (...probabilities: number[]): Float32Array => Float32Array.from(probabilities, Math.log);

function frequencies(logits: Float32Array, options: SamplerOptions, drawCount = 20_000): number[] {
  const sampler = new Sampler(logits.length, options);
  const counts = new Array<number>(logits.length).fill(0);
  for (let draw = 0; draw < drawCount; draw++) counts[sampler.sample(logits)]++;
  return counts.map((count) => count / drawCount);
}

/** Within four standard errors of a binomial proportion, and exactly zero where zero is expected. */
function assertDistribution(got: readonly number[], expected: readonly number[], drawCount = 20_000): void {
  assert.equal(got.length, expected.length);
  expected.forEach((probability, token) => {
    const tolerance = 4 * Math.sqrt((probability * (1 - probability)) / drawCount);
    assert.ok(Math.abs(got[token] - probability) <= tolerance, `token ${token}: ${got[token]}, not ${probability}`);
  });
}

const softmaxLogits = logitsOf(0.1, 0.4, 0.05, 0.3, 0.15);

test("without filters the model's own distribution is drawn", () => {
  assertDistribution(frequencies(softmaxLogits, { seed: 1 }), [0.1, 0.4, 0.05, 0.3, 0.15]);
});

test("temperature sharpens: probabilities to the power of its inverse", () => {
  const powers = [0.1, 0.4, 0.05, 0.3, 0.15].map((probability) => probability ** 2);
  const sum = powers.reduce((total, power) => total + power, 0);
  assertDistribution(
    frequencies(softmaxLogits, { temperature: 0.5, seed: 2 }),
    powers.map((power) => power / sum),
  );
});

test("top-k, top-p and min-p keep what they should and keep its proportions", () => {
  assertDistribution(frequencies(softmaxLogits, { topK: 2, seed: 3 }), [0, 4 / 7, 0, 3 / 7, 0]);
  assertDistribution(frequencies(softmaxLogits, { topP: 0.75, seed: 4 }), [0, 8 / 17, 0, 6 / 17, 3 / 17]);
  assertDistribution(frequencies(softmaxLogits, { minP: 0.3, seed: 5 }), [0, 8 / 17, 0, 6 / 17, 3 / 17]);
  // Within the best three (sum 0.85), 0.75 of them is reached by the best two.
  assertDistribution(frequencies(softmaxLogits, { topK: 3, topP: 0.75, seed: 6 }), [0, 4 / 7, 0, 3 / 7, 0]);
  assertDistribution(frequencies(softmaxLogits, { topP: 1e-9, seed: 7 }, 100), [0, 1, 0, 0, 0], 100);
  assertDistribution(frequencies(softmaxLogits, { minP: 1, seed: 7 }, 100), [0, 1, 0, 0, 0], 100);
});

test("filters see the probabilities before the temperature, which shapes what they kept", () => {
  // 0.4 and 0.3 reach 0.6 at temperature 1; at 4, all five would be needed.
  const powers = [0.4, 0.3].map((probability) => probability ** 0.25);
  const sum = powers[0] + powers[1];
  assertDistribution(frequencies(softmaxLogits, { temperature: 4, topP: 0.6, seed: 21 }), [
    0,
    powers[0] / sum,
    0,
    powers[1] / sum,
    0,
  ]);
});

test("typical keeps what is as surprising as the average, which need not be the likeliest", () => {
  // The entropy is 1.39 nats; 0.3 (1.20) is nearest, then come 0.4 (0.92), 0.15 (1.90), 0.1 (2.30), 0.05 (3.00).
  assertDistribution(frequencies(softmaxLogits, { typicalP: 0.29, seed: 22 }, 100), [0, 0, 0, 1, 0], 100);
  assertDistribution(frequencies(softmaxLogits, { typicalP: 0.8, seed: 23 }), [0, 8 / 17, 0, 6 / 17, 3 / 17]);
  assertDistribution(frequencies(softmaxLogits, { typicalP: 0.8, topP: 0.5, seed: 24 }), [0, 4 / 7, 0, 3 / 7, 0]);
  assertDistribution(frequencies(softmaxLogits, { typicalP: 0.8, minP: 0.5, seed: 25 }), [0, 4 / 7, 0, 3 / 7, 0]);
});

test("presence and frequency penalties are subtracted from logits, the latter once a time", () => {
  const weights = (options: SamplerOptions, observed: readonly number[]): number[] => {
    const drawCount = 20_000;
    const counts = [0, 0, 0];
    for (let draw = 0; draw < drawCount; draw++) {
      const sampler = new Sampler(3, { ...options, seed: draw });
      for (const token of observed) sampler.observe(token);
      counts[sampler.sample(logitsOf(0.5, 0.25, 0.25))]++;
    }
    return counts.map((count) => count / drawCount);
  };
  const presence = Math.LN2;
  assertDistribution(weights({ presencePenalty: presence }, [0, 0]), [1 / 3, 1 / 3, 1 / 3]);
  assertDistribution(weights({ frequencyPenalty: presence }, [0, 0]), [0.2, 0.4, 0.4]);
  assertDistribution(weights({ frequencyPenalty: presence, repetitionWindow: 2 }, [0, 0, 1]), [0.4, 0.2, 0.4]);
});

test("biases are added to logits, and -Infinity bans", () => {
  const logitBias = { 0: Math.log(2), 3: -Infinity };
  assertDistribution(frequencies(logitsOf(0.2, 0.2, 0.2, 0.4), { logitBias, seed: 26 }), [0.5, 0.25, 0.25, 0]);
  assert.throws(() => new Sampler(3, { logitBias }), /names token 3, which the model does not have/);
  assert.throws(() => new Sampler(3, { logitBias: { 1: NaN } }), /logitBias cannot be NaN for token 1/);
});

test("only tokens of the mask come, whatever the stages", () => {
  const allowed = Uint32Array.of(0b10101);
  for (const options of [{}, { temperature: 0 }, { topK: 1 }, { typicalP: 0.5 }, { topP: 0.5 }, { mirostat: 2 }]) {
    const sampler = new Sampler(5, options);
    for (let draw = 0; draw < 50; draw++) assert.ok([0, 2, 4].includes(sampler.sample(softmaxLogits, allowed)));
  }
  const sampler = new Sampler(5, { seed: 27 });
  const counts = [0, 0, 0, 0, 0];
  for (let draw = 0; draw < 20_000; draw++) counts[sampler.sample(softmaxLogits, allowed)]++;
  assertDistribution(
    counts.map((count) => count / 20_000),
    [1 / 3, 0, 1 / 6, 0, 1 / 2],
  );
  assert.throws(() => sampler.sample(softmaxLogits, Uint32Array.of(0)), LogitsError);
});

test("mirostat brings the surprise to its target where the distribution can give it", () => {
  // Zipf's law over 2,000 tokens, whose entropy is 8.0 bits.
  const logits = Float32Array.from({ length: 2000 }, (_, rank) => -1.1 * Math.log(rank + 1));
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
  for (const mirostat of [1, 2]) {
    for (const mirostatTau of [2, 3, 5]) {
      const sampler = new Sampler(2000, { mirostat, mirostatTau, seed: 28 });
      let surprise = 0;
      for (let draw = 0; draw < 400; draw++) {
        const token = sampler.sample(logits);
        if (draw >= 100) surprise += -Math.log2(Math.exp(logits[token]) / total) / 300;
      }
      // What is kept is renormalised, so the model's own surprise is a little above that of the choice.
      assert.ok(
        surprise > mirostatTau - 0.5 && surprise < mirostatTau + 2.5,
        `${mirostat}, ${mirostatTau}: ${surprise}`,
      );
    }
  }
  const greedy = new Sampler(2000, { mirostat: 2, temperature: 0 });
  assert.equal(greedy.sample(logits), 0);
});

test("log-probabilities are those of the whole distribution, likeliest first", () => {
  assert.deepEqual(
    topLogprobs(softmaxLogits, 3).map(({ token }) => token),
    [1, 3, 4],
  );
  for (const { token, logprob } of topLogprobs(softmaxLogits, 5)) {
    assert.ok(Math.abs(logprob - softmaxLogits[token]) < 1e-6);
  }
  assert.deepEqual(topLogprobs(softmaxLogits, 0), []);
  assert.deepEqual(
    topLogprobs(Float32Array.of(0, -Infinity, 0), 2).map(({ token }) => token),
    [0, 2],
  );
});

test("temperature 0 takes the likeliest token, the lowest id among equals", () => {
  const sampler = new Sampler(5, { temperature: 0 });
  assert.equal(sampler.sample(Float32Array.of(1, 3, 2, 3, -Infinity)), 1);
  assert.equal(sampler.sample(Float32Array.of(-4, -5, -4, -9, -8)), 0);
  fc.assert(
    fc.property(fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: 1 }), (values) => {
      const logits = Float32Array.from(values);
      assert.equal(new Sampler(logits.length, { temperature: 0 }).sample(logits), logits.indexOf(Math.max(...logits)));
    }),
  );
});

test("equal logits at the edge of top-k keep the lowest ids", () => {
  const seen = frequencies(new Float32Array(8), { topK: 3, seed: 8 }, 300);
  assert.deepEqual(
    seen.map((share) => share > 0),
    [true, true, true, false, false, false, false, false],
  );
});

test("every filter agrees with a plain sort over random logits", () => {
  const logitArrays = fc.array(fc.integer({ min: -30, max: 30 }), { minLength: 2, maxLength: 40 });
  const options = fc.record({
    topK: fc.integer({ min: 0, max: 45 }),
    topP: fc.double({ min: 0.05, max: 1, noNaN: true }),
    minP: fc.double({ min: 0, max: 0.9, noNaN: true }),
    seed: fc.integer({ min: 0, max: 1000 }),
  });
  fc.assert(
    fc.property(logitArrays, options, (values, { topK, topP, minP, seed }) => {
      const logits = Float32Array.from(values, (value) => value / 7);
      const best = Math.max(...logits);
      let kept = Array.from(logits, (logit, token) => ({ token, weight: Math.exp(logit - best) }));
      kept.sort((a, b) => b.weight - a.weight || a.token - b.token);
      if (topK > 0) kept = kept.slice(0, topK);
      const total = kept.reduce((sum, { weight }) => sum + weight, 0);
      let before = 0;
      kept = kept.filter(({ weight }, rank) => {
        const keep = rank === 0 || (before < topP * total * (1 + 1e-9) && weight >= minP);
        before += weight;
        return keep;
      });
      const token = new Sampler(logits.length, { topK, topP, minP, seed }).sample(logits);
      assert.ok(kept.some((candidate) => candidate.token === token));
    }),
  );
});

test("of a large vocabulary, filters keep and draw what a plain sort does", () => {
  const logits = new Float32Array(3000);
  new RandomStream(5, 0).fillNormal(logits, 0, 6);
  const best = Math.max(...logits);
  const all = Array.from(logits, (logit, token) => ({ token, weight: Math.exp(logit - best) }));
  const sorted = all.toSorted((a, b) => b.weight - a.weight || a.token - b.token);
  const total = all.reduce((sum, { weight }) => sum + weight, 0);
  const [untilMost, untilHalf] = [0.999, 0.5].map((share) => {
    let reached = 0;
    return sorted.filter(({ weight }) => (reached += weight) - weight < share * total);
  });
  const cases: readonly (readonly [SamplerOptions, typeof all])[] = [
    [{ topK: 40 }, sorted.slice(0, 40)],
    [{ topK: 1500 }, sorted.slice(0, 1500)],
    [{ topP: 0.999 }, untilMost],
    [{ topP: 0.5 }, untilHalf],
    [{ minP: 0.01 }, all.filter(({ weight }) => weight >= 0.01)],
  ];
  for (const [options, kept] of cases) {
    const sampler = new Sampler(logits.length, { ...options, seed: 9 });
    const random = new RandomStream(9, 0, randomPurpose.sampling);
    for (let draw = 0; draw < 20; draw++) {
      random.seek(draw);
      let left = random.uniform() * kept.reduce((sum, { weight }) => sum + weight, 0);
      const expected = kept.find(({ weight }) => (left -= weight) < 0);
      assert.equal(sampler.sample(logits), expected!.token, JSON.stringify(options));
    }
  }
});

test("of a large vocabulary, tokens come as often as they should, masked, biased and penalised", () => {
  const logits = new Float32Array(1003); // the last group is not whole
  new RandomStream(6, 0).fillNormal(logits, 0, 3);
  logits.fill(-Infinity, 160, 200);
  const allowed = new Uint32Array(32);
  for (let token = 0; token < 1003; token++)
    if (token % 3 > 0 && token >> 5 !== 2) allowed[token >>> 5] |= 1 << (token & 31);
  const drawCount = 50_000;
  for (const [temperature, mask] of [
    [1, undefined],
    [2.5, undefined],
    [1, allowed],
  ] as const) {
    const options = {
      temperature,
      logitBias: { 7: 4, 1002: 6, 11: -Infinity },
      presencePenalty: 1,
      repetitionWindow: 2,
    };
    const scores = Float64Array.from(logits, (logit, token) =>
      mask === undefined || (mask[token >>> 5] >>> (token & 31)) & 1 ? logit : -Infinity,
    );
    scores[7] += 4;
    scores[1002] += 6;
    scores[11] = -Infinity;
    for (const token of [1001, 4]) scores[token] -= 1;
    const best = Math.max(...scores);
    const weights = scores.map((score) => Math.exp((score - best) / temperature));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const counts = new Float64Array(1003);
    const sampler = new Sampler(1003, { ...options, seed: 3 });
    for (let draw = 0; draw < drawCount; draw++) {
      for (const token of [1001, 4]) sampler.observe(token); // what was drawn leaves the window
      counts[sampler.sample(logits, mask)]++;
    }
    // Pearson's statistic over tokens that are expected a few times, and all others as one; z as of a normal deviate.
    let [statistic, cells, rareCount, rareExpected] = [0, -1, 0, 0];
    for (const [token, weight] of weights.entries()) {
      const expected = (weight / total) * drawCount;
      if (expected === 0) assert.equal(counts[token], 0, `token ${token}`);
      if (expected < 5) [rareCount, rareExpected] = [rareCount + counts[token], rareExpected + expected];
      else [statistic, cells] = [statistic + (counts[token] - expected) ** 2 / expected, cells + 1];
    }
    if (rareExpected >= 5) [statistic, cells] = [statistic + (rareCount - rareExpected) ** 2 / rareExpected, cells + 1];
    const z = (Math.cbrt(statistic / cells) - (1 - 2 / (9 * cells))) / Math.sqrt(2 / (9 * cells));
    assert.ok(z < 4, `${statistic} over ${cells} cells, temperature ${temperature}`);
  }
});

test("known peaks change nothing, whatever the stages, and tell of logits that are none", () => {
  const logits = new Float32Array(203);
  new RandomStream(8, 0).fillNormal(logits, 0, 4);
  const groups = Array.from({ length: 13 }, (_, i) => logits.subarray(16 * i, 16 * (i + 1)));
  const peaks = Float32Array.from(groups, (group) => Math.max(...group));
  const allowed = Uint32Array.from({ length: 7 }, (_, word) => [0, -1, 0xffff, 0x10010, -1, -1, 0x7ff][word]);
  const cases: readonly SamplerOptions[] = [
    {},
    { temperature: 0 },
    { temperature: 0, presencePenalty: 9 },
    { repetitionPenalty: 1.5, topK: 7 },
    { logitBias: { 40: 5, [logits.indexOf(Math.max(...logits))]: -Infinity } },
    { minP: 0.1 },
    { topP: 0.8 },
    { typicalP: 0.5 },
    { mirostat: 2 },
  ];
  for (const options of cases) {
    for (const mask of [undefined, allowed]) {
      const [plain, informed] = [new Sampler(203, { seed: 4, ...options }), new Sampler(203, { seed: 4, ...options })];
      for (let draw = 0; draw < 40; draw++) {
        assert.equal(informed.sample(logits, mask, peaks), plain.sample(logits, mask), JSON.stringify(options));
      }
    }
    const broken = logits.slice();
    broken[99] = NaN;
    const told = peaks.slice();
    told[6] = Infinity;
    assert.throws(() => new Sampler(203, options).sample(broken, undefined, told), /logits that no token/);
  }
});

test("probabilities are those of what was drawn from, after a draw of all as well", () => {
  for (const [options, kept] of [
    [{ temperature: 0.5 }, [0, 1, 2, 3, 4]],
    [{ topK: 2 }, [1, 3]],
    [{ temperature: 0.5 }, [0, 1, 2, 3, 4]],
  ] as const) {
    const sampler = new Sampler(5, options);
    const into = new Float64Array(5);
    sampler.sample(softmaxLogits);
    sampler.probabilities(into);
    const power = "temperature" in options ? 2 : 1;
    const weights = [0.1, 0.4, 0.05, 0.3, 0.15].map((p, token) => (kept.some((k) => k === token) ? p ** power : 0));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    weights.forEach((weight, token) => assert.ok(Math.abs(into[token] - weight / total) < 1e-6, `token ${token}`));
  }
});

test("the penalty divides positive and multiplies negative logits of tokens in the window, once each", () => {
  const logits = Float32Array.of(4, 3, -1, -1.5);
  const greedy = (observed: number[], repetitionPenalty: number, repetitionWindow = 64): number => {
    const sampler = new Sampler(4, { temperature: 0, repetitionPenalty, repetitionWindow });
    for (const token of observed) sampler.observe(token);
    return sampler.sample(logits);
  };
  assert.equal(greedy([0], 1), 0);
  assert.equal(greedy([0], 1.3), 0); // 4 / 1.3 = 3.08 stays ahead of 3
  assert.equal(greedy([0, 0, 0], 1.3), 0); // three times in the window is still one penalty
  assert.equal(greedy([0], 1.4), 1);
  assert.equal(greedy([0, 2, 3], 1.4, 2), 0); // token 0 has left the window
  assert.equal(greedy([0], 100, 0), 0);
  const negative = new Sampler(2, { temperature: 0, repetitionPenalty: 2 });
  negative.observe(0);
  assert.equal(negative.sample(Float32Array.of(-1, -1.5)), 1);
});

test("the same seed gives the same tokens, reset starts again, and the logits stay as they were", () => {
  const logits = softmaxLogits.slice();
  const draw = (sampler: Sampler): number[] => Array.from({ length: 30 }, () => sampler.sample(logits));
  const options = { seed: 11, repetitionPenalty: 1.2, topP: 0.9 };
  const sampler = new Sampler(5, options);
  const first = draw(sampler);
  assert.deepEqual(draw(new Sampler(5, options)), first);
  assert.notDeepEqual(draw(new Sampler(5, { ...options, seed: 12 })), first);
  sampler.reset();
  assert.deepEqual(draw(sampler), first);
  assert.deepEqual(logits, softmaxLogits);
});

test("impossible options and logits are named", () => {
  const wrong: readonly (readonly [options: SamplerOptions, message: RegExp])[] = [
    [{ temperature: -1 }, /temperature cannot be -1/],
    [{ temperature: NaN }, /temperature cannot be NaN/],
    [{ topK: 1.5 }, /topK cannot be 1\.5/],
    [{ topP: 0 }, /topP cannot be 0(.|\n)*above 0 and up to 1/],
    [{ minP: 1.1 }, /minP/],
    [{ repetitionPenalty: 0 }, /repetitionPenalty/],
    [{ repetitionWindow: 1e9 }, /repetitionWindow/],
    [{ seed: -3 }, /seed cannot be -3/],
    [{ typicalP: 0 }, /typicalP/],
    [{ mirostat: 3 }, /mirostat cannot be 3(.|\n)*0 \(off\), 1 or 2/],
    [{ presencePenalty: NaN }, /presencePenalty/],
  ];
  for (const [options, message] of wrong) {
    assert.throws(
      () => new Sampler(4, options),
      (error) => {
        assert.ok(error instanceof SamplingOptionError);
        assert.match(error.message, message);
        return true;
      },
    );
  }
  const sampler = new Sampler(3);
  assert.throws(() => sampler.sample(Float32Array.of(0, NaN, 1)), /logit 1 is NaN/);
  assert.throws(() => sampler.sample(Float32Array.of(0, 1, Infinity)), /logit 2 is Infinity/);
  assert.throws(() => sampler.sample(new Float32Array(3).fill(-Infinity)), LogitsError);
  assert.throws(() => sampler.sample(new Float32Array(4)), /3 logits(.|\n)*4 logits/);
});

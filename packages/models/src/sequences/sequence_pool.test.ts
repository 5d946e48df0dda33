// Pools of sequences against each sequence alone, over all architectures; memory by random operations.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createInterpreter, encodeTensor } from "@fidelity/core";
import type { Device, DeviceTensor } from "@fidelity/core";
import fc from "fast-check";
import { createModel } from "../architectures.ts";
import { createParameters } from "../device_parameters.ts";
import type { Model } from "../model.ts";
import { parameterTypes } from "../parameters.ts";
import { sampleConfigs } from "../samples.ts";
import { ContextLimitError, TokenRangeError } from "../session.ts";
import { evaluateModel, largestError, randomParameters, randomTokens } from "../testing.ts";
import { OutOfPagesError, poolBytes, PoolOptionError, SequenceError } from "./pool_options.ts";
import type { PoolOptions, Sequence } from "./pool_options.ts";
import type { SequencePool } from "./sequence_pool.ts";
import { openSequencePool } from "./sequence_pool.ts";
import { SessionStateError } from "./state_format.ts";

const VOCABULARY = 7;
const small = { dim: 8, hiddenDim: 8, layerCount: 1, vocabSize: VOCABULARY };
const llama = createModel({ architecture: "llama", ...small, headCount: 2, contextLength: 96 });
const hybrid = createModel({
  architecture: "mamba",
  ...small,
  layerCount: 2,
  pattern: "MA",
  attentionHeadCount: 2,
  contextLength: 96,
});
const recurrent = createModel({ architecture: "matmul-free", ...small });

function load(device: Device, model: Model): Map<string, DeviceTensor> {
  const values = randomParameters(model, 3);
  return createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) => {
    encodeTensor(values.get(path)!, tensor.bytes());
  });
}

const pooled = (model: Model, options: PoolOptions = {}): SequencePool => {
  const device = createInterpreter();
  return openSequencePool(model, load(device, model), device, { pageSize: 32, chunkLength: 8, ...options });
};

/** The logits after the last token, of the whole sequence at once. */
function expectedLogits(model: Model, tokens: readonly number[]): Float64Array {
  return evaluateModel(model, randomParameters(model, 3), [tokens]).logits.subarray(-model.vocabSize);
}

const prompt = (length: number, seed: number): number[] => randomTokens(llama, 1, length, seed)[0];

/** Every architecture with a next token, and hybrids. */
const models: readonly (readonly [name: string, model: Model])[] = [
  ...Object.entries(sampleConfigs)
    .filter(([architecture]) => architecture !== "bert")
    .map(([architecture, config]) => [architecture, { ...config, architecture }] as const),
  ["hybrid of mamba2", { architecture: "mamba2", ...sampleConfigs.mamba2, pattern: "MA", contextLength: 64 }] as const,
  ["hybrid of gla", { architecture: "gla", ...sampleConfigs.gla, pattern: "AG", contextLength: 64 }] as const,
  ["linear", { architecture: "llama", ...sampleConfigs.llama, attention: "linear" }] as const,
].map(([name, config]) => [name, createModel({ ...config, dim: 16, vocabSize: VOCABULARY })]);

/** Steps sequences of different lengths, forked and with kept beginnings, side by side and each alone. */
async function compareWithAlone(name: string, model: Model, options: PoolOptions, tolerance: number): Promise<void> {
  const pool = pooled(model, { ...options, lanes: 4, capacity: 256 });
  const alone = pooled(model, { ...options, capacity: 256 });
  const long = prompt(41, 1);
  const texts = [long, prompt(3, 2), [...long.slice(0, 32), 1, 2, 3]];
  const [sequences, solo]: Sequence[][] = [[], []];
  for (const text of texts) {
    const sequence = pool.open(text);
    // The third begins as the first one does.
    assert.equal(sequence.position, sequences.length === 2 ? 32 : 0);
    await pool.read(sequence);
    sequences.push(sequence);
    solo.push(alone.open(text));
    await alone.read(solo.at(-1)!);
    alone.forget();
  }
  sequences.push(pool.fork(sequences[0]));
  solo.push(alone.fork(solo[0]));
  // Some of them, in any order, with a token each: the fork goes another way.
  for (const active of [[3, 1], [2], [2, 0, 3, 1]]) {
    for (const i of active) [pool, alone].forEach((each, n) => each.append([sequences, solo][n][i], (i + 2) % 7));
    const batch = await pool.step(active.map((i) => sequences[i]));
    for (const [n, i] of active.entries()) {
      const logits = batch[n].slice();
      assert.deepEqual(logits, (await alone.step([solo[i]]))[0], `${name}, sequence ${i}`);
      if (active.length < 4) continue;
      assert.ok(largestError(expectedLogits(model, sequences[i].tokens), logits) < tolerance, `${name}, sequence ${i}`);
    }
  }
  pool.close();
}

for (const [name, model] of models) {
  test(`${name}: a batch of different lengths gives what each sequence gives alone`, () =>
    compareWithAlone(name, model, {}, 2e-5));
}

for (const name of ["llama", "deepseek2", "mega", "hybrid of mamba2"]) {
  // Logits are around 3, of which f16 keeps a thousandth and bf16 eight times as much.
  for (const [cacheDtype, tolerance] of [
    ["f16", 4e-3],
    ["bf16", 32e-3],
  ] as const) {
    test(`${name}: caches of ${cacheDtype} give each sequence the same logits in a batch, near those of float32`, () =>
      compareWithAlone(name, new Map(models).get(name)!, { cacheDtype }, tolerance));
  }
}

interface Command {
  readonly kind: "open" | "step" | "fork" | "swap" | "free";
  /** Which sequence, and numbers of what happens to it. */
  readonly which: number;
  readonly a: number;
  readonly b: number;
}

/** Prompts of few kinds, so that many begin alike. */
const textOf = ({ a, b }: Command): number[] => [...Array<number>(a % 70).fill(b % 2), b % 5, (a + b) % 5];

async function perform(pool: SequencePool, live: Sequence[], command: Command): Promise<void> {
  const one = live[command.which % Math.max(1, live.length)];
  if (command.kind === "open") {
    const opened = pool.open(textOf(command));
    live.push(opened);
    await pool.read(opened);
  } else if (one !== undefined && command.kind === "fork") {
    live.push(pool.fork(one));
  } else if (one !== undefined && command.kind === "free") {
    live.splice(live.indexOf(one), 1);
    pool.free(one);
  } else if (one !== undefined && command.kind === "swap") {
    const saved = pool.save(one);
    pool.free(one);
    live.splice(live.indexOf(one), 1);
    live.push(pool.restore(saved));
  } else if (one !== undefined) {
    const active = live.filter((_, i) => (command.a >> i) % 2 === 1).slice(0, pool.lanes);
    for (const each of active) if (each.position === each.tokens.length) pool.append(each, command.b % 7);
    await pool.step(active);
  }
}

for (const model of [llama, hybrid, recurrent]) {
  test(`${model.architecture}: whatever happens, each sequence is as it would be alone`, async () => {
    const command = fc.record({
      kind: fc.constantFrom<Command["kind"]>("open", "open", "step", "step", "fork", "swap", "free"),
      which: fc.nat(5),
      a: fc.nat(140),
      b: fc.nat(9),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 4, maxLength: 14 }), async (commands) => {
        const pool = pooled(model, { lanes: 3, capacity: 224, keptStateBytes: 3000 });
        const live: Sequence[] = [];
        for (const each of commands) {
          const before = live.map(({ tokens, position }) => [tokens.length, position]);
          await perform(pool, live, each).catch((error: unknown) => {
            assert.ok(error instanceof OutOfPagesError || error instanceof ContextLimitError, String(error));
            // A step that found no room read nothing.
            if (each.kind === "step") live.forEach(({ position }, i) => assert.equal(position, before[i][1]));
          });
        }
        const freed = live.splice(2);
        for (const each of freed) pool.free(each);
        for (const each of live) {
          if (each.position === each.tokens.length && each.tokens.length < pool.limit) pool.append(each, 4);
          if (each.position === each.tokens.length) continue;
          assert.ok(largestError(expectedLogits(model, each.tokens), await pool.read(each)) < 2e-5);
        }
        for (const each of live) pool.free(each);
        assert.equal(pool.memory.freePages, pool.memory.pages);
        assert.ok(pool.memory.keptStateBytes <= 3000);
        pool.forget();
        assert.equal(pool.memory.freePages, pool.memory.pages);
        assert.equal(pool.memory.keptStateBytes, 0);
        pool.close();
      }),
      { numRuns: 12, seed: 5 },
    );
  });
}

test("without pages left a step is refused by name and loses nothing; what is kept gives way first", async () => {
  const pool = pooled(llama, { capacity: 96 });
  const first = pool.open(prompt(40, 1));
  await pool.read(first);
  pool.free(first);
  assert.deepEqual([pool.memory.pages, pool.memory.freePages], [3, 3]);
  assert.equal(poolBytes(llama, { pageSize: 32, capacity: 96 }), pool.memory.pageBytes + pool.memory.laneBytes);
  const second = pool.open(prompt(64, 2));
  await pool.read(second);
  const third = pool.open(prompt(2, 3));
  await pool.read(third);
  // The first text was given up for them, the second is in use.
  assert.equal(pool.open(prompt(40, 1)).position, 0);
  assert.equal(pool.memory.freePages, 0);
  pool.append(second, 1);
  pool.append(third, 2);
  await assert.rejects(pool.step([third, second]), (error) => {
    assert.ok(error instanceof OutOfPagesError);
    assert.match(error.message, /3 pages of 32 tokens(.|\n)*expected: 1 free pages(.|\n)*got: +0/);
    return true;
  });
  assert.deepEqual([second.position, third.position], [64, 2]);
  const [logits] = await pool.step([third]);
  assert.ok(largestError(expectedLogits(llama, third.tokens), logits) < 2e-5);
  pool.free(third);
  assert.ok(largestError(expectedLogits(llama, second.tokens), await pool.read(second)) < 2e-5);
});

test("a text goes on from the longest beginning that is kept, but for its last token", async () => {
  for (const model of [llama, hybrid, recurrent]) {
    const pool = pooled(model, { capacity: 512 });
    const text = prompt(65, 9);
    await pool.read(pool.open(text));
    const positions = [text, text.slice(0, 64), text.slice(0, 40), [5, ...text]].map(
      (each) => pool.open(each).position,
    );
    assert.deepEqual(positions, [64, 32, 32, 0], model.architecture);
    // States are kept within their budget: the oldest goes.
    const tight = pooled(model, { capacity: 512, keptStateBytes: 0 });
    await tight.read(tight.open(text));
    assert.equal(tight.open(text).position, model === llama ? 64 : 0);
  }
});

test("saved sequences go to other pools of the same model, and to no others", async () => {
  for (const model of [llama, hybrid, recurrent]) {
    const [from, to] = [pooled(model), pooled(model)];
    const sequence = from.open(prompt(37, 4));
    await from.read(sequence);
    const saved = from.save(sequence);
    from.close();
    const restored = to.restore(saved);
    to.append(restored, 3);
    assert.ok(largestError(expectedLogits(model, restored.tokens), await to.read(restored)) < 2e-5);
    const other = pooled(model === llama ? hybrid : llama);
    assert.throws(() => other.restore(saved), SessionStateError);
    const { freePages } = to.memory;
    assert.throws(
      () => to.restore({ ...saved, pages: [new Uint8Array(3)], state: [new Uint8Array(1)] }),
      SessionStateError,
    );
    assert.equal(to.memory.freePages, freePages);
  }
});

test("what makes no sense is refused by name", async () => {
  const pool = pooled(llama, { lanes: 2 });
  for (const tokens of [[], [7], [0.5]]) assert.throws(() => pool.open(tokens), TokenRangeError);
  assert.throws(() => pool.open(prompt(97, 1)), /at most 96 tokens a sequence/);
  const [a, b, c] = [1, 2, 3].map((seed) => pool.open(prompt(2, seed)));
  await assert.rejects(pool.step([a, b, c]), /too many sequences(.|\n)*at most 2/);
  await assert.rejects(pool.step([a, a]), /named twice/);
  await pool.read(a);
  await assert.rejects(pool.step([a]), /nothing to read/);
  pool.free(b);
  pool.free(b);
  assert.throws(() => pool.fork(b), SequenceError);
  await assert.rejects(pooled(llama).step([c]), SequenceError);
  assert.deepEqual(await pool.step([]), []);
  assert.throws(() => pooled(llama, { limit: 5 }).open(prompt(6, 1)), ContextLimitError);
  for (const options of [
    { lanes: 0 },
    { limit: 0 },
    { pageSize: 48 },
    { cacheDtype: "q8_0" as never },
    { pageSize: 16 },
    { chunkLength: 3 },
    { capacity: 0 },
  ]) {
    assert.throws(() => pooled(llama, options), PoolOptionError);
  }
});

// Generations at the same time: each has the text that it has alone, steps are shared, nobody stalls the others, and
// whoever goes leaves its room. On the interpreter what is shared is exact; on wasm it is up to rounding.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { ProgramMissingError } from "@fidelity/core";
import { PoolOptionError } from "@fidelity/models";
import { ModelClosedError, OutOfRoomError } from "./index.ts";
import type { GenerateOptions, GenerationResult } from "./index.ts";
import { LanguageModel } from "./language-model.ts";
import type { LanguageModelOptions } from "./language-model.ts";
import { countingDevice, tinyModel } from "./testing.ts";
import type { TINY } from "./testing.ts";

/** A model whose generations share steps, and one of the same weights whose generations take turns. */
function models(architecture: keyof typeof TINY = "llama", options: LanguageModelOptions = {}, contextLength = 2048) {
  const device = countingDevice();
  const parts = tinyModel(device, architecture, architecture === "llama" ? { contextLength } : {});
  const { live } = device;
  return {
    device,
    live,
    parts,
    shared: new LanguageModel(parts, options),
    turns: new LanguageModel(parts, { cacheDtype: options.cacheDtype, parallel: 1 }),
  };
}

type Ask = readonly [prompt: string, options: GenerateOptions];

const ASKS: readonly Ask[] = [
  ["abc", { temperature: 0, maxTokens: 24 }],
  ["a longer text, which begins with a chunk or so of its own, and not with ours ", { seed: 1, maxTokens: 20 }],
  ["x", { seed: 2, temperature: 0.7, topK: 5, maxTokens: 20, logprobs: 2 }],
  ["y", { seed: 3, repetitionPenalty: 1.3, presencePenalty: 0.5, maxTokens: 20 }],
  ["z", { seed: 4, constraint: { regex: "(ab|cd){7}" } }],
  ["w", { seed: 5, maxTokens: 20, stop: ["e", "f"] }],
  ["", { seed: 6, maxTokens: 1 }],
];

const comparable = ({ text, tokens, endedBy, isComplete, logprobs, usage }: GenerationResult) => ({
  ...{ text, tokens, endedBy, isComplete, completionTokens: usage.completionTokens },
  logprobs: logprobs?.map(({ token, logprob, top }) => [token, logprob.toFixed(9), top.map((each) => each.token)]),
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("generations at the same time", () => {
  for (const [architecture, cacheDtype] of [
    ["llama", "f32"],
    ["llama", "f16"],
    ["matmul-free", "f32"],
    ["mamba2", "f32"],
  ] as const) {
    test(`${architecture}, ${cacheDtype}: have the texts that they have alone, in fewer steps`, async () => {
      const { shared, turns, device, live } = models(architecture, { parallel: 3, cacheDtype });
      const alone = [];
      for (const [prompt, options] of ASKS) alone.push(await turns.generate(prompt, options).result());
      await turns.close();
      device.runs.length = 0;
      const together = ASKS.map(([prompt, options]) => shared.generate(prompt, options).result());
      assert.deepEqual((await Promise.all(together)).map(comparable), alone.map(comparable));
      const steps = device.runs.filter((name) => name.startsWith("step"));
      const tokens = alone.reduce((sum, { usage }) => sum + usage.completionTokens, 0);
      assert.ok(steps.length < 0.9 * tokens, `${steps.length} steps for ${tokens} tokens`);
      assert.ok(steps.includes("step of 3") && !steps.includes("step of 4"));
      const oneByOne = ASKS.map(async ([prompt, options], i) => {
        for (let n = 0; n < i; n++) await turn();
        return await shared.generate(prompt, options).result();
      });
      assert.deepEqual((await Promise.all(oneByOne)).map(comparable), alone.map(comparable));
      await shared.close();
      assert.equal(device.live, live);
    });
  }

  for (const architecture of ["llama", "bitnet"] as const) {
    test(`${architecture} on wasm: two have the bits of one alone, more of them the same up to rounding`, async () => {
      const device = createDevice({ threads: 1, target: "wasm" });
      const parts = tinyModel(device, "llama", { dim: 32, hiddenDim: 48, layerCount: 2, architecture });
      await using turns = new LanguageModel(parts, { parallel: 1, idleSessions: 0 });
      const options = { seed: 7, maxTokens: 12, logprobs: 1 };
      for (const [prompts, tolerance] of [
        [["abc", "xyz ".repeat(9)], 0],
        [["abc", "xyz ".repeat(9), "hello", "q"], 1e-5],
      ] as const) {
        await using shared = new LanguageModel(parts);
        const together = await Promise.all(prompts.map((prompt) => shared.generate(prompt, options).result()));
        for (const [i, prompt] of prompts.entries()) {
          const { tokens, logprobs = [] } = await turns.generate(prompt, options).result();
          assert.deepEqual(together[i].tokens, tokens);
          for (const [n, { logprob }] of logprobs.entries()) {
            assert.ok(Math.abs(together[i].logprobs![n].logprob - logprob) <= tolerance);
          }
        }
      }
      await turns.close();
      await device.close();
    });
  }

  test("a long prompt is read in chunks between the steps of the others", async () => {
    const { shared, device } = models("llama");
    const first = shared.generate("abc", { seed: 1, maxTokens: 60 });
    const long = shared.generate("long ".repeat(120), { seed: 1, maxTokens: 2 });
    const readFirst = async (): Promise<void> => {
      for await (const _ of first) await turn();
    };
    const [, { usage }] = await Promise.all([readFirst(), long.result()]);
    assert.equal(usage.promptTokens, 600);
    const kinds = device.runs.map((name) => (name.startsWith("prefill") ? "P" : "s")).join("");
    assert.match(kinds, /(PP?s){7}/); // whoever asks one turn later is served behind the next chunk
    assert.doesNotMatch(kinds, /PPP/);
    assert.equal(first.tokens.length, 60);
    await shared.close();
  });

  test("what a session has read goes along to the others, and what was read with others serves one alone", async () => {
    const { shared, device } = models("llama");
    const text = "a text of more than two hundred fifty six characters, so that a page is full. ".repeat(4);
    const options = { temperature: 0, maxTokens: 3 };
    const once = await shared.generate(text, options).result();
    assert.equal(once.usage.cachedTokens, 0);
    const other = shared.generate("abc", { seed: 1, maxTokens: 100 });
    const pieces = other[Symbol.asyncIterator]();
    await pieces.next(); // with the session that knew the text
    const again = shared.generate(text, options);
    const both = await Promise.all([other.result(), again.result(), shared.generate(text, options).result()]);
    assert.deepEqual([both[1].text, both[2].text], [once.text, once.text]);
    const after = await shared.generate(text, options).result();
    assert.deepEqual([after.text, after.usage.cachedTokens], [once.text, 256]);
    const kept = shared.generate("abc", { seed: 2, maxTokens: 4 });
    assert.equal((await kept.result()).usage.cachedTokens, 2);
    // One that comes while others are there takes what a session knows, and leaves it to the session.
    const begun = shared.generate("xyz", { seed: 3, maxTokens: 100 })[Symbol.asyncIterator]();
    await begun.next();
    const beside = () => shared.generate("xyzz", { seed: 2, maxTokens: 2 }).result();
    await Promise.all([begun.next(), beside()]); // the first one goes, and its session is free
    for (let again = 0; again < 2; again++) assert.equal((await beside()).usage.cachedTokens, 3);
    await begun.return?.();
    assert.ok(device.runs.some((name) => name === "step of 2"));
    await shared.close();
  });

  test("usage and timings are each one's own", async () => {
    const { shared } = models("llama");
    const results = await Promise.all(
      [5, 9, 13].map((maxTokens, i) => shared.generate("abcdef".slice(i), { seed: 1, maxTokens }).result()),
    );
    for (const [i, { usage, timings }] of results.entries()) {
      assert.deepEqual(usage, { promptTokens: 6 - i, cachedTokens: 0, completionTokens: 5 + 4 * i });
      assert.ok(timings.compileSeconds > 0 && timings.firstTokenSeconds >= timings.compileSeconds);
      assert.ok(timings.decodeSeconds > 0 && timings.decodeTokensPerSecond > 0);
    }
    await shared.close();
  });
});

describe("room", () => {
  test("whoever leaves or is interrupted frees its pages, and whoever waits comes in", async () => {
    const { shared } = models("llama", { parallel: 2 });
    const endless = { seed: 1, maxTokens: 100 };
    const [first, second, third] = ["abc", "b".repeat(200), "c"].map((prompt) => shared.generate(prompt, endless));
    const [, left] = await Promise.all(
      [first, second].map(async (each) => {
        for await (const _ of each) if (each.tokens.length === 30) break;
        return await each.result();
      }),
    );
    assert.equal(left.endedBy, "interrupt");
    const { pages, freePages } = shared.sharedMemory!;
    assert.equal(freePages, pages);
    const controller = new AbortController();
    const waiting = shared.generate("d", { ...endless, signal: controller.signal });
    const busy = [third, shared.generate("e", endless)].map((each) => each.result());
    const interrupted = waiting.result();
    for (let n = 0; n < 20; n++) await turn();
    controller.abort();
    assert.deepEqual([(await interrupted).endedBy, waiting.tokens.length], ["interrupt", 0]);
    for (const { tokens } of await Promise.all(busy)) assert.equal(tokens.length, 100);
    await shared.close();
  });

  test("more generations than there are seats, each inside of another one's loop, all end", async () => {
    const { shared, turns } = models("llama", { parallel: 2 });
    const options = { seed: 3, maxTokens: 4 };
    const expected = (await turns.generate("abc", options).result()).text;
    const texts: string[] = [];
    const nest = async (depth: number): Promise<void> => {
      let text = "";
      for await (const piece of shared.generate("abc", options)) {
        if (text === "" && depth > 1) await nest(depth - 1);
        text += piece;
      }
      texts.push(text);
    };
    await nest(5);
    assert.deepEqual(
      texts,
      Array.from({ length: 5 }, () => expected),
    );
    await turns.close();
    await shared.close();
  });

  test("a longer text finds more room, and those in progress move there", async () => {
    const { shared, turns } = models("llama");
    const short = { seed: 1, maxTokens: 40 };
    const long = ["xyz ".repeat(127), { seed: 2, maxTokens: 10 }] as const;
    const expected = [await turns.generate("abc", short).result(), await turns.generate(...long).result()];
    await Promise.all(["abc", "d"].map((prompt) => shared.generate(prompt, { seed: 1, maxTokens: 5 }).result()));
    const before = shared.sharedMemory!.pages;
    const together = await Promise.all([
      shared.generate("abc", short).result(),
      shared.generate("abc", short).result(),
      shared.generate(...long).result(),
    ]);
    assert.deepEqual(
      together.map(({ text }) => text),
      [0, 0, 1].map((i) => expected[i].text),
    );
    assert.equal(shared.sharedMemory!.pages, 2 * before);
    await turns.close();
    await shared.close();
  });

  test("where there is no memory for them, further ones are refused by name, and the first goes on", async () => {
    const device = countingDevice();
    let freeBytes = 1000;
    const shared = new LanguageModel({ ...tinyModel(device, "llama"), freeBytes: () => freeBytes });
    const first = shared.generate("abc", { seed: 1, maxTokens: 40 }).result();
    await assert.rejects(shared.generate("abc").result(), (error) => {
      assert.ok(error instanceof OutOfRoomError);
      assert.match(error.message, /needs [\d.]+ KiB, have 0.977 KiB[^]*4 generations[^]*parallel: 1/);
      return true;
    });
    assert.equal((await first).tokens.length, 40);
    freeBytes = 2 ** 20;
    const both = await Promise.all(["a", "b"].map((prompt) => shared.generate(prompt, { maxTokens: 3 }).result()));
    assert.deepEqual(
      both.map(({ tokens }) => tokens.length),
      [3, 3],
    );
    await shared.close();
    for (const parallel of [0, 1.5, 5000]) {
      assert.throws(() => new LanguageModel(tinyModel(device), { parallel }), PoolOptionError);
    }
  });

  test("where the device has no programs for shared steps they take turns, and the model says why", async () => {
    const { shared, turns, device, live } = models("llama");
    const compile = device.compile.bind(device);
    let asked = 0;
    device.compile = async (graph, options) => {
      if (!/ of \d+$/.test(graph.name)) return await compile(graph, options);
      asked++;
      throw new ProgramMissingError("a program was not built ahead of time", { where: graph.name });
    };
    const alone = [];
    for (const [prompt, options] of ASKS) alone.push(await turns.generate(prompt, options).result());
    await turns.close();
    assert.ok(shared.sharingError?.summary === undefined);
    for (let again = 0; again < 2; again++) {
      const together = ASKS.map(([prompt, options]) => shared.generate(prompt, options).result());
      assert.deepEqual((await Promise.all(together)).map(comparable), alone.map(comparable));
    }
    assert.ok(shared.sharingError instanceof ProgramMissingError);
    assert.deepEqual([asked, shared.sharedMemory, shared.sessionCount], [1, undefined, 1]);
    const controller = new AbortController();
    const left = ["a", "b"].map((prompt) => shared.generate(prompt, { maxTokens: 500, signal: controller.signal }));
    const results = left.map((each) => each.result());
    for (let n = 0; n < 9; n++) await turn();
    controller.abort();
    for (const { endedBy } of await Promise.all(results)) assert.equal(endedBy, "interrupt");
    await shared.close();
    assert.equal(device.live, live);
  });

  test("closing ends all of them, whether they run or wait; nothing is held, nor kept where nothing is to be", async () => {
    for (const idleSessions of [0, 1]) {
      const { shared, device, live } = models("llama", { parallel: 2, idleSessions });
      await Promise.all(["a", "b", "c"].map((prompt) => shared.generate(prompt, { maxTokens: 5 }).result()));
      for (let n = 0; n < 3; n++) await turn();
      assert.equal(shared.sharedMemory === undefined, idleSessions === 0);
      const ended = ["a", "b", "c", "d"].map((prompt) =>
        assert.rejects(shared.generate(prompt, { maxTokens: 500 }).result(), ModelClosedError),
      );
      for (let n = 0; n < 5; n++) await turn();
      await shared.close();
      await Promise.all(ended);
      assert.equal(device.live, live);
    }
  });
});

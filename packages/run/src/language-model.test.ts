// Text from tiny random models on the interpreter: what comes, when it ends, what it is told to have cost, and that
// nothing is held when it has ended, however it ended.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createInterpreter } from "@fidelity/core";
import { ContextLimitError, GrammarError, ModelKindError, openSession, Sampler } from "@fidelity/models";
import { CharacterTokenizer, UnknownCharacterError } from "@fidelity/models";
import { LanguageModel } from "./language-model.ts";
import type { LanguageModelOptions } from "./language-model.ts";
import { ModelClosedError } from "./session-pool.ts";
import { countingDevice, tinyModel, tinyTokenizer } from "./testing.ts";
import type { TINY } from "./testing.ts";

function languageModel(architecture: keyof typeof TINY = "llama", options: LanguageModelOptions = {}, sizes = {}) {
  const device = countingDevice();
  const parts = tinyModel(device, architecture, sizes);
  return { device, parts, loaded: new LanguageModel(parts, options), before: device.live };
}

const GREEDY = { temperature: 0 } as const;

describe("generate", () => {
  for (const architecture of ["llama", "matmul-free"] as const) {
    test(`${architecture}: gives the text of a session, by text and by tokens, again and again`, async () => {
      const { loaded, parts, device, before } = languageModel(architecture);
      const session = await openSession(parts.model, parts.parameters, device);
      const sampler = new Sampler(parts.model.vocabSize, { seed: 3 });
      const prompt = tinyTokenizer.encode("abc");
      const expected = await Array.fromAsync(session.generate(prompt, { sampler, maxTokens: 12 }));
      session.close();
      for (const given of ["abc", prompt, [...prompt]]) {
        const generation = loaded.generate(given, { seed: 3, maxTokens: 12 });
        let text = "";
        for await (const piece of generation) text += piece;
        const result = await generation.result();
        assert.equal(text, tinyTokenizer.decode(expected));
        assert.deepEqual([result.text, result.tokens, result.endedBy], [text, expected, "tokens"]);
        assert.equal(generation.promptText, "abc");
      }
      await loaded.close();
      assert.equal(device.live, before);
    });
  }

  test("narrow caches give the text of a session that has them", async () => {
    const { loaded, parts, device, before } = languageModel("llama", { cacheDtype: "f16" });
    const session = await openSession(parts.model, parts.parameters, device, { cacheDtype: "f16" });
    const sampler = new Sampler(parts.model.vocabSize, { seed: 3 });
    const expected = await Array.fromAsync(session.generate(tinyTokenizer.encode("abc"), { sampler, maxTokens: 12 }));
    session.close();
    const result = await loaded.generate("abc", { seed: 3, maxTokens: 12 }).result();
    assert.deepEqual(result.tokens, expected);
    await loaded.close();
    assert.equal(device.live, before);
  });

  test("what was read is not read again, as far as the state allows", async () => {
    const cases = [
      // The last token of a prompt is read for its logits, the last of a text was not read.
      { architecture: "llama", again: 2, longer: 6, other: 2 },
      { architecture: "matmul-free", again: 0, longer: 6, other: 0 },
    ] as const;
    for (const { architecture, again, longer, other } of cases) {
      const { loaded } = languageModel(architecture);
      const options = { ...GREEDY, maxTokens: 4 };
      const first = await loaded.generate("abc", options).result();
      assert.deepEqual(first.usage, { promptTokens: 3, cachedTokens: 0, completionTokens: 4 });
      const same = await loaded.generate("abc", options).result();
      assert.deepEqual([same.text, same.usage.cachedTokens], [first.text, again]);
      const more = await loaded.generate(`abc${first.text}x`, options).result();
      assert.equal(more.usage.cachedTokens, longer);
      const { loaded: fresh } = languageModel(architecture);
      assert.equal((await fresh.generate(`abc${first.text}x`, options).result()).text, more.text);
      const different = await loaded.generate("abx", options).result();
      assert.equal(different.usage.cachedTokens, other);
      assert.equal((await fresh.generate("abx", options).result()).text, different.text);
      await fresh.close();
      await loaded.close();
    }
  });

  test("timings are those of the tokens; what the reader does is not counted", async () => {
    const { loaded } = languageModel();
    const { timings, usage } = await loaded.generate("abcdef", { maxTokens: 5 }).result();
    assert.deepEqual(usage, { promptTokens: 6, cachedTokens: 0, completionTokens: 5 });
    assert.ok(timings.compileSeconds > 0 && timings.firstTokenSeconds >= timings.compileSeconds);
    assert.ok(timings.prefillTokensPerSecond > 0 && timings.decodeTokensPerSecond > 0);
    const second = await loaded.generate("abcdef", { maxTokens: 0 }).result();
    assert.deepEqual([second.text, second.timings.compileSeconds, second.timings.firstTokenSeconds], ["", 0, 0]);
    await loaded.close();
  });

  test("stop strings end before them, and their tokens are known to the session", async () => {
    const { loaded } = languageModel();
    const whole = await loaded.generate("ab", { seed: 1, maxTokens: 30 }).result();
    const stop = whole.text.slice(7, 9);
    const stopped = loaded.generate("ab", { seed: 1, maxTokens: 30, stop: [stop] });
    const { text, endedBy } = await stopped.result();
    assert.deepEqual([text, endedBy], [whole.text.slice(0, whole.text.indexOf(stop)), "stop-string"]);
    assert.equal(stopped.rawText, text + stop);
    await loaded.close();
  });

  test("a constraint holds the text; forms of it are known again", async () => {
    const { loaded } = languageModel();
    for (const constraint of [{ regex: "(ab|cd){2}" }, { gbnf: 'root ::= ("ab" | "cd") ("ab" | "cd")' }] as const) {
      for (const seed of [1, 2]) {
        const { text, endedBy, isComplete } = await loaded.generate("x", { constraint, seed }).result();
        assert.match(text, /^(ab|cd){2}$/);
        assert.deepEqual([endedBy, isComplete], ["complete", true]);
      }
    }
    const cut = await loaded.generate("x", { constraint: { regex: "a{9}" }, maxTokens: 3 }).result();
    assert.deepEqual([cut.text, cut.endedBy, cut.isComplete], ["aaa", "tokens", false]);
    assert.throws(() => loaded.generate("x", { constraint: { regex: "(" } }), GrammarError);
    await loaded.close();
  });

  test("log-probabilities: one report a token, of the model's own distribution", async () => {
    const { loaded } = languageModel();
    const { logprobs, tokens } = await loaded.generate("ab", { ...GREEDY, maxTokens: 6, logprobs: 2 }).result();
    assert.equal(logprobs?.length, 6);
    for (const [index, { token, logprob, top }] of logprobs.entries()) {
      assert.deepEqual([token, top.length], [tokens[index], 2]);
      assert.deepEqual(top[0].token, token);
      assert.ok(logprob === top[0].logprob && logprob >= top[1].logprob && logprob < 0);
    }
    await loaded.close();
  });

  test("the context ends a text; what does not fit into it, or is no text, is refused", async () => {
    const { loaded } = languageModel("llama", { context: 16 });
    const { endedBy, tokens } = await loaded.generate("abcdef", { maxTokens: 100 }).result();
    assert.deepEqual([endedBy, tokens.length], ["context", 11]);
    await assert.rejects(loaded.generate("a".repeat(17)).result(), ContextLimitError);
    assert.throws(() => loaded.generate("§"), UnknownCharacterError);
    assert.throws(() => loaded.generate("a", { topP: 7 }), /topP cannot be 7/);
    await assert.rejects(loaded.embed(["a"]), ModelKindError);
    assert.equal((await loaded.generate("ab", { maxTokens: 2 }).result()).tokens.length, 2);
    await loaded.close();
  });

  test("beam search gives the greedy text for one beam", async () => {
    const { loaded } = languageModel();
    const greedy = await loaded.generate("ab", { ...GREEDY, maxTokens: 6 }).result();
    const { texts, endedBy } = await loaded.search("ab", { beams: 1, maxTokens: 6 });
    assert.deepEqual([texts[0].text, endedBy], [greedy.text, "tokens"]);
    await loaded.close();
  });
});

describe("speculation", () => {
  const repeating = "abcabcabcabcab";

  for (const architecture of ["llama", "matmul-free"] as const) {
    test(`${architecture}: looked-up guesses leave the text as it is, and what is left early is known`, async () => {
      const { loaded, device, before } = languageModel(architecture);
      const options = { ...GREEDY, maxTokens: 30 };
      const plain = await loaded.generate(repeating, options).result();
      assert.equal(plain.timings.speculation, undefined);
      const guessed = await loaded.generate(repeating, { ...options, speculation: {}, logprobs: 1 }).result();
      assert.deepEqual([guessed.text, guessed.logprobs?.length], [plain.text, 30]);
      const { draftedTokens, acceptedTokens, acceptanceRate } = guessed.timings.speculation!;
      assert.ok(draftedTokens > 0 && acceptanceRate === acceptedTokens / draftedTokens);
      for (let at = 1; at < 30; at += 4) {
        const left = loaded.generate(repeating, { ...options, speculation: {} });
        let count = 0;
        for await (const _ of left) if (++count === at) break;
        const next = await loaded.generate(repeating + left.text, { ...options, maxTokens: 30 - at }).result();
        assert.equal(left.text + next.text, plain.text, `left after ${at} tokens`);
      }
      await loaded.close();
      assert.equal(device.live, before);
    });
  }

  test("a draft model guesses; it has the same vocabulary, and its session is given back", async () => {
    const { loaded } = languageModel("llama");
    const { loaded: draftModel, device, before } = languageModel("matmul-free");
    const options = { ...GREEDY, maxTokens: 20 };
    const { text } = await loaded.generate("abc", options).result();
    const speculation = { draftModel, draftTokens: 3 };
    assert.equal((await loaded.generate("abc", { ...options, speculation }).result()).text, text);
    const drawn = await loaded.generate("abc", { seed: 3, maxTokens: 20, speculation }).result();
    assert.ok(drawn.timings.speculation!.draftedTokens > 0);
    for await (const _ of loaded.generate("abc", { ...options, speculation })) break;
    assert.equal(draftModel.sessionCount, 1);
    const { loaded: fresh } = languageModel("matmul-free");
    for (const isNew of [true, false]) {
      const guessed = loaded.generate("abc", { ...options, speculation: { ...speculation, draftModel: fresh } });
      const { compileSeconds } = (await guessed.result()).timings; // what the draft model compiles is no decoding
      assert.equal(compileSeconds > 0, isNew);
    }
    await fresh.close();
    await draftModel.close();
    assert.equal(device.live, before);
    const other = new LanguageModel(tinyModel(createInterpreter(), "llama", {}, CharacterTokenizer.fromTexts(["abc"])));
    await assert.rejects(
      loaded.generate("abc", { speculation: { draftModel: other } }).result(),
      /has another vocabulary/,
    );
    await loaded.close();
  });
});

describe("an end before the end", () => {
  test("leaving the loop, at any token, gives the session back with what it knows", async () => {
    const { loaded, device, before } = languageModel();
    for (let at = 1; at <= 6; at++) {
      const generation = loaded.generate("abc", { seed: 2, maxTokens: 6 });
      let count = 0;
      for await (const _ of generation) if (++count === at) break;
      const { usage, endedBy } = await generation.result();
      assert.deepEqual([usage.completionTokens, loaded.sessionCount], [at, 1]);
      assert.equal(endedBy, "interrupt");
    }
    await loaded.close();
    assert.equal(device.live, before);
  });

  test("a signal ends it without an error: before it begins, in a long prompt, between tokens", async () => {
    const { loaded } = languageModel("llama", {}, { contextLength: 2048 });
    const aborted = await loaded.generate("abc", { signal: AbortSignal.abort() }).result();
    assert.deepEqual([aborted.text, aborted.endedBy, aborted.usage.completionTokens], ["", "interrupt", 0]);
    const long = loaded.generate("abc ".repeat(400), { signal: AbortSignal.abort() });
    assert.deepEqual([(await long.result()).endedBy, long.tokens.length], ["interrupt", 0]);
    const controller = new AbortController();
    const generation = loaded.generate("abc", { seed: 2, maxTokens: 30, signal: controller.signal });
    let count = 0;
    for await (const _ of generation) if (++count === 3) controller.abort();
    assert.deepEqual([(await generation.result()).endedBy, count], ["interrupt", 3]);
    assert.equal((await loaded.generate("abc", { seed: 2, maxTokens: 3 }).result()).text, generation.text);
    await loaded.close();
  });

  test("several generations that take turns do not disturb each other, and few sessions are kept", async () => {
    const { loaded, device, before } = languageModel("llama", { idleSessions: 2, parallel: 1 });
    const prompts = ["a", "bc", "abc", "zz"];
    const alone: string[] = [];
    for (const prompt of prompts) alone.push((await loaded.generate(prompt, { seed: 4, maxTokens: 9 }).result()).text);
    const together = await Promise.all(
      prompts.map((prompt) => loaded.generate(prompt, { seed: 4, maxTokens: 9 }).result()),
    );
    assert.deepEqual(
      together.map(({ text }) => text),
      alone,
    );
    assert.equal(loaded.sessionCount, 2);
    await loaded.close();
    assert.equal(device.live, before);
  });

  test("closing the model ends what is in progress with an error, and frees all", async () => {
    const { loaded, device, before } = languageModel();
    const generation = loaded.generate("abc", { maxTokens: 30 });
    const pieces = generation[Symbol.asyncIterator]();
    await pieces.next();
    const starting = assert.rejects(loaded.generate("ab").result(), ModelClosedError);
    await loaded.close();
    await assert.rejects(pieces.next(), ModelClosedError);
    await starting;
    await assert.rejects(loaded.generate("abc").result(), ModelClosedError);
    await loaded.close();
    assert.equal(device.live, before);
  });

  test("an error while it generates loses the session and not the model", async () => {
    const { loaded, parts, device, before } = languageModel();
    const head = parts.parameters.get("embedding.weight")!.f32();
    const whole = head.slice();
    head.fill(Number.NaN);
    await assert.rejects(loaded.generate("abc").result(), /the model gave logits/);
    assert.equal(loaded.sessionCount, 0);
    head.set(whole);
    assert.equal((await loaded.generate("abc", { maxTokens: 4 }).result()).tokens.length, 4);
    await loaded.close();
    assert.equal(device.live, before);
  });
});

// Guesses change nothing but the time: greedy and looked-up texts are the very same, drawn ones have the distribution of
// the model, whatever the guesses are worth.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createInterpreter, encodeTensor } from "@fidelity/core";
import { createModel } from "../architectures.ts";
import { createConstraint, gbnfGrammar, TokenVocabulary } from "../constraints/index.ts";
import { createParameters } from "../device_parameters.ts";
import type { Model } from "../model.ts";
import { parameterTypes } from "../parameters.ts";
import { RandomStream } from "../random.ts";
import { Sampler } from "../sampling.ts";
import { openSession } from "../session.ts";
import type { Session } from "../session.ts";
import { randomParameters } from "../testing.ts";
import { lookupDrafter, ModelDrafter } from "./drafters.ts";
import type { SamplerOptions } from "./options.ts";
import { speculate } from "./speculative.ts";
import type { Drafter, SpeculateOptions } from "./speculative.ts";

const device = createInterpreter();

function models(vocabSize: number) {
  const sizes = { dim: 8, vocabSize };
  const attention = { ...sizes, hiddenDim: 8, layerCount: 1, headCount: 2, contextLength: 64 };
  return {
    attention: createModel({ architecture: "llama", ...attention }),
    recurrent: createModel({ architecture: "matmul-free", ...sizes, hiddenDim: 8, layerCount: 1 }),
    hybrid: createModel({
      architecture: "mamba2",
      ...sizes,
      layerCount: 2,
      headCount: 2,
      pattern: "MA",
      contextLength: 64,
    }),
  };
}

/** A session with random weights. */
function open(model: Model, seed: number): Promise<Session> {
  const values = randomParameters(model, seed);
  const types = parameterTypes(model.parameters, { packed: false });
  const parameters = createParameters(device, types, (tensor, path) => encodeTensor(values.get(path)!, tensor.bytes()));
  return openSession(model, parameters, device);
}

/** Guesses by a function of the text and the number of tokens. */
const guessing = (guess: (text: readonly number[], count: number) => number[]): Drafter => ({
  draft: async (text, count) => ({ tokens: guess(text, count) }),
});

async function speculated(session: Session, prompt: number[], options: SpeculateOptions): Promise<number[]> {
  session.reset();
  return Array.fromAsync(speculate(session, prompt, options));
}

describe("the same text as without", () => {
  const PROMPT = [1, 2, 3, 1, 2];
  for (const [name, model] of Object.entries(models(7))) {
    test(name, async () => {
      const [session, other] = [await open(model, 1), await open(models(7).attention, 2)];
      const plain = async (sampling: SamplerOptions, maxTokens: number, stop?: (token: number) => boolean) => {
        session.reset();
        const sampler = new Sampler(model.vocabSize, sampling);
        return Array.fromAsync(session.generate(PROMPT, { sampler, maxTokens, stop }));
      };
      const greedy = { temperature: 0, repetitionPenalty: 1.3 };
      const drawn: readonly SamplerOptions[] = [
        { seed: 4, topK: 4, presencePenalty: 1 },
        { seed: 1, mirostat: 2 },
      ];
      const sampling = name === "attention" ? [greedy, ...drawn] : [greedy, drawn[0]];
      for (const options of sampling) {
        const expected = await plain(options, 30);
        const right = guessing((text, count) => [...PROMPT, ...expected].slice(text.length, text.length + count));
        const drafters: Readonly<Record<string, Drafter>> = {
          lookup: lookupDrafter,
          right,
          wrong: guessing((text, count) => Array.from({ length: count }, () => (text.at(-1)! + 1) % 7)),
          partly: guessing((text, count) =>
            [...PROMPT, ...expected, 0]
              .slice(text.length, text.length + 2)
              .concat(0)
              .slice(0, count),
          ),
          none: guessing(() => []),
        };
        for (const [kind, drafter] of Object.entries(drafters)) {
          for (const maxTokens of [2, 30]) {
            const sampler = new Sampler(model.vocabSize, options);
            const count = { rounds: 0, draftedTokens: 0, acceptedTokens: 0 };
            const tokens = await speculated(session, PROMPT, { sampler, maxTokens, drafter, count });
            assert.deepEqual(tokens, expected.slice(0, maxTokens), `${kind}, ${maxTokens} tokens`);
            if (kind === "right") assert.equal(count.acceptedTokens, count.draftedTokens);
            if (kind === "none") assert.equal(count.rounds, 0);
          }
        }
      }
      const expected = await plain(greedy, 30);
      const twin = await open(model, 1);
      for (const drafter of [new ModelDrafter(twin, greedy), new ModelDrafter(other, greedy)]) {
        const sampler = new Sampler(model.vocabSize, greedy);
        assert.deepEqual(await speculated(session, PROMPT, { sampler, maxTokens: 30, drafter }), expected);
      }
      const stop = (token: number): boolean => token === expected[9];
      const sampler = new Sampler(model.vocabSize, greedy);
      const right = guessing((text, count) => [...PROMPT, ...expected].slice(text.length, text.length + count));
      const stopped = await speculated(session, PROMPT, { sampler, maxTokens: 30, drafter: right, stop });
      assert.deepEqual(stopped, await plain(greedy, 30, stop));
      for (const each of [session, other, twin]) each.close();
    });
  }

  test("a text that ends before its guess, and one at the end of the context", async () => {
    const session = await open(models(7).attention, 1);
    const drafter = guessing((_text, count) => Array.from({ length: count }, () => 1));
    const sampler = (): Sampler => new Sampler(7, { temperature: 0 });
    const prompt = Array.from({ length: 60 }, (_, i) => i % 7);
    const end = await speculated(session, prompt, { sampler: sampler(), maxTokens: 5, drafter });
    session.reset();
    assert.deepEqual(end, await Array.fromAsync(session.generate(prompt, { sampler: sampler(), maxTokens: 5 })));
    const letters = { vocabSize: 7, stopTokens: [], tokenBytes: (token: number) => Uint8Array.of(97 + token) };
    const constraint = createConstraint(gbnfGrammar('root ::= "bbb" "b"? "c"'), new TokenVocabulary(letters));
    const held = await speculated(session, [0], { sampler: sampler(), maxTokens: 20, drafter, constraint });
    assert.match(held.map((token) => "abcdefg"[token]).join(""), /^bbbb?c$/);
    session.close();
  });
});

test("looking up finds what followed the last tokens before, the latest first", async () => {
  const draft = async (text: number[], count: number) => (await lookupDrafter.draft(text, count)).tokens;
  assert.deepEqual(await draft([1, 2, 3, 4, 1, 2, 5, 6, 1, 2], 3), [5, 6, 1]);
  assert.deepEqual(await draft([9, 1, 2, 3, 8, 1, 2, 7, 9, 1, 2], 2), [3, 8]);
  assert.deepEqual(await draft([1, 2, 3], 2), []);
  assert.deepEqual(await draft([1], 2), []);
  assert.deepEqual(await draft([1, 1, 1], 3), [1]);
});

/** The sum of squares over expectations; cells of few are one cell. Gives how many standard deviations it is too large. */
function excess(
  observed: ReadonlyMap<string, number>,
  probabilities: ReadonlyMap<string, number>,
  draws: number,
): number {
  let [statistic, cells, restObserved, restExpected] = [0, 0, 0, 0];
  const add = (seen: number, expected: number): void => {
    statistic += (seen - expected) ** 2 / expected;
    cells++;
  };
  for (const [key, probability] of probabilities) {
    const [seen, expected] = [observed.get(key) ?? 0, probability * draws];
    if (expected >= 5) add(seen, expected);
    else [restObserved, restExpected] = [restObserved + seen, restExpected + expected];
  }
  if (restExpected >= 5) add(restObserved, restExpected);
  else assert.ok(restObserved <= 20, `${restObserved} of what hardly ever comes`);
  assert.ok(cells > 4);
  const freedom = cells - 1;
  return (statistic - freedom) / Math.sqrt(2 * freedom);
}

describe("the distribution of the model", () => {
  test("of one token, whatever was guessed, as often as can be", () => {
    const [vocabSize, draws] = [12, 20_000];
    const stream = new RandomStream(8);
    const values = new Float64Array(2 * vocabSize);
    stream.fillNormal(values, 0, 1.5);
    const [logits, others] = [new Float32Array(values.slice(0, vocabSize)), new Float32Array(values.slice(vocabSize))];
    for (const options of [{}, { temperature: 0.6, topP: 0.9 }, { topK: 5, minP: 0.02 }] satisfies SamplerOptions[]) {
      const [own, theirs] = [new Float64Array(vocabSize), new Float64Array(vocabSize)];
      const [sampler, drafter] = [new Sampler(vocabSize, { ...options, seed: 1 }), new Sampler(vocabSize, { seed: 2 })];
      sampler.sample(logits);
      sampler.probabilities(own);
      const observed = new Map<string, number>();
      let kept = 0;
      for (let i = 0; i < draws; i++) {
        const guess = drafter.sample(others);
        drafter.probabilities(theirs);
        const token = sampler.verify(logits, guess, theirs);
        observed.set(String(token), (observed.get(String(token)) ?? 0) + 1);
        if (token === guess) kept++;
      }
      const probabilities = new Map(Array.from(own, (probability, token) => [String(token), probability]));
      assert.ok(excess(observed, probabilities, draws) < 4, JSON.stringify([...observed]));
      const overlap = own.reduce((sum, probability, token) => sum + Math.min(probability, theirs[token]), 0);
      assert.ok(Math.abs(kept / draws - overlap) < 0.02, `${kept / draws} and not ${overlap}`);
    }
  });

  for (const name of ["attention", "recurrent"] as const) {
    test(`of whole texts, guessed by another model: ${name}`, async () => {
      const [draws, maxTokens, vocabSize] = [600, 5, 3];
      const session = await open(models(vocabSize)[name], 3);
      const drafting = await open(models(vocabSize).attention, 4);
      const options = { temperature: 0.9, topP: 0.97 };
      const own = new Float64Array(vocabSize);
      const sampler = new Sampler(vocabSize, options);
      let texts = new Map([["", 1]]);
      for (let length = 0; length < maxTokens; length++) {
        const longer = new Map<string, number>();
        for (const [text, probability] of texts) {
          session.reset();
          sampler.sample(await session.prefill([0, ...Array.from(text, Number)]));
          sampler.probabilities(own);
          for (const [token, share] of own.entries()) longer.set(`${text}${token}`, probability * share);
        }
        texts = longer;
      }
      const observed = new Map<string, number>();
      const count = { rounds: 0, draftedTokens: 0, acceptedTokens: 0 };
      for (let seed = 0; seed < draws; seed++) {
        const drafter = new ModelDrafter(drafting, { ...options, seed });
        drafting.reset();
        const chooser = new Sampler(vocabSize, { ...options, seed });
        const tokens = await speculated(session, [0], { sampler: chooser, maxTokens, drafter, draftTokens: 3, count });
        observed.set(tokens.join(""), (observed.get(tokens.join("")) ?? 0) + 1);
      }
      assert.ok(excess(observed, texts, draws) < 4);
      assert.ok(count.draftedTokens >= 3 * draws && count.acceptedTokens > 0, JSON.stringify(count));
      assert.ok(count.acceptedTokens < count.draftedTokens);
      session.close();
      drafting.close();
    });
  }
});

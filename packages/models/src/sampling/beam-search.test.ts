import assert from "node:assert/strict";
import { test } from "node:test";
import { createInterpreter, encodeTensor } from "@fidelity/core";
import { createModel } from "../architectures.ts";
import { createConstraint, regexGrammar, TokenVocabulary } from "../constraints/index.ts";
import { createParameters } from "../device_parameters.ts";
import type { Model } from "../model.ts";
import { parameterTypes } from "../parameters.ts";
import { Sampler } from "../sampling.ts";
import { SessionStateError } from "../sequences/state_format.ts";
import { openSession } from "../session.ts";
import type { Session } from "../session.ts";
import { randomParameters } from "../testing.ts";
import { beamSearch, bestOf, SearchOptionError } from "./beam-search.ts";
import { logprobOf, topLogprobs } from "./logprobs.ts";

const small = { dim: 12, layerCount: 1, vocabSize: 5 };
const models = [
  createModel({ architecture: "matmul-free", hiddenDim: 20, ...small }),
  createModel({ architecture: "llama", hiddenDim: 16, headCount: 3, contextLength: 12, ...small }),
];
const prompt = [1, 3];
const stop = (token: number): boolean => token === 4;

async function sessionOf(model: Model, capacity?: number): Promise<Session> {
  const device = createInterpreter();
  const values = randomParameters(model, 5);
  const parameters = createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) => {
    encodeTensor(values.get(path)!, tensor.bytes());
  });
  return openSession(model, parameters, device, capacity === undefined ? {} : { capacity });
}

/** Every text of up to `length` tokens with its log-probability: those that token 4 ends, and the longest ones. */
async function allTexts(session: Session, length: number): Promise<Map<string, number>> {
  const texts = new Map<string, number>();
  const visit = async (tokens: readonly number[], logprob: number): Promise<void> => {
    if (tokens.length === length) {
      texts.set(tokens.join(), logprob);
      return;
    }
    session.reset();
    const logits = (await session.prefill([...prompt, ...tokens])).slice();
    for (let token = 0; token < 4; token++) await visit([...tokens, token], logprob + logprobOf(logits, token));
    texts.set(`${tokens.join()} end`, logprob + logprobOf(logits, 4));
  };
  await visit([], 0);
  return texts;
}

for (const model of models) {
  test(`${model.architecture}: a beam that is wide enough finds the likeliest texts of all`, async () => {
    const session = await sessionOf(model);
    const expected = [...(await allTexts(session, 3))].sort((a, b) => b[1] - a[1]).slice(0, 10);
    session.reset();
    const found = await beamSearch(session, prompt, { count: 64, maxTokens: 3, stop, lengthPenalty: 0 });
    assert.deepEqual(
      found.slice(0, 10).map(({ tokens, isEnded }) => tokens.join() + (isEnded ? " end" : "")),
      expected.map(([text]) => text),
    );
    for (const [rank, [, logprob]] of expected.entries()) assert.ok(Math.abs(found[rank].logprob - logprob) < 1e-5);
    session.close();
  });

  test(`${model.architecture}: a beam of one is greedy, and a saved state goes on as it was`, async () => {
    const session = await sessionOf(model);
    const [beam] = await beamSearch(session, prompt, { count: 1, maxTokens: 6 });
    session.reset();
    const greedy: number[] = [];
    const sampler = new Sampler(5, { temperature: 0 });
    for await (const token of session.generate(prompt, { sampler, maxTokens: 6 })) greedy.push(token);
    assert.deepEqual(beam.tokens, greedy);
    session.reset();
    await session.prefill(prompt);
    const state = session.save();
    const after = session.step(2).slice();
    session.step(0);
    session.restore(state);
    assert.equal(session.position, 2);
    assert.deepEqual(session.step(2), after);
    assert.equal(session.save(state).tensors[0], state.tensors[0], "the memory of a copy is used again");
    session.close();
  });
}

test("texts stay within a constraint, and end with it", async () => {
  const session = await sessionOf(models[0]);
  const tokenBytes = (token: number): Uint8Array => (token === 4 ? new Uint8Array(0) : Uint8Array.of(0x61 + token));
  const vocabulary = new TokenVocabulary({ vocabSize: 5, stopTokens: [4], tokenBytes });
  const constraint = createConstraint(regexGrammar("ab?(cd){2}|d"), vocabulary);
  const texts = await beamSearch(session, prompt, { count: 5, maxTokens: 8, stop, constraint });
  const spelled = texts.map(({ tokens }) => String.fromCharCode(...tokens.map((token) => 0x61 + token)));
  assert.deepEqual(spelled.toSorted(), ["abcdcd", "acdcd", "d"]);
  assert.ok(texts.every(({ isEnded }) => isEnded));
  session.reset();
  const samplerOf = (seed: number): Sampler => new Sampler(5, { seed });
  const sampled = await bestOf(session, prompt, samplerOf, { count: 6, maxTokens: 8, stop, constraint });
  assert.equal(sampled.length, 6);
  for (const { tokens } of sampled) assert.ok(texts.some((text) => text.tokens.join() === tokens.join()));
  for (const [rank, { score }] of sampled.entries()) assert.ok(rank === 0 || score <= sampled[rank - 1].score);
  session.close();
});

test("sampled texts have the log-probability that the model gives them, and can be stopped", async () => {
  const session = await sessionOf(models[1]);
  const options = { count: 4, maxTokens: 4, stop };
  const texts = await bestOf(session, prompt, (seed) => new Sampler(5, { seed }), options);
  for (const { tokens, logprob, isEnded } of texts) {
    session.reset();
    let [logits, expected] = [await session.prefill(prompt), 0];
    for (const token of tokens) {
      expected += logprobOf(logits, token);
      logits = session.step(token);
    }
    if (isEnded) expected += logprobOf(logits, 4);
    assert.ok(Math.abs(expected - logprob) < 1e-5);
  }
  let steps = 0;
  const onStep = (): Promise<boolean> => Promise.resolve(++steps < 3);
  session.reset();
  assert.equal((await beamSearch(session, prompt, { ...options, onStep })).length > 0, true);
  assert.equal(steps, 3);
  session.close();
});

test("what cannot be is named", async () => {
  const session = await sessionOf(models[1]);
  const smaller = await sessionOf(models[1], 6);
  await assert.rejects(() => beamSearch(session, prompt, { count: 0, maxTokens: 1 }), SearchOptionError);
  session.reset();
  assert.throws(() => smaller.restore(session.save()), SessionStateError);
  assert.deepEqual(
    topLogprobs(Float32Array.of(3, 2, 1, 0), 2, Uint32Array.of(0b1010)).map(({ token }) => token),
    [1, 3],
  );
  session.close();
  smaller.close();
});

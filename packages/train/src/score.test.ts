// Scores against logits that the interpreter gives, and what is counted from them.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createInterpreter } from "@fidelity/core";
import {
  ByteTokenizer,
  createModel,
  createParameters,
  freeParameters,
  logitsOf,
  NO_TARGET,
  parameterTypes,
  RandomStream,
} from "@fidelity/models";
import type { DeviceParameters, Model } from "@fidelity/models";
import { evaluateChoices } from "./choices.ts";
import { QuestionError } from "./data/index.ts";
import type { Question } from "./data/index.ts";
import { evaluateRecall, meanAndError } from "./recall.ts";
import { Scoring } from "./score.ts";

const device = createInterpreter();

/** A model whose weights are large enough for its choices to differ. */
function boldModel(vocabSize: number): { model: Model; parameters: DeviceParameters } {
  const model = createModel({ architecture: "matmul-free", dim: 8, hiddenDim: 8, layerCount: 1, vocabSize });
  const random = new RandomStream(5);
  const parameters = createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor) =>
    random.fillNormal(tensor.f32()),
  );
  return { model, parameters };
}

/** The logits after each token, [time, vocabulary]. */
async function readLogits(model: Model, parameters: DeviceParameters, tokens: Int32Array): Promise<Float32Array> {
  for await (const logits of logitsOf(model, parameters, device, [Array.from(tokens)])) return logits.slice();
  return assert.fail("a batch gives logits");
}

function logSoftmax(logits: Float32Array, token: number): number {
  const top = Math.max(...logits);
  return logits[token] - top - Math.log(logits.reduce((sum, value) => sum + Math.exp(value - top), 0));
}

describe("scores", () => {
  test("are the log-probabilities of the targets, and whether each is the best", async () => {
    const { model, parameters } = boldModel(11);
    const [tokens, targets] = [Int32Array.of(3, 1, 4, 1), Int32Array.of(1, 4, NO_TARGET, 5)];
    const all = await readLogits(model, parameters, tokens);
    const scoring = await Scoring.compile(device, model, parameters, { batchSize: 1, contextLength: 4 });
    scoring.tokens.i32().set(tokens);
    // The second target is made the best one, so that both values of the flag are seen.
    const best = Array.from(all.subarray(11, 22)).indexOf(Math.max(...all.subarray(11, 22)));
    targets[1] = best;
    scoring.targets.i32().set(targets);
    const { logProbabilities, isBest } = await scoring.run();
    for (const time of [0, 1, 3]) {
      const row = all.subarray(11 * time, 11 * time + 11);
      assert.ok(Math.abs(logProbabilities[time] - logSoftmax(row, targets[time])) < 1e-5);
      assert.equal(isBest[time], row[targets[time]] === Math.max(...row) ? 1 : 0);
    }
    assert.equal(isBest[1], 1);
    scoring.free();
    freeParameters(parameters);
  });

  test("multiple choice adds up the log-probabilities of the answer's tokens", async () => {
    const { model, parameters } = boldModel(256);
    const tokenizer = new ByteTokenizer();
    const prompt = "Question: what?\nAnswer:";
    const choices = ["no", "certainly not", "é"];
    const likelihoods: number[] = [];
    for (const choice of choices) {
      const whole = tokenizer.encode(`${prompt} ${choice}`);
      const all = await readLogits(model, parameters, whole);
      let sum = 0;
      for (let at = prompt.length; at < whole.length; at++)
        sum += logSoftmax(all.subarray(256 * (at - 1), 256 * at), whole[at]);
      likelihoods.push(sum);
    }
    const plain = likelihoods.indexOf(Math.max(...likelihoods));
    const byCharacter = likelihoods.map((value, i) => value / Array.from(choices[i]).length);
    const normalised = byCharacter.indexOf(Math.max(...byCharacter));
    assert.notEqual(plain, normalised, "the lengths make a difference here");
    const ask = (answer: number): Question => ({ prompt, choices, answer, line: 1 });
    const measured = await evaluateChoices({
      device,
      model,
      parameters,
      tokenizer,
      questions: [ask(plain), ask(plain), ask(normalised)],
    });
    assert.ok(Math.abs(measured.accuracy - 2 / 3) < 1e-12 && Math.abs(measured.normalisedAccuracy - 1 / 3) < 1e-12);
    assert.ok(Math.abs(measured.accuracyError - Math.sqrt(2 / 9 / 2)) < 1e-12);
    assert.ok(Math.abs(measured.chance - 1 / 3) < 1e-12);
    freeParameters(parameters);
  });

  test("a text that is too long loses its beginning, and an answer that is too long is refused", async () => {
    const { model, parameters } = boldModel(256);
    const options = { device, model, parameters, tokenizer: new ByteTokenizer() };
    const question: Question = { prompt: "x".repeat(20), choices: ["yes", "no"], answer: 0, line: 7 };
    assert.equal((await evaluateChoices({ ...options, questions: [question], contextLength: 8 })).truncated, 1);
    assert.equal((await evaluateChoices({ ...options, questions: [question] })).truncated, 0);
    const refused = async (changed: Partial<Question>, contextLength: number, message: RegExp): Promise<void> => {
      await assert.rejects(
        evaluateChoices({ ...options, questions: [{ ...question, ...changed }], contextLength }),
        (error) => error instanceof QuestionError && message.test(error.message),
      );
    };
    await refused({}, 3, /choice 1 of line 7 is longer than the context of 3/);
    await refused({ prompt: "" }, 8, /choice 1 of line 7 has nothing before it/);
    freeParameters(parameters);
  });

  test("recall of a model that knows nothing is that of chance, for each number of pairs", async () => {
    const { model, parameters } = boldModel(18);
    const recall = await evaluateRecall({ device, model, parameters, pairs: [1, 4], contextLength: 16, sequences: 20 });
    assert.deepEqual(
      recall.map(({ pairs, sequences }) => [pairs, sequences]),
      [
        [1, 32],
        [4, 32],
      ],
    );
    for (const { accuracy } of recall) assert.ok(accuracy >= 0 && accuracy < 0.4, String(accuracy));
    freeParameters(parameters);
  });

  test("the standard error of a mean", () => {
    const { mean, standardError } = meanAndError([1, 0, 1, 1]);
    assert.equal(mean, 0.75);
    assert.ok(Math.abs(standardError - Math.sqrt(0.25 / 4)) < 1e-12);
    assert.deepEqual(meanAndError([1]), { mean: 1, standardError: 0 });
  });
});

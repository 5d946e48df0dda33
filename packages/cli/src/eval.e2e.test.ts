// The measures of eval: against each other, and between targets.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fidelity, Scratch, SMALL_TEXT, TINY, writeTinyLlama2c } from "./testing.ts";

const scratch = new Scratch();
after(() => scratch[Symbol.dispose]());
const text = scratch.write("text.txt", SMALL_TEXT);
const run = scratch.at("run");

before(async () => {
  const { code, stderr } = await fidelity("train", "--data", text, "--out", run, "--steps", "20", ...TINY);
  assert.equal(code, 0, stderr);
});

interface Report {
  readonly tokens: number;
  readonly context: number;
  readonly bytesPerToken: number;
  readonly results: readonly { weights: string; lossNatsPerToken: number; perplexity: number; bitsPerByte: number }[];
}

async function evaluated(...args: string[]): Promise<Report> {
  const { code, stdout, stderr } = await fidelity("eval", "--json", "--data", text, ...args);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

describe("eval", { concurrency: 2 }, () => {
  test("a run folder: float32 from the checkpoint, packed from the model, and both agree", async () => {
    const { context, bytesPerToken, results } = await evaluated("--model", run);
    assert.deepEqual([context, bytesPerToken], [8, 1]);
    assert.deepEqual(
      results.map(({ weights }) => weights),
      ["float32", "packed"],
    );
    for (const { lossNatsPerToken: loss, perplexity, bitsPerByte } of results) {
      assert.ok(loss > 1 && loss < Math.log(256), `${loss}`);
      assert.ok(Math.abs(perplexity - Math.exp(loss)) < 1e-9);
      assert.ok(Math.abs(bitsPerByte - loss / Math.LN2) < 1e-9);
    }
    assert.ok(Math.abs(results[0].lossNatsPerToken - results[1].lossNatsPerToken) < 1e-3);
  });

  test("a float32 checkpoint alone is packed on the way", async () => {
    const both = await evaluated("--model", `${run}/checkpoint.fid`);
    assert.deepEqual(
      both.results.map(({ weights }) => weights),
      ["float32", "packed"],
    );
    const folder = await evaluated("--model", run);
    assert.equal(both.results[0].lossNatsPerToken, folder.results[0].lossNatsPerToken);
  });

  test("a checkpoint is evaluated as its model, whatever the estimator and the optimiser train", async () => {
    const folder = scratch.at("finished");
    const how = ["--estimator", "stretched-elastic", "--optimizer", "schedule-free", "--steps", "20"];
    const { code, stderr } = await fidelity("train", "--data", text, "--out", folder, ...how, ...TINY);
    assert.equal(code, 0, stderr);
    const { results } = await evaluated("--model", `${folder}/checkpoint.fid`);
    const model = await evaluated("--model", `${folder}/model.fid`);
    const packed = model.results.find(({ weights }) => weights === "packed")!.lossNatsPerToken;
    for (const { lossNatsPerToken: loss } of results) assert.ok(Math.abs(loss - packed) < 1e-3, `${loss}, ${packed}`);
  });

  test("a model with another vocabulary, on both targets: tokens and bytes differ, bits per byte compare", async () => {
    const { model } = writeTinyLlama2c(scratch);
    const wasm = await evaluated("--model", model, "--max-tokens", "100");
    const interpreter = await evaluated("--model", model, "--max-tokens", "100", "--target", "interpreter");
    assert.deepEqual(
      wasm.results.map(({ weights }) => weights),
      ["float32"],
    );
    assert.ok(wasm.tokens >= 100 && wasm.tokens < 150 && wasm.context === 24, JSON.stringify(wasm));
    const [a, b] = [wasm.results[0].lossNatsPerToken, interpreter.results[0].lossNatsPerToken];
    assert.ok(Math.abs(a - b) < 1e-4 * b, `${a} and ${b}`);
  });

  test("people get a table, of the part of the text that they ask for", async () => {
    const { code, stdout } = await fidelity("eval", "--model", run, "--data", text, "--split", "validation");
    assert.equal(code, 0);
    assert.match(
      stdout,
      /^160 tokens in 20 windows of 8\n\nweights +loss \(nats\/token\) +perplexity +bits\/byte +tokens\/s\nfloat32 /,
    );
  });

  test("multiple choice: plain and normalised, of both forms of the weights", async () => {
    const questions = scratch.write(
      "questions.jsonl",
      [
        { context: "the quick brown", choices: ["fox", "zzz"], answer: "fox" },
        { question: "what is lazy?", choices: ["the dog", "a box"], answer: 0 },
      ]
        .map((question) => `${JSON.stringify(question)}\n`)
        .join(""),
    );
    const task = ["eval", "--model", run, "--task", "multiple-choice", "--data", questions] as const;
    const { code, stdout, stderr } = await fidelity(...task, "--json");
    assert.equal(code, 0, stderr);
    const { results } = JSON.parse(stdout) as { results: Readonly<Record<string, number | string>>[] };
    assert.deepEqual(
      results.map(({ weights, questions: count, chance }) => [weights, count, chance]),
      [
        ["float32", 2, 0.5],
        ["packed", 2, 0.5],
      ],
    );
    const people = await fidelity(...task);
    assert.match(
      people.stdout,
      /^2 questions; guessing would give 50\.0 %\n\nweights +accuracy +\+\/- +normalised +\+\/-\n/,
    );
    const broken = await fidelity(...task.slice(0, -1), scratch.write("broken.jsonl", '{"question": "what?"}'));
    assert.equal(broken.code, 1);
    assert.match(broken.stderr, /^fidelity: line 1 is no question with choices\n/);
  });

  test("associative recall by the number of pairs; options of another task are refused", async () => {
    const asked = ["--task", "mqar", "--pairs", "1,2", "--sequences", "16"];
    const { code, stdout, stderr } = await fidelity("eval", "--model", run, ...asked, "--json");
    assert.equal(code, 0, stderr);
    const { results } = JSON.parse(stdout) as { results: { recall: { pairs: number; accuracy: number }[] }[] };
    for (const { recall } of results) {
      assert.deepEqual(
        recall.map(({ pairs }) => pairs),
        [1, 2],
      );
      for (const { accuracy } of recall) assert.ok(accuracy >= 0 && accuracy <= 1);
    }
    const wrong = await fidelity("eval", "--model", run, "--data", text, "--pairs", "2");
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /^fidelity: --pairs means nothing to --task perplexity\n/);
  });

  test("a text without two tokens cannot be scored", async () => {
    const { code, stderr } = await fidelity("eval", "--model", run, "--data", scratch.write("x.txt", "x"));
    assert.equal(code, 1);
    assert.match(stderr, /^fidelity: the text is too short to score\n/);
  });
});

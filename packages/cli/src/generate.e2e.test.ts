// Text from models: the same everywhere, streamed, stopped as asked.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { searchTools } from "@fidelity/alex/node";
import { fidelity, Scratch, SMALL_TEXT, startFidelity, TINY, writeTinyLlama2c } from "./testing.ts";

const scratch = new Scratch();
after(() => scratch[Symbol.dispose]());
const { model, tokenizer } = writeTinyLlama2c(scratch);
const run = scratch.at("run");

before(async () => {
  const text = scratch.write("text.txt", SMALL_TEXT);
  const options = ["--vocabulary", "character", "--steps", "20", ...TINY];
  const { code, stderr } = await fidelity("train", "--data", text, "--out", run, ...options);
  assert.equal(code, 0, stderr);
});

/** Libraries of native code are made afresh, away from the user's. */
const env = { ...process.env, FIDELITY_CACHE_DIR: scratch.at("cache") };

async function textOf(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await startFidelity(["generate", ...args], { env }).ended;
  assert.equal(code, 0, stderr);
  return stdout;
}

const whyNoNative = searchTools().missing.length > 0 && "needs LLVM 19 (tools/setup.sh)";

const sharedModel = join(import.meta.dirname, "../../../../shared/data/stories260K/stories260K.bin");
const storyStart =
  "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a " +
  "big, red ball. She wanted to play with it, but it was too high.";

describe("generate", { concurrency: 2 }, () => {
  test("a llama2.c model writes the same on the interpreter and on wasm, with 1 and with 2 threads", async () => {
    const greedy = ["--model", model, "--temperature", "0", "--tokens", "20", "--prompt", "ab"];
    const reference = await textOf(...greedy, "--target", "interpreter");
    assert.ok(reference.startsWith("ab") && reference.length > 3, JSON.stringify(reference));
    assert.equal(await textOf(...greedy, "--threads", "1"), reference, "the tokenizer beside the model is found");
    assert.equal(await textOf(...greedy, "--threads", "2", "--tokenizer", tokenizer), reference);
  });

  test("a llama2.c model writes the same in native code", { skip: whyNoNative }, async () => {
    const greedy = ["--model", model, "--temperature", "0", "--tokens", "20", "--prompt", "ab"];
    const reference = await textOf(...greedy);
    for (const threads of ["1", "2"]) {
      assert.equal(await textOf(...greedy, "--target", "native", "--threads", threads), reference);
    }
  });

  test("the shared model tells its documented story, everywhere", async () => {
    if (!existsSync(sharedModel)) return; // it is not part of the repository
    const native = whyNoNative === false ? [["--target", "native", "--threads", "2"]] : [];
    for (const target of [["--target", "interpreter"], ["--threads", "1"], ["--threads", "2"], ...native]) {
      const text = await textOf("--model", sharedModel, "--temperature", "0", "--tokens", "62", ...target);
      assert.ok(text.startsWith(storyStart), text);
    }
  });

  test("a seed decides the text, and another seed another one", async () => {
    const args = ["--model", run, "--tokens", "40", "--temperature", "1"];
    const [first, again, other] = [await textOf(...args), await textOf(...args), await textOf(...args, "--seed", "7")];
    assert.equal(first, again);
    assert.notEqual(first, other);
  });

  test("--prompt - reads the prompt from standard input", async () => {
    const args = ["generate", "--model", run, "--tokens", "5", "--prompt", "-"];
    const { code, stdout } = await startFidelity(args, {}, "the quick").ended;
    assert.equal(code, 0);
    assert.match(stdout, /^the quick.{5}\n$/s);
  });

  test("--json prints one document, with text, prompt and reason, and no stream", async () => {
    const args = ["--model", run, "--tokens", "12", "--json", "--prompt", "jug", "--temperature", "0"];
    const document: Record<string, unknown> = JSON.parse(await textOf(...args));
    const plain = await textOf(...args.filter((arg) => arg !== "--json"));
    assert.equal(`jug${String(document.text)}\n`, plain);
    assert.equal(document.prompt, "jug");
    assert.equal(document.tokens, 12);
    assert.equal(document.endedBy, "tokens");
  });

  test("a schema, a grammar and an expression hold the text, which comes without the prompt", async () => {
    const schema = scratch.write(
      "schema.json",
      '{"properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "maximum": 9}}, "required": ["ok", "n"]}',
    );
    const document: Record<string, unknown> = JSON.parse(
      await textOf(
        "--model",
        model,
        "--prompt",
        "a",
        "--tokens",
        "200",
        "--json-schema",
        schema,
        "--logit-bias",
        "13=-inf",
      ),
    );
    assert.deepEqual([typeof document.ok, Number.isInteger(document.n)], ["boolean", true]);
    const grammar = 'root ::= [bc]{3} ("!" | "?")';
    assert.match(await textOf("--model", model, "--grammar", grammar, "--mirostat", "2"), /^[bc]{3}[!?]\n$/);
    // A vocabulary of characters has no token that ends a text: the expression does.
    const json = await textOf("--model", run, "--regex", "(?:the|quick){2}", "--json", "--logprobs", "2");
    const generation = JSON.parse(json) as { text: string; endedBy: string; isComplete: boolean; logprobs: unknown[] };
    assert.match(generation.text, /^(the|quick){2}$/);
    assert.deepEqual([generation.endedBy, generation.isComplete], ["complete", true]);
    assert.equal(generation.logprobs.length, generation.text.length);
  });

  test("beams find a text that is at least as likely as the greedy one, and penalties change it", async () => {
    interface Found {
      text: string;
      beams: { logprob: number }[];
    }
    const args = ["--model", run, "--tokens", "8", "--json"];
    const [one, four] = [
      JSON.parse(await textOf(...args, "--beams", "1")) as Found,
      JSON.parse(await textOf(...args, "--beams", "4")) as Found,
    ];
    assert.equal(four.beams.length, 4);
    assert.ok(four.beams[0].logprob >= one.beams[0].logprob - 1e-6);
    const greedy = [...args, "--temperature", "0"];
    assert.equal((JSON.parse(await textOf(...greedy)) as Found).text, one.text);
    const penalised = JSON.parse(
      await textOf(...greedy, "--presence-penalty", "100", "--frequency-penalty", "1"),
    ) as Found;
    assert.equal(new Set(penalised.text).size, penalised.text.length, "no character comes twice");
  });

  test("a stop string ends the text before it, even across tokens", async () => {
    const args = ["--model", run, "--tokens", "40", "--json", "--temperature", "0"];
    const whole = JSON.parse(await textOf(...args)) as { text: string };
    const stop = whole.text.slice(10, 13);
    const stopped = JSON.parse(await textOf(...args, "--stop", stop)) as { text: string; endedBy: string };
    assert.equal(stopped.text, whole.text.slice(0, whole.text.indexOf(stop)));
    assert.equal(stopped.endedBy, "stop-string");
  });

  test("guesses leave the text as it is, whoever makes them", async () => {
    interface Guessed {
      text: string;
      timings: { speculation: { draftedTokens: number; acceptanceRate: number } };
    }
    const args = ["--model", run, "--tokens", "40", "--json", "--prompt", "the quick brown the quick "];
    const greedy = [...args, "--temperature", "0"];
    const { text } = JSON.parse(await textOf(...greedy)) as { text: string };
    const itself = JSON.parse(await textOf(...greedy, "--draft-model", run, "--speculate", "3")) as Guessed;
    assert.equal(itself.text, text);
    assert.equal(itself.timings.speculation.acceptanceRate, 1);
    for (const drawn of [greedy, args]) {
      const guessed = JSON.parse(await textOf(...drawn, "--speculate")) as Guessed;
      assert.equal(guessed.text, (JSON.parse(await textOf(...drawn)) as Guessed).text);
      assert.ok(guessed.timings.speculation.draftedTokens > 0);
    }
  });

  test("a transformer stops where its context ends, and refuses a longer prompt", async () => {
    const document = JSON.parse(await textOf("--model", model, "--tokens", "1000", "--json", "--prompt", "a")) as {
      tokens: number;
      endedBy: string;
    };
    assert.ok(document.endedBy === "stop-token" || (document.endedBy === "context" && document.tokens === 24 - 3 + 1));
    const { code, stderr } = await fidelity("generate", "--model", model, "--prompt", "a b c ".repeat(10));
    assert.equal(code, 1);
    assert.match(stderr, /^fidelity: the context is full\n.*\n {2}expected: at most 24 tokens\n/);
  });

  test("Ctrl-C ends the text, with a whole last line and exit code 130", async () => {
    const running = startFidelity(["generate", "--model", run, "--tokens", "100000000"]);
    await running.shows("a");
    running.child.kill("SIGINT");
    const { code, stdout, stderr } = await running.ended;
    assert.deepEqual([code, stderr, stdout.endsWith("\n")], [130, "", true]);
  });

  const wrong: [args: string[], message: RegExp][] = [
    [["--model", run, "--top-p", "0"], /^fidelity: topP cannot be 0\n/],
    [["--model", run, "--json-schema", '{"not": {}}'], /^fidelity: the schema's "not" cannot be used\n/],
    [["--model", run, "--regex", "§"], /^fidelity: no token may come next\n(.|\n)*vocabulary/],
    [["--model", run, "--grammar", scratch.at("none.gbnf")], /^fidelity: cannot read a file/],
    [["--model", run, "--draft-model", model], /^fidelity: the draft model has another vocabulary\n/],
    [["--model", run, "--typical", "0"], /^fidelity: typicalP cannot be 0\n/],
    [["--model", run, "--prompt", "the §"], /^fidelity: the vocabulary has no token for "§" \(U\+00A7\)\n/],
    [["--model", model, "--tokenizer", model], /is not a llama2.c tokenizer file\n/],
    [["--model", model, "--tokenizer", scratch.at("none")], /^fidelity: cannot read a file: there is no such file/],
  ];
  for (const [args, message] of wrong) {
    test(`refused: ${args.slice(2, 4).join(" ")}`, async () => {
      const { code, stdout, stderr } = await fidelity("generate", ...args);
      assert.deepEqual([code, stdout], [1, ""]);
      assert.match(stderr, message);
    });
  }
});

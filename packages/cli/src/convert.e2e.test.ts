// Conversions from the command line: a model tells the same from every format, and mistakes are named.

import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { openModel } from "@fidelity/run/node";
import { createInterpreter } from "@fidelity/core";
import { fidelity, Scratch, writeTinyLlama2c } from "./testing.ts";

const scratch = new Scratch();
after(() => scratch[Symbol.dispose]());
const { model, tokenizer } = writeTinyLlama2c(scratch);
const shared = join(import.meta.dirname, "../../../../shared/data/stories260K/stories260K.bin");
const story = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park.";

async function converted(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await fidelity("convert", ...args);
  assert.equal(code, 0, stderr);
  return stdout;
}

async function generated(path: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await fidelity("generate", "--model", path, "--temperature", "0", ...args);
  assert.equal(code, 0, stderr);
  return stdout;
}

describe("convert", { concurrency: 2 }, () => {
  test("a model writes the same text as llama2.c, GGUF, safetensors and container", async () => {
    // The shared model is not part of the repository; the tiny one makes no sense, but always the same nonsense.
    const hasStory = existsSync(shared);
    const ask = hasStory ? ["--tokens", "32"] : ["--tokens", "12", "--prompt", "ab"];
    const expected = await generated(hasStory ? shared : model, ...ask);
    if (hasStory) assert.ok(expected.startsWith(story), expected);
    let from = hasStory ? shared : model;
    for (const to of [scratch.at("a.gguf"), scratch.at("a"), scratch.at("a.fid")]) {
      const report = await converted(from, to);
      assert.match(report, /exact/);
      assert.match(report, /tokenizer: \S+, \d+ tokens/);
      assert.equal(await generated(to, ...ask), expected, to);
      from = to;
    }
  });

  test("--json reports every tensor, the tokenizer and what could not be done", async () => {
    const report = JSON.parse(await converted(model, scratch.at("types.gguf"), "--type", "q4_k", "--json"));
    assert.equal(report.tokenizer.kind, "sentencepiece");
    assert.equal(report.hasChatTemplate, false);
    assert.ok(report.tensors.every(({ to }: { to: string }) => to === "f32"));
    assert.deepEqual(report.notices, [], "matrices as small as these are not asked for");
  });

  test("a model without tokenizer gets one, and says before that it has none", async () => {
    const alone = scratch.copy(model, join("alone", "model.bin"));
    assert.match(await converted(alone, scratch.at("bare.gguf")), /tokenizer: none; .*--tokenizer/);
    const report = await converted(alone, scratch.at("given.gguf"), "--tokenizer", tokenizer);
    assert.match(report, /tokenizer: sentencepiece, 286 tokens/);
    using opened = await openModel(scratch.at("given.gguf"), createInterpreter());
    assert.equal(opened.tokenizer?.vocabSize, 286);
  });

  test("a model as ONNX: sequences of one length, which show describes", async () => {
    const path = scratch.at("a.onnx");
    assert.match(await converted(model, path, "--context", "7"), /exact[^]*sequences of 7 tokens/);
    const { code, stdout, stderr } = await fidelity("show", path);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /ONNX, IR version 8[^]*input_ids: i64\[1, 7\][^]*logits: f32\[1, 7, /);
  });

  test("mistakes are named, and nothing is written", async () => {
    const there = scratch.write("there.gguf", "something");
    const cases: readonly (readonly [args: string[], code: number, message: RegExp])[] = [
      [[model, there], 2, /something in the place(.|\n)*--force/],
      [[model, scratch.at("no-name.bin")], 2, /which format/],
      [[model, scratch.at("no-folder.safetensors")], 2, /is a folder/],
      [[model, scratch.at("no-type"), "--type", "q8_0"], 2, /safetensors has no such type/],
      [[model, scratch.at("no-type.fid"), "--type", "q8_0"], 2, /leave --type away/],
      [[model, scratch.at("no-context.gguf"), "--context", "7"], 2, /--context is for ONNX/],
      [[model, scratch.at("no-type.onnx"), "--type", "q8_0"], 2, /ONNX has no such type/],
      [[scratch.at("nothing.bin"), scratch.at("no-input.gguf")], 1, /no such file/],
      [[model, scratch.at("no-words.gguf"), "--tokenizer", there], 1, /not a llama2.c tokenizer file/],
    ];
    const checked = cases.map(async ([args, expected, message]) => {
      const { code, stderr } = await fidelity("convert", ...args);
      assert.equal(code, expected, stderr);
      assert.match(stderr, message);
    });
    await Promise.all(checked);
    const written = readdirSync(scratch.path).filter((name) => name.startsWith("no-"));
    assert.deepEqual(written, []);
  });
});

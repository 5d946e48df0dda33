// `fidelity logits`: rows of float32 for tokens in a batch and one by one, and what is no list of tokens.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { fidelity, Scratch, writeTinyLlama2c } from "./testing.ts";

const scratch = new Scratch();
after(() => scratch[Symbol.dispose]());
const { model } = writeTinyLlama2c(scratch);

async function logits(name: string, tokens: string, ...options: string[]): Promise<Float32Array> {
  const [file, out] = [scratch.write(`${name}.json`, tokens), scratch.at(`${name}.f32`)];
  const { code, stderr, stdout } = await fidelity(
    "logits",
    model,
    "--tokens",
    file,
    "--out",
    out,
    "--json",
    ...options,
  );
  assert.equal(code, 0, stderr);
  const bytes = new Uint8Array(readFileSync(out));
  const values = new Float32Array(bytes.buffer);
  const { shape } = JSON.parse(stdout) as { shape: [number, number] };
  assert.equal(values.length, shape[0] * shape[1]);
  return values;
}

describe("logits", { concurrency: 2 }, () => {
  test("a batch, one by one, and a batch with a continuation are the same rows", async () => {
    const batch = await logits("batch", "[5, 7, 11, 13]");
    const single = await logits("single", "[5, 7, 11, 13]", "--one-by-one", "--target", "interpreter");
    const both = await logits("both", `{ "tokens": [5, 7], "continuation": [11, 13] }`, "--threads", "1");
    for (const other of [single, both]) {
      assert.equal(other.length, batch.length);
      other.forEach((value, i) => assert.ok(Math.abs(value - batch[i]) < 1e-5, `${i}: ${value}, ${batch[i]}`));
    }
  });

  test("what is no list of tokens is refused, and leaves no file", async () => {
    const out = scratch.at("none.f32");
    for (const [name, text, message] of [
      ["text", "hello", /holds no token ids(.|\n)*expected: a JSON array/],
      ["fraction", "[1, 2.5]", /holds no token ids/],
      ["large", "[1, 100000]", /no such token(.|\n)*got: +100000/],
      ["empty", "[]", /holds no token ids/],
    ] as const) {
      const ended = await fidelity("logits", model, "--tokens", scratch.write(`${name}.json`, text), "--out", out);
      assert.notEqual(ended.code, 0);
      assert.match(ended.stderr, message);
      assert.equal(existsSync(out) || existsSync(`${out}.part`), false);
    }
  });
});

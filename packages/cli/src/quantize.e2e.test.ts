// `fidelity quantize`: smaller types, with what they cost.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, describe, test } from "node:test";
import { describeModel } from "@fidelity/run/node";
import { fidelity, Scratch, SMALL_TEXT, TINY } from "./testing.ts";

const scratch = new Scratch();
after(() => scratch[Symbol.dispose]());
const text = scratch.write("text.txt", SMALL_TEXT);
const run = scratch.at("run");
const options = ["--architecture", "llama", "--vocabulary", "character", ...TINY, "--width", "32", "--steps", "40"];
const trained = await fidelity("train", "--data", text, "--out", run, ...options);
assert.equal(trained.code, 0, trained.stderr);

describe("quantize", { concurrency: 2 }, () => {
  test("sizes, errors, and a perplexity that is near the one before", async () => {
    const out = scratch.at("small.gguf");
    const { code, stdout, stderr } = await fidelity(
      ...["quantize", run, out, "--type", "q8_0", "--data", text, "--max-tokens", "256", "--json"],
    );
    assert.equal(code, 0, stderr);
    const { bytesBefore, bytesAfter, perplexity } = JSON.parse(stdout);
    assert.ok(bytesAfter < bytesBefore, `${bytesBefore} and ${bytesAfter}`);
    assert.ok(perplexity.before > 1 && Math.abs(perplexity.after / perplexity.before - 1) < 0.05, stdout);
    assert.ok(describeModel(out).tensors.some(({ dtype }) => dtype === "q8_0"));
    const again = await fidelity("quantize", run, out, "--type", "q8_0");
    assert.deepEqual([again.code, /--force/.test(again.stderr)], [2, true], again.stderr);
  });

  test("what cannot be is refused, and nothing is written", async () => {
    const out = scratch.at("none.gguf");
    for (const [args, message] of [
      [[run, out], /--type is missing/],
      [[run, out, "--type", "q8_0", "--data", scratch.write("empty.txt", "")], /fidelity: /],
    ] as const) {
      const { code, stderr } = await fidelity("quantize", ...args);
      assert.notEqual(code, 0);
      assert.match(stderr, message);
      assert.equal(existsSync(out), false);
    }
  });
});

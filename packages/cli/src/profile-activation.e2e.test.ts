// `fidelity profile-activation` as a user runs it: formulas, warnings, the picture, and the typical mistakes.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fidelity, Scratch } from "./testing.ts";

describe("profile-activation", { concurrency: true }, () => {
  test("the seed's own function: its derivatives, its kink, and a picture", async () => {
    using scratch = new Scratch();
    const svg = scratch.at("kink.svg");
    const fn = "(x) => x < 0 ? 0.1 * (Math.exp(x) - 1) : x / (1 + x)";
    const { code, stdout } = await fidelity("profile-activation", fn, "--step", "2.5", "--svg", svg);
    assert.equal(code, 0);
    assert.match(stdout, /f''' = 0\.1 \* exp\(x\) if x < 0 else 6 \/ \(x \+ 1\)\^4/);
    assert.match(stdout, /the first derivative jumps from 0\.1 to 1 at 0/);
    assert.match(stdout, /^ *2\.5 +0\.714286 +0\.0816327 +-0\.0466472 +0\.0399833$/m);
    assert.equal(readFileSync(svg, "utf8").match(/<path/g)?.length, 4);
  });

  test("a known one by name, as JSON: values agree with its formula", async () => {
    const { code, stdout } = await fidelity("profile-activation", "silu", "--json", "--step", "1");
    assert.equal(code, 0);
    const { samples, breaks } = JSON.parse(stdout) as { samples: number[][]; breaks: unknown[] };
    assert.deepEqual(breaks, []);
    for (const [x, y] of samples) assert.ok(Math.abs(y! - x! / (1 + Math.exp(-x!))) < 1e-12);
  });

  test("mistakes are named", async () => {
    const misspelt = await fidelity("profile-activation", "gelo");
    assert.equal(misspelt.code, 2);
    assert.match(misspelt.stderr, /did you mean gelu\?/);
    const text = await fidelity("profile-activation", "(x) => x *");
    assert.notEqual(text.code, 0);
    assert.match(text.stderr, /line 1, column 11/);
    const empty = await fidelity("profile-activation", "relu", "--from", "3", "--to", "1");
    assert.match(empty.stderr, /the interval is empty/);
  });
});

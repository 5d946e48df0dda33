// The command: help, and refusals in words.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("./main.ts", import.meta.url));

function bench(...args: string[]) {
  return spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8" });
}

test("--help tells what there is", () => {
  const { status, stdout } = bench("--help");
  assert.equal(status, 0);
  assert.match(stdout, /Usage: npm run bench/);
});

test("a file that cannot be written is refused before anything is measured", () => {
  const { status, stdout, stderr } = bench("kernels", "--json", "no/such/folder/rows.json");
  assert.equal(status, 1);
  assert.equal(stdout, "");
  assert.match(stderr, /^bench: cannot write a file/);
});

test("an unknown suite ends with words and without a stack", () => {
  const { status, stderr } = bench("speed");
  assert.equal(status, 1);
  assert.match(
    stderr,
    /^bench: there is no such suite\n {2}expected: training, decode, generation, batches, browser, kernels, compile, memory, barewire, formats, gradbench\n/,
  );
  assert.doesNotMatch(stderr, /\n\s+at /);
});

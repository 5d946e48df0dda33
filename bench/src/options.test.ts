// The arguments: what they mean, and what is said of those that cannot be used.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BenchOptionError, readOptions, SUITES, USAGE } from "./options.ts";

test("without arguments all suites run, with one thread and with two where there are two", () => {
  const { suites, json, threads, quick, help } = readOptions([]);
  assert.deepEqual({ suites, json, quick, help }, { suites: SUITES, json: undefined, quick: false, help: false });
  assert.equal(threads[0], 1);
  assert.ok(threads.length <= 2 && threads.every((count) => count === 1 || count === 2));
});

test("suites run in their own order and once; numbers of threads are kept", () => {
  const options = readOptions(["kernels", "decode", "kernels", "--threads", "2,1,2", "--json", "rows.json", "--quick"]);
  const { suites, json, threads, quick } = options;
  assert.deepEqual(
    { suites, json, threads, quick },
    {
      suites: ["decode", "kernels"],
      json: "rows.json",
      threads: [2, 1],
      quick: true,
    },
  );
});

test("programs are compiled to WebAssembly, or to what is asked for", () => {
  assert.equal(readOptions([]).target, "wasm");
  assert.equal(readOptions(["training", "--target", "native"]).target, "native");
});

for (const [args, word] of [
  [["speed"], "speed"],
  [["--target", "cuda"], "cuda"],
  [["--threads", "0"], "0"],
  [["--threads", "1,x"], "1,x"],
  [["--threads", "1.5"], "1.5"],
  [["--fast"], "--fast"],
  [["--json"], "json"],
] as const) {
  test(`${args.join(" ")} is refused, and named`, () => {
    assert.throws(
      () => readOptions(args),
      (error: unknown) => error instanceof BenchOptionError && error.message.includes(word),
    );
  });
}

test("the help names every suite and option", () => {
  for (const word of [...SUITES, "--json", "--threads", "--quick"]) assert.ok(USAGE.includes(word), word);
});

// What doctor says of the machine that the tests run on, which by running them has what Fidelity needs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { supportsWasm } from "./machine/wasm-features.ts";
import { fidelity, startFidelity } from "./testing.ts";

interface Report {
  readonly ok: boolean;
  readonly sections: readonly {
    readonly title: string;
    readonly checks: readonly {
      readonly name: string;
      readonly ok: boolean;
      readonly found: string;
      readonly needed: boolean;
    }[];
  }[];
}

test("doctor finds what Fidelity needs, in words and as JSON", async () => {
  const [words, json] = await Promise.all([fidelity("doctor"), fidelity("doctor", "--json")]);
  assert.deepEqual([words.code, json.code, words.stderr], [0, 0, ""]);
  const report: Report = JSON.parse(json.stdout);
  assert.equal(report.ok, true);
  const checks = report.sections.flatMap((section) => section.checks);
  for (const { name, ok, needed } of checks) {
    if (needed) assert.ok(ok, name);
    assert.match(words.stdout, new RegExp(`^  ${ok ? "yes" : "no "}  ${name} `, "m"));
  }
  assert.ok(json.stderr.includes("This machine runs all that Fidelity has today."));
});

test("what is missing comes with a reason and a remedy", async () => {
  const env = { ...process.env, PATH: "/nowhere", FIDELITY_LLVM_BIN: "/nowhere" };
  const { code, stdout } = await startFidelity(["doctor"], { env }).ended;
  assert.equal(code, 0, "tools are no need");
  assert.match(
    stdout,
    /no +native code +mlir-opt-19, .* not found\n +would bring: .*\n +try: apt install mlir-19-tools/,
  );
});

test("each feature is asked for with a module that is valid but for the feature", () => {
  for (const feature of ["simd", "relaxed-simd", "threads", "memory64"] as const) {
    assert.equal(supportsWasm(feature), true, feature);
  }
});

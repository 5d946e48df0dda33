// The page of the documentation says what the registry has.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { architectureRows, architecturesPage } from "./commands/architectures.ts";

test("docs/models.md is what the registry says", () => {
  const page = readFileSync(new URL("../../../docs/models.md", import.meta.url), "utf8");
  assert.equal(
    page,
    architecturesPage(architectureRows()),
    "write it anew: fidelity architectures --markdown > docs/models.md",
  );
});

test("states are told by their size", () => {
  const rows = new Map(architectureRows().map((row) => [row.name, row]));
  assert.equal(rows.get("llama")?.state, "growing");
  assert.equal(rows.get("matmul-free")?.state, "constant");
  assert.deepEqual(rows.get("matmul-free")?.weights, ["float32", "ternary"]);
  assert.equal(rows.get("bert")?.state, "none");
});

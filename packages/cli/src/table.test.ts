// Numbers and shapes of text for people.

import assert from "node:assert/strict";
import { test } from "node:test";
import { formatDuration, formatRate, formatTable, formatTree, plural } from "./table.ts";

test("columns line up, the first to the left and the others to the right", () => {
  assert.equal(
    formatTable([
      ["name", "count"],
      ["a", "1,000"],
      ["long name", "2"],
    ]),
    "name       count\na          1,000\nlong name      2",
  );
});

test("a tree lines up its cells over all levels", () => {
  const leaf = { label: "leaf", cells: ["1"] };
  const tree = { label: "root", cells: ["22"], children: [{ label: "inner", children: [leaf, leaf] }, leaf] };
  assert.equal(
    formatTree(tree, ["right"]),
    ["root          22", "|-- inner", "|   |-- leaf   1", "|   `-- leaf   1", "`-- leaf       1"].join("\n"),
  );
});

test("rates have three digits that mean something", () => {
  assert.deepEqual([0.12345, 99.4, 1234.5, 987654].map(formatRate), ["0.123", "99.4", "1,230", "988,000"]);
});

test("durations and counts read as people say them", () => {
  assert.deepEqual([0.04, 61.4, 200].map(formatDuration), ["0.0 s", "61 s", "3 min 20 s"]);
  assert.deepEqual([plural(1, "file"), plural(1200, "file")], ["1 file", "1,200 files"]);
});

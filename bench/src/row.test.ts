// Rows from samples, and the table of rows.

import assert from "node:assert/strict";
import { test } from "node:test";
import { formatNumber, formatRows, formatShare, formatTable, makeRow } from "./row.ts";

const samples = new Map([
  ["ours", [200, 100, 400]],
  ["theirs", [100, 50, 100]],
  ["peak", [8000, 8000, 8000]],
]);

test("a row has the median, the quartiles, and ratio and share of the same rounds", () => {
  const peer = { source: "theirs", name: "them" };
  const ceiling = { source: "peak", name: "the peak", work: 20 };
  assert.deepEqual(makeRow({ id: "s/a", unit: "k/s", source: "ours", scale: 0.1, peer, ceiling }, samples, 0.25), {
    id: "s/a",
    value: 20,
    unit: "k/s",
    low: 15,
    high: 30,
    peer: "them",
    ratio: 2,
    ratioLow: 2,
    ratioHigh: 3,
    ceiling: "the peak",
    share: 0.5,
    quiet: 0.25,
  });
});

test("what was not measured is null, and every row has the same fields", () => {
  const missing = { source: "nobody", name: "nobody" };
  const row = makeRow(
    { id: "s/b", unit: "x", source: "peak", peer: missing, ceiling: { ...missing, work: 1 } },
    samples,
    null,
  );
  const { peer, ratio, ratioLow, ratioHigh, ceiling, share, quiet } = row;
  assert.deepEqual([peer, ratio, ratioLow, ratioHigh, ceiling, share, quiet], Array(7).fill(null));
  assert.deepEqual(
    Object.keys(row),
    "id value unit low high peer ratio ratioLow ratioHigh ceiling share quiet".split(" "),
  );
});

test("a table has aligned columns, and none that is empty", () => {
  const row = makeRow({ id: "s/a/threads-1", unit: "tokens/s", source: "ours" }, samples, 0.5);
  assert.equal(
    formatRows([row, { ...row, id: "s/b", value: 14_632, quiet: null }]),
    [
      "             median  unit      quartiles  others",
      "a/threads-1     200  tokens/s  150 - 300    50 %",
      "b            14,600  tokens/s  150 - 300       ?",
    ].join("\n"),
  );
  assert.equal(
    formatTable(
      [
        ["a", "b"],
        ["1", ""],
      ],
      new Set(),
    ),
    "a\n1",
  );
});

test("numbers have three digits that mean something", () => {
  assert.deepEqual([0, 0.012345, 0.5, 9.876, 98.76, 987.6, 1234.5, 14_632, 1e7].map(formatNumber), [
    "0",
    "0.0123",
    "0.500",
    "9.88",
    "98.8",
    "988",
    "1,230",
    "14,600",
    "10,000,000",
  ]);
  assert.deepEqual([0, 0.0123, 0.0994, 0.42, 1.19].map(formatShare), ["0.0 %", "1.2 %", "9.9 %", "42 %", "119 %"]);
});

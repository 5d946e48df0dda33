// Results in the memory of parameters: rows of a table, and slices that a loop reads and writes.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  gather,
  interpret,
  iota,
  mul,
  reshape,
  scan,
  scatterRows,
  splat,
  storageBytes,
  tensorType,
  trace,
} from "@fidelity/core";
import type { Graph, Tensor } from "@fidelity/core";
import { randomHost, relativeError, seededRandom } from "@fidelity/core/testing";
import type { Shape } from "@fidelity/units";
import { compileGraph, emitAfter } from "../compile.ts";
import { runCompiled } from "../testing.ts";

type F32 = Tensor<Shape, "f32">;

const target = { lanes: 4, joinsVectors: false };
const TABLE = tensorType("f32", [96, 40]);
const IDS = tensorType("i32", [7]);

/** Each donated parameter is the result of the same number. */
function donationsOf(count: number): { parameter: number; result: number }[] {
  return Array.from({ length: count }, (_, i) => ({ parameter: i, result: i }));
}

/** The interpreter's values, in place, in an arena that is much smaller than what is updated. */
function assertInPlace(graph: Graph, count: number): void {
  const donations = donationsOf(count);
  const options = { target, donations, verify: true };
  assert.match(
    emitAfter(graph, "layout", options),
    new RegExp(`^results in place: ${[...donations.keys()].join(", ")}$`, "m"),
  );
  const { arenaBytes } = compileGraph(graph, options);
  assert.ok(arenaBytes < storageBytes(TABLE) / 2, `an arena of ${arenaBytes} bytes`);
  const random = seededRandom(1);
  const inputs = graph.parameters.map(({ type }) => randomHost(type, random, type.dtype === "i32" ? [0, 95] : [-1, 1]));
  const actual = runCompiled(graph, inputs, { donations });
  interpret(graph, inputs).forEach(({ data }, i) =>
    assert.ok(relativeError(actual[i]!.data, data) < 1e-6, `result ${i}`),
  );
}

test("rows that are read, changed and written back stay in their table", () => {
  for (const mode of ["set", "add"] as const) {
    const { graph } = trace(
      "rows",
      (table, ids) => scatterRows(table as F32, ids as never, mul(gather(table as F32, ids as never), 3) as F32, mode),
      [TABLE, IDS],
    );
    assertInPlace(graph, 1);
  }
});

const BLOCKS = tensorType("f32", [12, 8, 40]);

/** A loop over blocks of a value and its average; each block's step reads both. */
function blocks(body: (value: F32, average: F32, at: F32) => readonly [F32, F32]): Graph {
  return trace(
    "blocks",
    (value, average) => {
      const step = (_none: readonly [], [v, a, at]: readonly Tensor[]) => {
        return { carry: [] as const, y: body(v as F32, a as F32, at as F32) };
      };
      const slices = [value, average, iota([12], "f32")] as readonly Tensor[];
      return (scan(step as never, [], slices) as { ys: readonly Tensor[] }).ys;
    },
    [BLOCKS, BLOCKS],
  ).graph;
}

test("a loop writes slices where it read them", () => {
  const momentum = blocks((value, average, at) => {
    const next = add(mul(average, 0.9), mul(value, at as never)) as F32;
    return [add(value, next) as F32, next];
  });
  assertInPlace(momentum, 2);
});

test("slices that a later step of the body needs are written last", () => {
  // The first result needs the new average, the second one the old value.
  const crossed = blocks((value, average, at) => {
    const rows = gather(value, iota([8]) as never) as F32;
    return [gather(add(average, rows) as F32, splat(3, [8], "i32")) as F32, add(mul(rows, at as never), value) as F32];
  });
  assertInPlace(crossed, 2);
});

test("a loop that reads a parameter as a whole, too, does not write into it", () => {
  const { graph } = trace(
    "whole",
    (value) => {
      const step = (_none: readonly [], [v, at]: readonly Tensor[]) => {
        const rows = gather(reshape(value as F32, [96, 40]), add(iota([8]), at as never) as never);
        return { carry: [] as const, y: add(v as F32, rows as never) };
      };
      return (scan(step as never, [], [value, iota([12])] as never) as { ys: Tensor }).ys;
    },
    [BLOCKS],
  );
  assert.match(emitAfter(graph, "layout", { target, donations: donationsOf(1) }), /^results in place: none$/m);
  const inputs = [randomHost(BLOCKS, seededRandom(2))];
  const [actual] = runCompiled(graph, inputs, { donations: donationsOf(1) });
  assert.ok(relativeError(actual!.data, interpret(graph, inputs)[0]!.data) < 1e-6);
});

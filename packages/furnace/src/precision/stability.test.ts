// Condition numbers against what is known of them, and the report of a graph that needs nothing. What is found and
// repaired in float32 is tested where compiled devices are: in the study of extended precision.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  createInterpreter,
  exp,
  log,
  matmul,
  mul,
  reduceSum,
  scan,
  softmax,
  sub,
  tensorType,
  trace,
} from "@fidelity/core";
import type { Graph, HostTensor, Tensor, TensorType } from "@fidelity/core";
import { conditionNumbers } from "./condition.ts";
import { formatStability, stabilitySvg } from "./report.ts";
import { gradientStability } from "./stability.ts";

type X = Tensor<readonly number[], "f64">;

function graphOf(fn: (...args: never[]) => unknown, shapes: readonly (readonly number[])[]): Graph {
  return trace("fn", fn, shapes.map((shape) => tensorType("f64", shape)) as never).graph;
}

const host = (shape: readonly number[], values: readonly number[]): HostTensor => {
  const type: TensorType = { dtype: "f64", shape };
  return { type, data: Float64Array.from(values) };
};

function conditionOf(graph: Graph, inputs: readonly HostTensor[], name: string) {
  const found = conditionNumbers(graph, inputs).find(({ node }) => node.op.name === name);
  assert.ok(found !== undefined, `${name} is counted`);
  return found;
}

test("cancellation has the condition number of its operands over its result", () => {
  const difference = graphOf((x: X, y: X) => sub(x, y), [[2], [2]]);
  const found = conditionOf(difference, [host([2], [1000.5, 4]), host([2], [1000, 0])], "sub");
  assert.ok(Math.abs(found.worst - 4001) < 1e-9);
  // Of the whole tensor: |(2000.5, 4)| over |(0.5, 4)|.
  assert.ok(Math.abs(found.condition - Math.hypot(2000.5, 4) / Math.hypot(0.5, 4)) < 1e-9);
});

test("sums and products count their terms, and functions have their sensitivity", () => {
  const sum = conditionOf(
    graphOf((x: X) => reduceSum(x), [[4]]),
    [host([4], [1, -1, 1, -0.5])],
    "reduce_sum",
  );
  assert.deepEqual([sum.terms, sum.condition], [4, 7]);
  const product = graphOf(
    (x: X, y: X) => matmul(x, y),
    [
      [1, 3],
      [3, 1],
    ],
  );
  const cancels = conditionOf(product, [host([1, 3], [1, 1, 1]), host([3, 1], [2, -1, -0.5])], "matmul");
  assert.deepEqual([cancels.terms, cancels.condition], [3, 7]);
  assert.equal(
    conditionOf(
      graphOf((x: X) => exp(x), [[1]]),
      [host([1], [-12])],
      "exp",
    ).condition,
    12,
  );
  const near1 = conditionOf(
    graphOf((x: X) => log(x), [[1]]),
    [host([1], [1 + 2 ** -20])],
    "log",
  ).condition;
  assert.ok(near1 > 2 ** 19 && near1 < 2 ** 21);
});

test("ops in the body of a loop are counted over all steps", () => {
  const step = (carry: X, x: X): { carry: X; y: X } => ({ carry: sub(mul(carry, 0.5), x), y: carry });
  const graph = graphOf((first: X, xs: X) => scan(step as never, first, xs).carry, [[1], [3, 1]]);
  const found = conditionOf(graph, [host([1], [1]), host([3, 1], [0.5, 1, 2])], "sub");
  // Carries are 1, 0, -1, -2.5; the differences 0.5 - 0.5, 0 - 1, -0.5 - 2.
  assert.ok(Math.abs(found.condition - Math.sqrt((1 + 1 + 6.25) / (0 + 1 + 6.25))) < 1e-12);
});

test("a graph that is exact needs nothing, and its report says so", async () => {
  const graph = graphOf((x: X) => softmax(x), [[3, 4]]);
  const inputs = [
    host(
      [3, 4],
      Array.from({ length: 12 }, (_, i) => i / 5),
    ),
  ];
  const report = await gradientStability(createInterpreter(), graph, inputs, { paths: ["a < b"] });
  assert.equal(report.error, 0);
  assert.equal(report.chosen.size, 0);
  assert.equal(report.extended, report.expanded);
  assert.match(formatStability(report), /\| a < b \| 0 \| 0 \|/u);
  assert.match(stabilitySvg(report), /^<svg[^]*a &lt; b[^]*<\/svg>\n$/u);
});

// Memory that nodes prepare from an input is made once for neighbours, again for those far away, and holds what each of
// them would have made for itself.

import assert from "node:assert/strict";
import { test } from "node:test";
import { add, hostValues, interpret, matmul, mul, rope, scan, tensorType, trace, transpose } from "@fidelity/core";
import type { Graph, Program, Tensor } from "@fidelity/core";
import { randomHost, relativeError, seededRandom } from "@fidelity/core/testing";
import { compileGraph } from "../compile.ts";
import { runCompiled } from "../testing.ts";

const TARGET = { lanes: 4, joinsVectors: true } as const;

/** Calls that prepare memory, those in loops once. */
function preparations({ schedule }: Program, name = "matmul_pack"): number {
  const count = (items: Program["schedule"]): number =>
    items.reduce((sum, item) => {
      if (item.kind === "loop") return sum + count(item.items);
      return sum + item.calls.filter(({ label }) => label === name).length;
    }, 0);
  return count(schedule);
}

function check(graph: Graph): void {
  const random = seededRandom(3);
  const inputs = graph.parameters.map(({ type }) => randomHost(type, random));
  const expected = interpret(graph, inputs);
  runCompiled(graph, inputs).forEach((result, i) => {
    assert.ok(relativeError(hostValues(result), hostValues(expected[i])) < 1e-5);
  });
}

const square = tensorType("f32", [72, 72]);

test("products of several matrices with one are packed for once", () => {
  const { graph } = trace("gradients", (a, b, c, x) => [a, b, c].map((left) => matmul(left, x, { transposeA: true })), [
    square,
    square,
    square,
    square,
  ]);
  assert.equal(preparations(compileGraph(graph, { target: TARGET })), 1);
  check(graph);
});

test("a matrix that is read in two orders is packed in both", () => {
  const { graph } = trace("both", (a, x) => add(matmul(a, x), matmul(a, x, { transposeB: true })), [square, square]);
  assert.equal(preparations(compileGraph(graph, { target: TARGET })), 2);
  check(graph);
});

test("what was prepared long ago is prepared again", () => {
  const { graph } = trace(
    "far",
    (a, x) => {
      // Each transposition is a call of its own.
      let far = matmul(a, x);
      for (let i = 0; i < 60; i++) far = mul(transpose(far, [1, 0]), transpose(far, [1, 0]));
      return matmul(far, x);
    },
    [square, square],
  );
  assert.equal(preparations(compileGraph(graph, { target: TARGET })), 2);
});

test("the layers of a model share the angles of its positions", () => {
  const heads = tensorType("f32", [1, 5, 2, 8]);
  const { graph } = trace(
    "layers",
    (x, position) => {
      let y = x;
      for (let layer = 0; layer < 30; layer++) y = add(rope(y, position), rope(mul(y, 0.5), position));
      return y;
    },
    [heads, tensorType("i32", [])],
  );
  assert.equal(preparations(compileGraph(graph, { target: TARGET }), "rope_angles"), 1);
});

test("in a loop it is made in every turn", () => {
  const { graph } = trace(
    "loop",
    (start, xs) => {
      const step = (carry: typeof start, x: typeof start) => {
        const y = add(matmul(x, carry), matmul(mul(x, 0.5), carry));
        return { carry: mul(y, 0.01), y };
      };
      const { carry, ys } = scan(step as never, start, xs) as { readonly carry: Tensor; readonly ys: Tensor };
      return [carry, ys];
    },
    [square, tensorType("f32", [3, 72, 72])],
  );
  assert.equal(preparations(compileGraph(graph, { target: TARGET })), 1);
  check(graph);
});

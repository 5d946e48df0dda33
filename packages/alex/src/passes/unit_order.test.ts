// The order of units: what frees memory runs as soon as it can, what takes some waits for its reader, and results are
// the interpreter's.

import assert from "node:assert/strict";
import { test } from "node:test";
import { interpret, matmul, storageBytes, tanh, tensorType, trace } from "@fidelity/core";
import type { Graph, Tensor } from "@fidelity/core";
import { randomHost, relativeError, seededRandom } from "@fidelity/core/testing";
import type { Shape } from "@fidelity/units";
import { compileGraph } from "../compile.ts";
import { runCompiled } from "../testing.ts";
import { fuse } from "./fuse.ts";
import { UnitOrder } from "./unit_order.ts";

type F32 = Tensor<Shape, "f32">;

const target = { lanes: 4, joinsVectors: false };
const LAYERS = 6;
const ROWS = tensorType("f32", [256, 24]);
const WEIGHT = tensorType("f32", [24, 24]);

function assertSameAsInterpreter(graph: Graph): void {
  const random = seededRandom(3);
  const inputs = graph.parameters.map(({ type }) => randomHost(type, random, [-0.2, 0.2]));
  const actual = runCompiled(graph, inputs);
  interpret(graph, inputs).forEach(({ data }, i) =>
    assert.ok(relativeError(actual[i]!.data, data) < 1e-5, `result ${i}`),
  );
}

/** A backward pass whose first result needs all cotangents, and whose others are the gradients of the weights. */
function backward(): Graph {
  const types = [ROWS, ROWS, Array.from({ length: LAYERS }, () => WEIGHT)] as const;
  const { graph } = trace(
    "backward",
    (x: F32, last: F32, weights: readonly Tensor[]) => {
      const gradients: Tensor[] = [];
      let cotangent = last;
      for (const weight of weights) {
        gradients.push(matmul(cotangent, x, { transposeA: true, transposeB: false }));
        cotangent = tanh(matmul(cotangent, weight as F32)) as F32;
      }
      return [cotangent, ...gradients];
    },
    types,
  );
  return graph;
}

test("a product that is the last to read a large value does not wait for its turn among the results", () => {
  const graph = backward();
  const { arenaBytes } = compileGraph(graph, { target, verify: true });
  assert.ok(arenaBytes < 4 * storageBytes(ROWS), `an arena of ${arenaBytes} bytes for ${LAYERS} cotangents`);
  assertSameAsInterpreter(graph);
});

test("a unit that takes more memory than it frees waits for its reader", () => {
  const { graph } = trace(
    "wide",
    (x: F32, w: F32, wide: F32) => {
      const small = matmul(x, w);
      const large = matmul(small, wide);
      return [matmul(tanh(matmul(small, w)) as F32, w), large, matmul(large, wide, { transposeB: true })];
    },
    [ROWS, WEIGHT, tensorType("f32", [24, 96])],
  );
  const order = new UnitOrder(fuse(graph), [graph.results[0]!, graph.results[2]!]).sorted();
  const [first, large] = [graph.results[0]!, graph.results[1]!].map(({ node }) =>
    order.findIndex((unit) => unit.kind === "kernel" && unit.node === node),
  ) as [number, number];
  assert.ok(first < large, `${first} < ${large}`);
  assertSameAsInterpreter(graph);
});

test("what was asked to come before comes before, whatever it frees", () => {
  const graph = backward();
  const [chain, gradient] = [graph.results[0]!, graph.results[2]!];
  const order = new UnitOrder(fuse(graph), graph.results);
  const [early, late] = [order.producerOf(gradient)!, order.producerOf(chain)!];
  assert.ok(order.sorted().indexOf(early) < order.sorted().indexOf(late));
  order.require(early, late);
  assert.ok(order.sorted().indexOf(early) > order.sorted().indexOf(late));
});

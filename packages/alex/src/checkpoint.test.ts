// The memory that a checkpoint saves, as the memory plan has it, with the numbers as they were.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  checkpoint,
  linearize,
  matmul,
  mul,
  parameter,
  reduceSum,
  sigmoid,
  splat,
  tanh,
  tensorType,
  trace,
  transposeLinear,
} from "@fidelity/core";
import type { Graph, Tensor } from "@fidelity/core";
import { randomHost, seededRandom } from "@fidelity/core/testing";
import type { Shape } from "@fidelity/units";
import { compileGraph } from "./compile.ts";
import { runCompiled } from "./testing.ts";

type F32 = Tensor<Shape, "f32">;

/** Gradients of a residual network in its weights. */
function gradientOf(layers: number, rows: number, width: number, wrap: typeof checkpoint): Graph {
  const layer = (w: F32, x: F32): F32 => {
    const h = matmul(x, w as never) as unknown as F32;
    return add(x, mul(tanh(h), sigmoid(h))) as F32;
  };
  const types = [
    tensorType("f32", [rows, width]),
    ...Array.from({ length: layers }, () => tensorType("f32", [width, width])),
  ];
  return trace(
    "gradient",
    (...inputs: Tensor[]) => {
      const [x, ...weights] = inputs as [F32, ...F32[]];
      // Parameters of its own, as grad makes them.
      let h = mul(x, 0.5) as F32;
      for (const w of weights) h = wrap(layer)(w, h);
      const loss = reduceSum(mul(h, h));
      const tangents = weights.map((w) => parameter("tangent", w.type));
      const [derivative] = linearize([loss], weights, tangents);
      return transposeLinear([derivative], tangents, [splat(1, [])]) as Tensor[];
    },
    types,
  ).graph;
}

test("a checkpoint a layer keeps one value a layer, and changes no bit", () => {
  const target = { lanes: 4, joinsVectors: false };
  const bytes = (wrap: typeof checkpoint): number =>
    compileGraph(gradientOf(8, 64, 16, wrap), { target, verify: true }).arenaBytes;
  const plain = bytes((fn) => fn);
  const saving = bytes(checkpoint);
  assert.ok(saving < plain / 2, `${saving} of ${plain} bytes`);
  const random = seededRandom(1);
  const graph = gradientOf(3, 8, 16, checkpoint);
  const inputs = graph.parameters.map(({ type }) => randomHost(type, random, [-0.5, 0.5]));
  const expected = runCompiled(
    gradientOf(3, 8, 16, (fn) => fn),
    inputs,
  );
  runCompiled(graph, inputs).forEach((result, i) => assert.deepEqual(result.data, expected[i]!.data));
});

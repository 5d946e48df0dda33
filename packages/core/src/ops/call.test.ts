// Calls: one body for each set of types, however often and in whatever trace it is called, with values and derivatives
// of the function itself.

import assert from "node:assert/strict";
import { test } from "node:test";
import { NotDifferentiableError } from "../derive/errors.ts";
import { linearize } from "../derive/linearize.ts";
import type { Graph, Tensor } from "../graph.ts";
import { topologicalOrder } from "../graph.ts";
import { interpret } from "../interpreter.ts";
import { parameter, tensorType, trace } from "../trace.ts";
import { traceOnce } from "./call.ts";
import { add } from "./add.ts";
import { exp } from "./exp.ts";
import { mul } from "./mul.ts";

const vector = tensorType("f32", [3]);
const wave = (x: Tensor, y: Tensor) => [mul(exp(x), y), add(x, y)] as const;
const host = (...data: number[]) => ({ type: vector, data: Float64Array.from(data) });
const bodiesOf = (graph: Graph): Set<unknown> =>
  new Set(topologicalOrder(graph.results).flatMap(({ attrs }) => (attrs["body"] === undefined ? [] : [attrs["body"]])));

test("a function is traced once for its types, in all traces", () => {
  let count = 0;
  const once = traceOnce("wave", (x: Tensor, y: Tensor) => {
    count++;
    return wave(x, y);
  });
  const nested = (x: Tensor, y: Tensor): Tensor => once(once(x, y)[0], once(y, x)[1])[0];
  const graphs = [0, 1].map(() => trace("nested", nested, [vector, vector]).graph);
  assert.equal(count, 1);
  assert.equal(new Set(graphs.flatMap((graph) => [...bodiesOf(graph)])).size, 1);
  const inputs = [host(1, -2, 0.5), host(0.25, 3, -1)];
  const plain = trace("plain", (x, y) => wave(wave(x, y)[0], wave(y, x)[1])[0], [vector, vector]).graph;
  for (const graph of graphs) assert.deepEqual(interpret(graph, inputs), interpret(plain, inputs));
  trace("other", (x, y) => once(x, y)[0], [tensorType("f32", [2]), tensorType("f32", [2])]);
  assert.equal(count, 2, "other types are another body");
});

test("its derivative is that of the function", () => {
  const once = traceOnce("wave", wave);
  const derivative = (fn: (x: Tensor, y: Tensor) => readonly [Tensor, Tensor]): Graph =>
    trace(
      "derivative",
      (x, y, dx) => {
        const at = parameter("at", vector);
        return linearize(fn(at, y), [at], [dx]).map((tangent) => add(tangent!, mul(0, x)));
      },
      [vector, vector, vector],
    ).graph;
  const types = (graph: Graph): string[] => topologicalOrder(graph.results).map(({ op }) => op.name);
  assert.ok(types(derivative(wave)).includes("exp"));
  assert.deepEqual(types(derivative((x, y) => once(x, y))), types(derivative(wave)));
});

test("tensors from outside are refused", () => {
  const leak = (x: Tensor): Tensor => traceOnce("leak", (y: Tensor) => [mul(x, y)] as const)(x)[0];
  assert.throws(() => trace("leak", leak, [vector]), NotDifferentiableError);
});

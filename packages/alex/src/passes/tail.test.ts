// Quantisation at the end of the loop that computes its rows: the codes, scales and sums are those of the kernel of its
// own, whatever else reads the rows.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Graph, HostTensor, Shape, Tensor, VectorTarget } from "@fidelity/core";
import { add, dequantize, matmul, quantizeActivations, rmsNorm, silu, tensorType, trace } from "@fidelity/core";
import { randomHost, seededRandom } from "@fidelity/core/testing";
import { compileStages } from "../compile.ts";
import { runCompiled } from "../testing.ts";
import type { Unit } from "./fuse.ts";

type Rows = Tensor<Shape, "f32">;
const TARGET: VectorTarget = { lanes: 4, joinsVectors: true };

/** Rows that are computed elementwise and quantised; with `isRead` somebody else reads them, too. */
function chain(rows: number, columns: number, isRead: boolean): Graph {
  const { graph } = trace(
    "chain",
    (x) => {
      const y: Rows = rmsNorm(silu(x as Rows));
      const codes = quantizeActivations(y);
      return isRead ? [codes, y, add(y, 1)] : [codes];
    },
    [tensorType("f32", [rows, columns])],
  );
  return graph;
}

function unitsOf(graph: Graph): readonly Unit[] {
  return compileStages(graph, { target: TARGET }).compilation.units!;
}

test("one loop normalises and quantises", () => {
  const [only, ...others] = unitsOf(chain(6, 40, false));
  assert.deepEqual(others, []);
  assert.equal(only!.kind, "fused");
  assert.deepEqual(only!.kind === "fused" && only!.outputs.map(({ dtype }) => dtype), ["q8"]);
});

test("codes, scales and sums are those of quantisation by itself, to the bit", () => {
  const property = fc.property(
    fc.integer({ min: 1, max: 9 }),
    fc.integer({ min: 1, max: 150 }),
    fc.boolean(),
    fc.integer({ min: 1, max: 1e6 }),
    (rows, columns, isRead, seed) => {
      const graph = chain(rows, columns, isRead);
      const type = tensorType("f32", [rows, columns]);
      const x: HostTensor = randomHost(type, seededRandom(seed));
      const [codes] = runCompiled(graph, [x], TARGET);
      const values = trace("rows", (input) => rmsNorm(silu(input as Rows)), [type]).graph;
      const [y] = runCompiled(values, [x], TARGET);
      const alone = trace("codes", (input) => quantizeActivations(input as Rows), [type]).graph;
      const [expected] = runCompiled(alone, [y!], TARGET);
      assert.deepEqual(codes, expected);
    },
  );
  fc.assert(property, { numRuns: 40, seed: 1 });
});

test("rows of another shape, of a parameter, or of a product keep the kernel of their own", () => {
  const type = tensorType("f32", [4, 32]);
  const graphs = [
    trace("parameter", (x) => quantizeActivations(x as Rows), [type]).graph,
    trace("product", (x, w) => dequantize(quantizeActivations(matmul(x as Rows, w as Rows))), [
      type,
      tensorType("f32", [32, 32]),
    ]).graph,
  ];
  for (const graph of graphs) {
    assert.ok(unitsOf(graph).some((unit) => unit.kind === "kernel" && unit.node.op.name === "quantize_activations"));
  }
});

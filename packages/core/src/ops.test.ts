// Over the op table: the shape rule and the reference agree on shapes, samples are deterministic, and every graph of
// one op verifies.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatType } from "./graph.ts";
import { interpret } from "./interpreter.ts";
import { ShapeMismatchError } from "./op.ts";
import { OPS } from "./ops/index.ts";
import { elementCount } from "./storage.ts";
import { drawCase, graphOf, randomInputs, SAMPLED_OPS, seededRandom } from "./testing.ts";
import { verifyGraph } from "./verify.ts";

test("the table lists every op under its own name and says what it does", () => {
  for (const [name, op] of Object.entries(OPS)) {
    assert.equal(op.name, name);
    assert.match(op.summary, /\S/u, name);
    assert.doesNotMatch(op.summary, /\n/u, name);
  }
});

for (const op of SAMPLED_OPS) {
  test(`${op.name}: the shape rule tells what the reference computes`, () => {
    const property = fc.property(fc.integer({ min: 1, max: 2 ** 30 }), (seed) => {
      const opCase = drawCase(op, seed);
      const graph = graphOf(op, opCase.inputs, opCase.attrs);
      verifyGraph(graph);
      const results = interpret(graph, randomInputs(opCase, seededRandom(seed)));
      graph.results.forEach(({ type }, i) => {
        assert.equal(formatType(results[i]!.type), formatType(type));
        assert.equal(results[i]!.data.length, elementCount(type.shape));
      });
    });
    fc.assert(property, { numRuns: 25 });
  });
}

test("shape rules refuse tensors of ranks and dtypes that they were not made for", () => {
  for (const op of SAMPLED_OPS) {
    const { inputs, attrs } = drawCase(op, 1);
    if (inputs.length === 0) continue;
    const spoiled = inputs.map((type) => ({ ...type, dtype: type.dtype === "bool" ? "f64" : "bool" }) as const);
    // Ops that move or repeat elements take any plain dtype; all others must say what they cannot take.
    const moves = [
      "after",
      "broadcast",
      "checkpoint_name",
      "concat",
      "pad",
      "reshape",
      "slice",
      "stop_gradient",
      "transpose",
      "cast",
      "scan",
      "custom_jvp",
      "custom_vjp",
    ];
    if (moves.includes(op.name)) continue;
    assert.throws(() => op.infer(spoiled, attrs), ShapeMismatchError, op.name);
  }
});

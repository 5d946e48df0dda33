// The verifier of graphs finds what passes could break.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Graph, Tensor, TensorType } from "./graph.ts";
import { Tensor as TensorValue } from "./graph.ts";
import { add } from "./ops/add.ts";
import { mul } from "./ops/mul.ts";
import { scan } from "./ops/scan.ts";
import { tensorType, trace } from "./trace.ts";
import { GraphVerifyError, verifyGraph } from "./verify.ts";

const type = tensorType("f32", [2]);
const { graph } = trace("f", (x: Tensor, y: Tensor) => mul(add(x, y), y), [type, type]);

/** `graph` with its last node rewritten without the checks of `emit`. */
function withLastNode(change: (inputs: readonly Tensor[]) => { inputs: readonly Tensor[]; type: TensorType }): Graph {
  const { node } = graph.results[0]!;
  const { inputs, type: resultType } = change(node.inputs);
  const results: Tensor[] = [];
  const broken = { ...node, inputs, results };
  results.push(new TensorValue(broken, 0, resultType));
  return { ...graph, results };
}

const refused = (broken: Graph, message: RegExp): void => {
  assert.throws(
    () => verifyGraph(broken),
    (error) => {
      assert.ok(error instanceof GraphVerifyError);
      assert.match(error.message, message);
      return true;
    },
  );
};

test("a traced graph verifies", () => {
  verifyGraph(graph);
  verifyGraph(withLastNode((inputs) => ({ inputs, type })));
});

test("a wrong result type is found", () => {
  refused(
    withLastNode((inputs) => ({ inputs, type: tensorType("f32", [3]) })),
    /expected: f32\[2\]\n {2}got: {6}f32\[3\]/,
  );
});

test("a parameter that is missing, doubled or computed is found", () => {
  refused({ ...graph, parameters: [graph.parameters[0]!] }, /a parameter of another graph/);
  refused({ ...graph, parameters: [graph.parameters[0]!, graph.parameters[0]!] }, /appears twice/);
  refused({ ...graph, parameters: [graph.results[0]!] }, /is computed/);
});

test("a tensor that its node does not know is found", () => {
  const stranger = new TensorValue(graph.parameters[0]!.node, 0, type);
  refused(
    withLastNode(([x]) => ({ inputs: [x!, stranger], type })),
    /is no result of its node/,
  );
});

test("a cycle is found", () => {
  const results: Tensor[] = [];
  const inputs: Tensor[] = [];
  const node = { ...graph.results[0]!.node, inputs, results };
  results.push(new TensorValue(node, 0, type));
  inputs.push(graph.parameters[0]!, results[0]!);
  refused({ ...graph, results }, /used before it is defined/);
});

test("the body of a scan is verified, too", () => {
  const traced = trace(
    "sum",
    (x: Tensor, xs: Tensor) => {
      const { carry } = scan((h: Tensor, step: Tensor) => ({ carry: add(h, step), y: h }), x, xs);
      return carry;
    },
    [type, tensorType("f32", [3, 2])],
  );
  verifyGraph(traced.graph);
  const { node } = traced.graph.results[0]!;
  const body = node.attrs["body"] as Graph;
  const withBody = (changed: Graph): Graph => {
    const results: Tensor[] = [];
    const broken = { ...node, attrs: { ...node.attrs, body: changed }, results };
    for (const [i, result] of node.results.entries()) results.push(new TensorValue(broken, i, result.type));
    return { ...traced.graph, results: [results[0]!] };
  };
  verifyGraph(withBody(body));
  refused(withBody({ ...body, parameters: body.parameters.slice(1) }), /its op refuses the inputs/);
  refused(withBody({ ...body, results: [graph.results[0]!, body.results[1]!] }), /a parameter of another graph/);
});

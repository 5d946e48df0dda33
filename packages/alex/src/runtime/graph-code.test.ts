// Codes of graphs: equal for equal graphs, however they came about, and for no others.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  add,
  constant,
  emit,
  inTrace,
  mul,
  parameter,
  printGraph,
  scan,
  sin,
  sub,
  tensorType,
  trace,
  traceOnce,
} from "@fidelity/core";
import type { CompileOptions, Graph, OpDef, Tensor } from "@fidelity/core";
import { SAMPLED_OPS } from "@fidelity/core/testing";
import { randomGraph, valueCase } from "../testing-conformance.node.ts";
import { graphCode } from "./graph-code.ts";

/** A code as one text. */
function codeOf(graph: Graph, options: CompileOptions = {}): string | undefined {
  const code = graphCode(graph, options);
  return (
    code && JSON.stringify(code.map((part) => (typeof part === "string" ? part : Buffer.from(part).toString("hex"))))
  );
}

/** A graph's text without the names of parameters, which codes leave out. */
const textOf = (graph: Graph): string => printGraph(graph).replaceAll(/(name|id) = [^,}]*/g, "");

test("random graphs have the same code exactly when they have the same text", () => {
  const shape = fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 2, max: 3 }));
  const choices = fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 3, maxLength: 4 });
  const drawn = fc.tuple(shape, choices);
  const property = fc.property(drawn, drawn, ([[rows, columns], a], [other, b]) => {
    const [first, again] = [randomGraph(rows, columns, a), randomGraph(rows, columns, a)];
    const second = randomGraph(...other, b);
    assert.ok(codeOf(first) !== undefined);
    assert.equal(codeOf(first), codeOf(again));
    assert.equal(codeOf(first) === codeOf(second), textOf(first) === textOf(second));
  });
  fc.assert(property, { numRuns: 200, seed: 1 });
});

test("an op of the registry has another code with other attributes or types", () => {
  for (const op of SAMPLED_OPS) {
    const codes = new Map<string, string>();
    for (let seed = 1; seed <= 8; seed++) {
      const { graph } = valueCase(op, seed);
      const code = codeOf(graph);
      if (code === undefined) continue;
      const text = textOf(graph);
      assert.equal(codes.get(code) ?? text, text, op.name);
      codes.set(code, text);
    }
    // Derivatives by hand are functions, which only identity tells apart; what a model is compiled to has none.
    if (op.lowering.kind !== "expand") assert.ok(codes.size > 0, op.name);
  }
});

const x = tensorType("f32", [2]);
const traced = (fn: (x: Tensor<readonly [2], "f32">) => Tensor): Graph => trace("g", fn, [x]).graph;

test("numbers are told apart to the last bit, and constants by what they hold", () => {
  const graphs = [
    traced((value) => mul(value, 0.1)),
    traced((value) => mul(value, 0.1 + Number.EPSILON / 8)),
    traced((value) => add(value, constant([1, 0], [2]))),
    traced((value) => add(value, constant([1, -0], [2]))),
    ...[0, 1].map((last) => {
      const data = [...new Array<number>(20).fill(0), last];
      const long = tensorType("f32", [21]);
      return trace("g", (value) => add(value, constant(data, [21])), [long]).graph;
    }),
  ];
  assert.equal(new Set(graphs.map((graph) => codeOf(graph))).size, graphs.length);
});

test("options, and who is which parameter, are part of the code", () => {
  const graph = trace("g", (a, b) => sub(a, b), [x, x]).graph;
  const swapped = { ...graph, parameters: graph.parameters.toReversed() };
  const donations = [{ parameter: 0, result: 0 }];
  const codes = [codeOf(graph), codeOf(swapped), codeOf(graph, { donations }), codeOf(graph, { name: "other" })];
  assert.equal(new Set(codes).size, codes.length);
});

test("bodies of loops count", () => {
  const loop = (factor: number): Graph =>
    trace(
      "g",
      (init, xs) => scan((carry, value) => ({ carry: add(mul(carry, factor), value), y: carry }), init, xs).carry,
      [tensorType("f32", [2]), tensorType("f32", [3, 2])],
    ).graph;
  assert.equal(codeOf(loop(2)), codeOf(loop(2)));
  assert.notEqual(codeOf(loop(2)), codeOf(loop(3)));
});

test("bodies of calls count, and are written once", () => {
  const calls = (factor: number, count: number): Graph => {
    const step = traceOnce("step", (value: Tensor) => [mul(sin(value), factor)] as const);
    return traced((value) => Array.from({ length: count }).reduce((y: Tensor) => step(y)[0], value));
  };
  assert.equal(codeOf(calls(2, 3)), codeOf(calls(2, 3)));
  assert.notEqual(codeOf(calls(2, 3)), codeOf(calls(3, 3)));
  assert.notEqual(codeOf(calls(2, 3)), codeOf(calls(2, 4)));
  const one = graphCode(calls(2, 1), {})!;
  const five = graphCode(calls(2, 5), {})!;
  const words = (code: typeof one): number => (code.find((part) => typeof part !== "string") as Uint8Array).length / 4;
  assert.equal(words(five) - words(one), 4 * 5, "op, attributes, count of inputs, and the input's node and index");
});

test("what only identity tells apart has no code", () => {
  const [op] = SAMPLED_OPS;
  const own: OpDef = { ...op!, name: "own", infer: ([type]) => [type!] };
  assert.equal(codeOf(traced((value) => emit(own, [value], {})[0]!)), undefined);
  const open = inTrace((): Graph => {
    const outer = parameter("outer", x);
    return { name: "open", parameters: [], results: [mul(outer, 2)] };
  });
  assert.equal(codeOf(open), undefined);
});

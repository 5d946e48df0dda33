// Graphs print as MLIR: one golden to see the form, and every op's sample through MLIR's own parser.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import type { Tensor } from "./graph.ts";
import { add } from "./ops/add.ts";
import { traceOnce } from "./ops/call.ts";
import { constant } from "./ops/constant.ts";
import { mul } from "./ops/mul.ts";
import { scan } from "./ops/scan.ts";
import { softmax } from "./ops/softmax.ts";
import { printGraph } from "./print.ts";
import { drawCase, graphOf, SAMPLED_OPS } from "./testing.ts";
import { tensorType, trace } from "./trace.ts";

const vector = tensorType("f32", [2]);

test("a graph prints its types, attributes and bodies", () => {
  const step = (h: Tensor, x: Tensor): { carry: Tensor; y: Tensor } => ({ carry: add(mul(h, 0.5), x), y: h });
  const fn = (h: Tensor, xs: Tensor): Tensor[] => {
    const { carry, ys } = scan(step, h, xs);
    return [softmax(carry as Tensor<[2], "f32">), ys];
  };
  const { graph } = trace("decay", fn, [vector, tensorType("f32", [3, 2])]);
  assert.equal(
    printGraph(graph),
    `"builtin.module"() ({
  "func.func"() <{function_type = (tensor<2xf32>, tensor<3x2xf32>) -> (tensor<2xf32>, tensor<3x2xf32>), sym_name = "decay"}> ({
  ^bb0(%arg0: tensor<2xf32>, %arg1: tensor<3x2xf32>):
    %0:2 = "fidelity.scan"(%arg0, %arg1) ({
    ^bb0(%arg2: tensor<2xf32>, %arg3: tensor<2xf32>):
      %1 = "fidelity.splat"() {value = 0.5 : f64, shape = array<i64: 2>, dtype = "f32"} : () -> tensor<2xf32>
      %2 = "fidelity.mul"(%arg2, %1) : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
      %3 = "fidelity.add"(%2, %arg3) : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
      "fidelity.yield"(%3, %arg2) : (tensor<2xf32>, tensor<2xf32>) -> ()
    }) {constants = 0 : i64, carries = 1 : i64, length = 3 : i64, reverse = false} : (tensor<2xf32>, tensor<3x2xf32>) -> (tensor<2xf32>, tensor<3x2xf32>)
    %4 = "fidelity.softmax"(%0#0) : (tensor<2xf32>) -> tensor<2xf32>
    "func.return"(%4, %0#1) : (tensor<2xf32>, tensor<3x2xf32>) -> ()
  }) : () -> ()
}) : () -> ()
`,
  );
});

test("functions that are called print once, beside the graph", () => {
  const inner = traceOnce("f", (x: Tensor) => [mul(x, x)] as const);
  const f = traceOnce("f", (x: Tensor) => [add(inner(x)[0], 1)] as const);
  const { graph } = trace("f", (x) => f(f(x)[0])[0], [tensorType("f32", [])]);
  assert.equal(
    printGraph(graph),
    `"builtin.module"() ({
  "func.func"() <{function_type = (tensor<f32>) -> tensor<f32>, sym_name = "f"}> ({
  ^bb0(%arg0: tensor<f32>):
    %0 = "fidelity.call"(%arg0) {callee = @"f_1"} : (tensor<f32>) -> tensor<f32>
    %1 = "fidelity.call"(%0) {callee = @"f_1"} : (tensor<f32>) -> tensor<f32>
    "func.return"(%1) : (tensor<f32>) -> ()
  }) : () -> ()
  "func.func"() <{function_type = (tensor<f32>) -> tensor<f32>, sym_name = "f_1"}> ({
  ^bb0(%arg1: tensor<f32>):
    %2 = "fidelity.call"(%arg1) {callee = @"f_2"} : (tensor<f32>) -> tensor<f32>
    %3 = "fidelity.splat"() {value = 1 : i64, shape = array<i64>, dtype = "f32"} : () -> tensor<f32>
    %4 = "fidelity.add"(%2, %3) : (tensor<f32>, tensor<f32>) -> tensor<f32>
    "func.return"(%4) : (tensor<f32>) -> ()
  }) : () -> ()
  "func.func"() <{function_type = (tensor<f32>) -> tensor<f32>, sym_name = "f_2"}> ({
  ^bb0(%arg2: tensor<f32>):
    %5 = "fidelity.mul"(%arg2, %arg2) : (tensor<f32>, tensor<f32>) -> tensor<f32>
    "func.return"(%5) : (tensor<f32>) -> ()
  }) : () -> ()
}) : () -> ()
`,
  );
});

const parser = "mlir-opt-19";
const missing = spawnSync(parser, ["--version"]).status !== 0;

/** What the parser makes of a text. */
function parse(text: string): string {
  const result = spawnSync(parser, ["--allow-unregistered-dialect", "--split-input-file"], {
    input: text,
    encoding: "utf8",
  });
  assert.equal(result.stderr, "");
  assert.equal(result.status, 0);
  return result.stdout;
}

test("MLIR parses a graph of every op", { skip: missing && `${parser} is not installed` }, () => {
  const texts = SAMPLED_OPS.flatMap((op) =>
    [1, 2, 3].map((seed) => {
      const { inputs, attrs } = drawCase(op, seed);
      return printGraph(graphOf(op, inputs, attrs));
    }),
  );
  const parsed = parse(texts.join("\n// -----\n"));
  for (const op of SAMPLED_OPS) assert.ok(parsed.includes(`"fidelity.${op.name}"`), op.name);
});

test("MLIR parses awkward numbers and names", { skip: missing && `${parser} is not installed` }, () => {
  const { graph } = trace(
    `a "name"\n`,
    (x: Tensor) => {
      const data = constant([1e-300, 5e21, -0, Infinity, Number.NaN, 3], [6]);
      return [mul(x, 1e-7), mul(x, -Infinity), data];
    },
    [vector],
  );
  assert.match(parse(printGraph(graph)), /-0\.0/u);
});

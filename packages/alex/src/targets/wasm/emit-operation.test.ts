// Every operation in every type that the target has, run as WebAssembly and compared with the loop IR's evaluator over
// the same memory.

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildKernel, loopType } from "@fidelity/core";
import { operationCases } from "../testing-operations.ts";
import { WasmTargetError } from "./emit-operation.ts";
import { compileProgramToWasm } from "./emit-program.ts";
import { PAGES, compareWithEvaluator, programOf } from "./testing.node.ts";

const { cases, inputs, bufferBytes } = operationCases(16);

for (const about of new Set(cases.map((each) => each.about))) {
  test(about, () => {
    for (const { kernel } of cases.filter((each) => each.about === about)) {
      compareWithEvaluator(programOf(kernel, bufferBytes), inputs);
    }
  });
}

test("what 128-bit vectors lack is refused by name", () => {
  const wide = buildKernel("wide", 1, (k, [a]) => k.store(k.load(loopType("f32", 8), a), a));
  const bytes = buildKernel("bytes", 1, (k, [a]) =>
    k.store(k.mul(k.load(loopType("i8", 16), a), k.load(loopType("i8", 16), a)), a),
  );
  for (const kernel of [wide, bytes]) {
    assert.throws(() => compileProgramToWasm(programOf(kernel, 64), { maximumPages: PAGES }), WasmTargetError);
  }
});

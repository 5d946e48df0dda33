// Every operation in every type, compiled by LLVM for each machine that this processor can run, with vectors of 16, 32
// and 64 bytes whatever the machine's are, and compared with the loop IR's evaluator.

import assert from "node:assert/strict";
import { test } from "node:test";
import { I32, INDEX, buildKernel, loopType } from "@fidelity/core";
import { operationCases } from "../testing-operations.ts";
import type { VectorBytes } from "../testing-operations.ts";
import { programOf } from "../wasm/testing.node.ts";
import { vectorsOf } from "./machine.ts";
import { differencesFromEvaluator, runnableMachines, whyNoNative } from "./testing.node.ts";

const skip = whyNoNative();
const machines = skip === false ? runnableMachines() : [];
const WIDTHS: readonly VectorBytes[] = [16, 32, 64];

test("a processor that runs native code has a machine", { skip }, () => assert.ok(machines.length > 0));

/** Which widths are tried on a machine: all on the best one, elsewhere the machine's own, and all for dot products. */
for (const [i, machine] of machines.entries()) {
  test(`operations have the evaluator's results, ${machine.name}`, async () => {
    for (const width of WIDTHS) {
      const { cases, inputs, bufferBytes } = operationCases(width);
      const isWhole = i === 0 || (machine.lanes * 4 === width && machine.lanes < machines[i - 1].lanes);
      const kernels = cases.map(({ kernel }) => kernel).filter(({ name }) => isWhole || name === "width");
      const programs = kernels.map((kernel) => programOf(kernel, bufferBytes));
      assert.deepEqual(await differencesFromEvaluator(programs, inputs, machine), []);
    }
  });
}

test("integer division by 0, and of the smallest number by -1, gives a number and no trap", { skip }, async () => {
  const kernel = buildKernel("division", 2, (k, [input, output]) => {
    for (let i = 0; i < 4; i++) {
      const [a, b] = [k.load(I32, input, 8 * i), k.load(I32, input, 8 * i + 4)];
      k.store(k.div(a, b), output, 16 * i);
      k.store(k.rem(a, b), output, 16 * i + 4);
      k.store(k.div(k.load(INDEX, input, 8 * i), k.load(INDEX, input, 8 * i + 4)), output, 16 * i + 8);
      k.store(k.rem(k.load(INDEX, input, 8 * i), k.load(INDEX, input, 8 * i + 4)), output, 16 * i + 12);
    }
  });
  const inputs = new Uint8Array(new Int32Array([7, 0, -(2 ** 31), -1, -9, 0, 17, -5]).buffer);
  assert.deepEqual(await differencesFromEvaluator([programOf(kernel, 64)], inputs, machines[0]), []);
});

const scaling = machines.find((machine) => vectorsOf(machine).scales === true);

test("vectors are scaled by powers of two", { skip: skip || (scaling ? false : "no machine scales") }, async () => {
  const pairs = [1.5, -2.5, 1, -1.25, NaN, 1.75, 0, -0, Infinity, 1.1].flatMap((a) =>
    [3, -3, 0, 127, -127, -148, -200, 200, 1e30, -1e30, Infinity, -Infinity, NaN].map((b) => [a, b]),
  );
  while (pairs.length % 16 !== 0) pairs.push([1, 1]);
  const inputs = new Float32Array([...pairs.map(([a]) => a), ...pairs.map(([, b]) => b)]);
  const half = inputs.byteLength / 2;
  const programs = WIDTHS.map((width) => {
    const type = loopType("f32", width / 4);
    const kernel = buildKernel("scale", 2, (k, [input, output]) => {
      k.loop(0, half, width, (at) => {
        const from = k.add(input, at);
        k.store(k.binary("scale", k.load(type, from), k.load(type, from, half)), k.add(output, at));
      });
    });
    return programOf(kernel, inputs.byteLength);
  });
  assert.deepEqual(await differencesFromEvaluator(programs, new Uint8Array(inputs.buffer), scaling!), []);
});

// dot4 on bytes above 127: what the engine says of itself is what its code does, and sums of ternary weights that rely on
// it are exact.

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildKernel, elementCount, interpret, loopType, tensorType, ternaryLinear, trace } from "@fidelity/core";
import type { HostTensor, Tensor } from "@fidelity/core";
import { seededRandom } from "@fidelity/core/testing";
import { runCompiled } from "../../testing.ts";
import { dotTakesUnsigned } from "./relaxed-dot.ts";
import { compareWithEvaluator, programOf } from "./testing.node.ts";

test("dot4 takes any unsigned bytes where the engine says so, and only there", () => {
  const [words, bytes] = [loopType("i32", 4), loopType("i8", 16)];
  const kernel = buildKernel("dots", 2, (k, [input, output]) => {
    k.loop(0, 64, 1, (i) => {
      const [from, to] = [k.offset(input!, i, 48), k.offset(output!, i, 16)];
      k.store(k.dot4(k.load(bytes, from), k.load(bytes, from, 16), k.load(words, from, 32)), to);
    });
  });
  const random = seededRandom(1);
  const inputs = Uint8Array.from({ length: 64 * 48 }, (_, at) =>
    at < 96 ? [127, 255][(at >> 4) & 1] : random() * 256,
  );
  const compare = (): void => compareWithEvaluator(programOf(kernel, 64 * 48), inputs);
  if (dotTakesUnsigned()) compare();
  else assert.throws(compare);
});

test("ternary sums are exact as long as they fit a word with their remainders, and beyond", () => {
  for (const columns of [20, 32_767, 32_768]) {
    const { graph } = trace("linear", (x, w) => ternaryLinear(x as Tensor<readonly [1, number], "q8">, w as never), [
      tensorType("q8", [1, columns]),
      tensorType("ternary5", [17, columns]),
    ]);
    for (const [activation, weight] of [
      [-128, 1],
      [127, 1],
      [-128, -1],
    ] as const) {
      const inputs = graph.parameters.map(({ type }, i): HostTensor => ({
        type,
        data: new Float64Array(i === 0 ? columns : 17 * columns).fill(i === 0 ? activation : weight),
        scales: Float64Array.of(1),
      }));
      const [sums] = runCompiled(graph, inputs, { joinsVectors: true, dot4Unsigned: dotTakesUnsigned() });
      assert.deepEqual(sums!.data, new Float64Array(17).fill(activation * weight * columns));
      assert.deepEqual(interpret(graph, inputs)[0]!.data, sums!.data);
    }
  }
});

test("ternary sums are those of their columns, for odd and even numbers of groups and few rows", () => {
  const random = seededRandom(2);
  for (const [rows, columns, dtype, joinsVectors] of [
    [1, 13, "ternary5", true],
    [2, 40, "ternary5", true],
    [3, 59, "ternary5", false],
    [1, 97, "ternary5", true],
    [3, 33, "ternary", true],
    [2, 48, "ternary", false],
  ] as const) {
    const { graph } = trace(
      "linear",
      (x, w) => ternaryLinear(x as Tensor<readonly [number, number], "q8">, w as never),
      [tensorType("q8", [rows, columns]), tensorType(dtype, [37, columns])],
    );
    const inputs = graph.parameters.map(({ type }, i): HostTensor => {
      const draw = i === 0 ? () => Math.floor(random() * 256) - 128 : () => Math.floor(random() * 3) - 1;
      const scales = new Float64Array(i === 0 ? rows : 1).fill(1);
      return { type, data: Float64Array.from({ length: elementCount(type.shape) }, draw), scales };
    });
    const [sums] = runCompiled(graph, inputs, { joinsVectors, dot4Unsigned: dotTakesUnsigned() });
    assert.deepEqual(sums!.data, interpret(graph, inputs)[0]!.data, `${rows} x ${columns} ${dtype}`);
  }
});

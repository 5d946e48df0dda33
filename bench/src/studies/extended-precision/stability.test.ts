// Finding the ops of a float32 gradient that lose its digits, and extending those alone, on a compiled device.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { add, matmul, mul, reduceSum, sub, tanh, tensorType, trace } from "@fidelity/core";
import type { HostTensor, Tensor } from "@fidelity/core";
import { randomHost, seededRandom } from "@fidelity/core/testing";
import { formatStability, grad, gradientStability } from "@fidelity/furnace";

type X = Tensor<readonly number[], "f32">;

test("a gradient that cancels in one place is repaired there, and nowhere else", async () => {
  const device = createDevice({ target: "wasm", threads: 1, cache: false });
  try {
    // The difference of two large sums scales everything; the rest is harmless.
    const loss = (w: X, x: X, big: X): X => {
      const y = tanh(matmul(x, w) as X) as X;
      const scale = sub(reduceSum(add(big, mul(w, w) as X) as X), reduceSum(big)) as X;
      return mul(reduceSum(mul(y, y) as X), scale) as never;
    };
    const [w, x] = [tensorType("f32", [8, 8]), tensorType("f32", [4, 8])];
    const { graph, resultPaths } = trace("slope", grad(loss as never) as never, [w, x, w] as never);
    const random = seededRandom(3);
    const inputs: HostTensor[] = [randomHost(w, random, [-0.1, 0.1]), randomHost(x, random)];
    inputs.push(randomHost(w, random, [1000, 9000]));
    const report = await gradientStability(device, graph, inputs, { paths: resultPaths, tolerance: 1e-6 });
    assert.ok(report.error > 1e-4, `float32 is off by ${report.error}`);
    assert.ok(report.extendedError <= 1e-6, `still off by ${report.extendedError}`);
    assert.ok(report.chosen.size <= report.conditions.length / 2, `${report.chosen.size} ops are extended`);
    assert.match(formatStability(report), /\| yes \|/u);
  } finally {
    await device.close();
  }
});

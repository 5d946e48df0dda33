// Kernels are kept once: the same table gives equal kernels one number and all others their own.

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildKernel, F32, matmul, rmsNorm, silu, tensorType, trace } from "@fidelity/core";
import type { Kernel, Tensor } from "@fidelity/core";
import { compileGraph } from "../compile.ts";
import { KernelTable } from "./kernel_table.ts";

function scaling(factor: number, name = "scale", offset = 0): Kernel {
  return buildKernel(name, 1, (k, [a]) => {
    k.loop(0, 64, 4, (at) => {
      const address = k.add(a, at);
      k.store(k.mul(k.load(F32, address, offset), k.constant(F32, factor)), address);
    });
  });
}

test("kernels that differ in a bit of a number, an offset or their name are different", () => {
  const table = new KernelTable();
  const kernels = [scaling(0), scaling(-0), scaling(1 / 3), scaling(0, "other"), scaling(0, "scale", 4), scaling(NaN)];
  const numbers = kernels.map((kernel) => table.add(kernel));
  assert.deepEqual(numbers, [0, 1, 2, 3, 4, 5]);
  const again = [scaling(0), scaling(-0), scaling(1 / 3), scaling(0, "other"), scaling(0, "scale", 4), scaling(NaN)];
  assert.deepEqual(
    again.map((kernel) => table.add(kernel)),
    numbers,
  );
  assert.equal(table.kernels.length, kernels.length);
});

test("a deeper model has no more kernels", () => {
  const kernelsOf = (layers: number): number => {
    const types = [tensorType("f32", [6, 16]), ...Array.from({ length: layers }, () => tensorType("f32", [16, 16]))];
    const { graph } = trace(
      "deep",
      (x: Tensor, ...weights: Tensor[]) =>
        weights.reduce((h, weight) => silu(matmul(rmsNorm(h as never), weight as never)) as Tensor, x),
      types as never,
    );
    return compileGraph(graph, { target: { lanes: 4, joinsVectors: false } }).kernels.length;
  };
  assert.equal(kernelsOf(6), kernelsOf(3));
});

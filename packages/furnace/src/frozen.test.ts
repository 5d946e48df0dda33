// Weights of blocks have no derivative: gradients pass through their products to what they are multiplied with, whose
// rounding counts as identity, and a gradient with respect to them is refused by name.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  BLOCK_DTYPES,
  BLOCK_FORMATS,
  blockLinear,
  gather,
  interpret,
  mul,
  reduceSum,
  tensorType,
  trace,
} from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { hostValues } from "@fidelity/core";
import { randomHost, seededRandom } from "@fidelity/core/testing";
import { grad, NotDifferentiableError, vmap } from "./index.ts";

type Matrix = Tensor<readonly [number, number], "f32">;

for (const dtype of BLOCK_DTYPES) {
  const [rows, outputs, inputs] = [3, 5, BLOCK_FORMATS[dtype].recordColumns];
  const weightType = tensorType(dtype, [outputs, inputs]);

  test(`${dtype}: the gradient of a product is the cotangent times the weights' numbers`, () => {
    const random = seededRandom(2);
    const [x, scale, weight] = [
      randomHost(tensorType("f32", [rows, inputs]), random),
      randomHost(tensorType("f32", [rows, outputs]), random),
      randomHost(weightType, random),
    ];
    const { graph } = trace(
      "gradient",
      (u: Tensor, ct: Tensor, w: Tensor) => {
        const loss = (each: Matrix): Tensor<readonly [], "f32"> =>
          reduceSum(mul(blockLinear(each, w as Tensor<readonly [number, number], "q8_0">), ct as Matrix));
        return grad(loss)(u as Matrix);
      },
      [x.type, scale.type, weight.type],
    );
    const [gradient] = interpret(graph, [x, scale, weight]);
    const numbers = hostValues(weight);
    gradient.data.forEach((value, at) => {
      const [row, column] = [Math.floor(at / inputs), at % inputs];
      let expected = 0;
      for (let j = 0; j < outputs; j++) expected += scale.data[row * outputs + j] * numbers[j * inputs + column];
      assert.ok(Math.abs(value - expected) < 1e-12, `element ${at}: ${value}, not ${expected}`);
    });
  });

  test(`${dtype}: a gradient with respect to weights is refused, and so are examples of them`, () => {
    const loss = (w: Tensor, ids: Tensor): Tensor =>
      reduceSum(gather(w as Matrix, ids as Tensor<readonly [number], "i32">));
    assert.throws(
      () =>
        trace("gradient", (w: Tensor, ids: Tensor) => grad(loss as never)(w as never, ids as never), [
          weightType,
          tensorType("i32", [2]),
        ]),
      (error) => error instanceof NotDifferentiableError && error.message.includes(`dtype ${dtype} has no derivative`),
    );
    assert.throws(
      () => trace("batch", (w: Tensor) => vmap((each: Tensor) => each)(w as never), [weightType]),
      /packed matrix cannot hold examples/u,
    );
  });
}

// The optimisers against PyTorch 1.13.1 in float64 (goldens/optimizers.py), and in float32 where its digits matter.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  inTrace,
  interpret,
  mul,
  parameter,
  ShapeMismatchError,
  splat,
  tensorType,
  trace,
  TreeMismatchError,
} from "@fidelity/core";
import type { Dtype, Tensor, TensorType } from "@fidelity/core";
import { adamW, clipByGlobalNorm, grad, sgd } from "./index.ts";
import type { Optimizer, OptimizerState } from "./index.ts";
import { assertClose, run, runScalar, scalar, vector } from "./support.test.ts";

interface Goldens {
  readonly start: readonly number[][];
  readonly gradients: readonly number[][][];
  readonly rates: readonly number[];
  readonly adamw: readonly number[][][];
  readonly sgd: readonly number[][][];
  readonly nesterov: readonly number[][][];
  readonly clip: { readonly max: number; readonly norm: number; readonly gradients: readonly number[][] };
}

const goldens = JSON.parse(readFileSync(new URL("../goldens/optimizers.json", import.meta.url), "utf8")) as Goldens;

const types = { matrix: tensorType("f64", [2, 3]), vector: tensorType("f64", [2]) };
type Params = { readonly matrix: Tensor; readonly vector: Tensor };

/** Parameters after each step, one compiled program for all of them. */
function descend(optimizer: Optimizer, rates: readonly number[]): number[][][] {
  const stateTypes = optimizer.init(types);
  const { graph } = trace(
    "step",
    (params: Params, grads: Params, state: OptimizerState<Params>, learningRate: Tensor, step: Tensor) => {
      return optimizer.update(params, grads as never, state, { learningRate, step });
    },
    [
      types,
      types,
      stateTypes as unknown as OptimizerState<typeof types>,
      tensorType("f64", []),
      tensorType("f64", []),
    ] as never,
  );
  const moments = Object.keys(stateTypes).length * 2;
  let params = goldens.start;
  let state: readonly number[][] = graph.parameters
    .slice(4, 4 + moments)
    .map(({ shape }) => Array<number>(shape.reduce((a, b) => a * b)).fill(0));
  return rates.map((rate, i) => {
    const inputs = [...params, ...goldens.gradients[i]!, ...state, [rate], [i + 1]];
    const results = interpret(
      graph,
      inputs.map((data, at) => ({ type: graph.parameters[at]!.type, data: Float64Array.from(data) })),
    );
    const data = results.map((result) => Array.from(result.data));
    [params, state] = [data.slice(0, 2), data.slice(2)];
    return data.slice(0, 2);
  });
}

// AdamW's bias correction is a series with an error of 1e-12 at most: far below float32, in which it is used.
function assertSteps(actual: number[][][], expected: readonly number[][][]): void {
  expected.forEach((step, i) =>
    step.forEach((leaf, j) => assertClose(actual[i]![j]!, leaf, 1e-12, `step ${i + 1}, leaf ${j}`)),
  );
}

test("AdamW with decay of the matrix only is PyTorch's", () => {
  assertSteps(descend(adamW({ beta2: 0.95, weightDecay: 0.1 }), goldens.rates), goldens.adamw);
});

test("the decay mask sees paths and shapes", () => {
  const none = adamW({
    beta2: 0.95,
    weightDecay: 0.1,
    decayMask: (path, shape) => path === "vector" && shape.length === 2,
  });
  assert.notDeepEqual(descend(none, goldens.rates), goldens.adamw);
  assertSteps(descend(none, goldens.rates), descend(adamW({ beta2: 0.95, weightDecay: 0 }), goldens.rates));
});

test("gradient descent with momentum, plain and Nesterov's, is PyTorch's", () => {
  assertSteps(descend(sgd({ momentum: 0.9 }), goldens.rates), goldens.sgd);
  assertSteps(descend(sgd({ momentum: 0.9, nesterov: true }), goldens.rates), goldens.nesterov);
  assertClose(
    descend(sgd(), [0.5])[0]![1]!,
    [1 - 0.5 * goldens.gradients[0]![1]![0]!, -0.5 - 0.5 * goldens.gradients[0]![1]![1]!],
    1e-15,
  );
});

test("AdamW's first step is the rate in the direction of the gradient, whatever its size", () => {
  const optimizer = adamW({ weightDecay: 0 });
  const zeros = { first: splatLike, second: splatLike };
  function splatLike(of: Tensor): Tensor {
    return mul(of, 0) as Tensor;
  }
  const after = (gradient: number): number => {
    return runScalar(
      (x, g) => {
        const state = { first: zeros.first(x!), second: zeros.second(x!) };
        return optimizer.update(x as Tensor, g as never, state, {
          learningRate: splat(0.1, [], "f64"),
          step: splat(1, [], "f64"),
        }).params;
      },
      scalar(2),
      scalar(gradient),
    );
  };
  assertClose([after(5), after(-1e-3), after(1e3)], [1.9, 2.1, 1.9], 1e-6);
});

test("the bias correction at every size of exponent is 1 - beta^t", () => {
  // With a constant gradient of 1 the corrected moments are 1, so that each step moves by rate / (1 + epsilon).
  for (const time of [1, 2, 5, 100, 249, 251, 1000, 100000]) {
    const moved = runScalar(
      (x, step) => {
        const moment = (beta: number): Tensor => splat((1 - beta ** (time - 1)) as number, [], "f64");
        const state = { first: moment(0.9), second: moment(0.999) };
        const { params } = adamW({ weightDecay: 0, epsilon: 0 }).update(
          x as Tensor,
          splat(1, [], "f64") as never,
          state,
          { learningRate: splat(1, [], "f64"), step: step! },
        );
        return params;
      },
      scalar(0),
      scalar(time),
    );
    assertClose([moved], [-1], 1e-9, `step ${time}`);
  }
});

test("gradients are clipped by their common norm, and left alone below it", () => {
  const [matrix, small, norm] = run(
    (a, b) => {
      const { grads, norm: size } = clipByGlobalNorm([a!, b!], goldens.clip.max);
      return [...grads, size];
    },
    { shape: [2, 3], data: goldens.gradients[0]![0]! },
    { shape: [2], data: goldens.gradients[0]![1]! },
  );
  assertClose(norm!, [goldens.clip.norm], 1e-14);
  assertClose(matrix!, goldens.clip.gradients[0]!, 1e-14);
  assertClose(small!, goldens.clip.gradients[1]!, 1e-14);
  assert.deepEqual(
    run((a) => clipByGlobalNorm([a!], 10), vector(3, 4)),
    [[3, 4], [5]],
  );
  assert.deepEqual(
    run((a) => clipByGlobalNorm([a!], 10), vector(0, 0)),
    [[0, 0], [0]],
  );
});

test("an optimiser's step is differentiable, and its mistakes are named", () => {
  // Plain descent moves x to x - rate g: the slope with respect to the rate is -g.
  const moved = (rate: Tensor): Tensor => {
    const inputs = { learningRate: rate, step: splat(1, [], "f64") };
    return sgd().update(splat(2, [], "f64") as Tensor, splat(3, [], "f64") as never, {}, inputs).params;
  };
  assert.equal(
    runScalar((rate) => grad(moved)(rate!), scalar(0.1)),
    -3,
  );
  inTrace(() => {
    const make = (dtype: Dtype, ...shape: number[]): Tensor => parameter("p", { dtype, shape });
    const inputs = { learningRate: make("f32"), step: make("f32") };
    const wrong = (params: Tensor, grads: Tensor, first: Tensor) => () => {
      return adamW().update(
        { w: params },
        { w: grads } as never,
        { first: { w: first }, second: { w: params } },
        inputs,
      );
    };
    assert.throws(
      wrong(make("i32", 2), make("i32", 2), make("i32", 2)),
      (error) => error instanceof ShapeMismatchError && /cannot update w/.test(error.message),
    );
    assert.throws(
      wrong(make("f32", 2), make("f32", 3), make("f32", 2)),
      (error) => error instanceof TreeMismatchError && /gradients[^]*where: +w/.test(error.message),
    );
    assert.throws(wrong(make("f32", 2), make("f32", 2), make("f32", 3)), /state first[^]*where: +w/);
    assert.throws(() => clipByGlobalNorm([], 1), TreeMismatchError);
  });
  assert.throws(() => adamW().init({ w: tensorType("q8", [2, 2]) as TensorType }), /cannot update w of type q8/);
});

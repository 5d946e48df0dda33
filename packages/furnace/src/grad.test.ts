// First derivatives: reverse mode against central differences and against forward mode, over trees, with their errors.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  broadcastTo,
  cast,
  div,
  emit,
  exp,
  inTrace,
  matmul,
  mul,
  NotDifferentiableError,
  parameter,
  reduceSum,
  reshape,
  select,
  lt,
  sigmoid,
  sin,
  splat,
  stopGradient,
  tanh,
  tensorType,
  topologicalOrder,
  trace,
  TreeMismatchError,
} from "@fidelity/core";
import type { OpDef, Tensor } from "@fidelity/core";
import { grad, jvp, valueAndGrad, vjp } from "./index.ts";
import { assertClose, centralDifferences, run, runScalar, scalar, values, vector } from "./support.test.ts";
import type { F64, TensorFunction } from "./support.test.ts";

const perceptronInputs = [values([3, 4], 1), values([4, 5], 2), values([5], 3), values([5, 2], 4)];

test("the gradient of a small network agrees with central differences in every input", () => {
  const smooth: TensorFunction = (x, first, bias, second) => {
    const hidden = tanh(add(matmul(x!, first!), bias!)) as F64;
    const logits = matmul(mul(hidden, sigmoid(hidden)), second!) as F64;
    const weights = div(exp(logits), reduceSum(exp(logits), [1], true)) as F64;
    return reduceSum(mul(weights, logits));
  };
  for (const argument of [0, 1, 2, 3]) {
    const slope = valueAndGrad(smooth as (...args: F64[]) => F64, { argument });
    const [actual] = run((...inputs) => slope(...inputs).grad, ...perceptronInputs);
    assertClose(actual!, centralDifferences(smooth, perceptronInputs, argument), 1e-7, `argument ${argument}`);
  }
});

test("forward and reverse mode agree: w . (J v) = (J^T w) . v", () => {
  const outputs = (x: F64, first: F64): F64[] => [tanh(matmul(x, first)), mul(reduceSum(x), reduceSum(first))] as F64[];
  const inputs = [
    values([3, 4], 1),
    values([4, 5], 2),
    values([3, 4], 5),
    values([4, 5], 6),
    values([3, 5], 7),
    values([], 8),
  ];
  const dot = (a: F64, b: F64): F64 => reduceSum(mul(a, b)) as F64;
  const [forward, backward] = run(
    (x, first, dx, dfirst, w1, w2) => {
      const { tangent } = jvp(outputs)([x!, first!], [dx!, dfirst!] as never);
      const [j1, j2] = tangent as unknown as F64[];
      const { pullback } = vjp(outputs)(x!, first!);
      const [cx, cfirst] = pullback([w1!, w2!]);
      return [add(dot(w1!, j1!), dot(w2!, j2!)), add(dot(cx as F64, dx!), dot(cfirst as F64, dfirst!))];
    },
    ...inputs,
  );
  assertClose(forward!, backward!, 1e-12);
});

test("broadcasting, selection, reshapes and reuse of one tensor", () => {
  const fn = (x: F64, y: F64): F64 => {
    const wide = mul(broadcastTo(reshape(x, [3, 1]), [3, 4]), y);
    const kept = select(lt(wide, 0), mul(wide, 0.1), sin(wide));
    return reduceSum(add(mul(kept, kept), mul(wide, reduceSum(x)))) as F64;
  };
  const inputs = [values([3], 3), values([4], 4)];
  for (const argument of [0, 1]) {
    const slope = valueAndGrad(fn, { argument });
    const [actual] = run((x, y) => slope(x!, y!).grad, ...inputs);
    assertClose(actual!, centralDifferences(fn as TensorFunction, inputs, argument), 1e-7);
  }
});

test("trees: gradients have the structure of the argument, aux is passed through, the rest is left alone", () => {
  const { graph, resultPaths } = trace(
    "tree",
    (params: { layers: readonly { weight: Tensor }[]; scale: Tensor }, index: Tensor) => {
      const loss = (p: typeof params, mask: Tensor): readonly [Tensor, { sum: Tensor; mask: Tensor }] => {
        const sum = add(p.layers[0]!.weight, p.layers[1]!.weight) as Tensor;
        return [reduceSum(mul(sum, p.scale) as never), { sum, mask }];
      };
      return valueAndGrad(loss, { aux: true })(params, index);
    },
    [
      {
        layers: [{ weight: tensorType("f64", [2]) }, { weight: tensorType("f64", [2]) }],
        scale: tensorType("f64", []),
      },
      tensorType("i32", [2]),
    ],
  );
  assert.deepEqual(resultPaths, [
    "value",
    "grad.layers.0.weight",
    "grad.layers.1.weight",
    "grad.scale",
    "aux.sum",
    "aux.mask",
  ]);
  assert.equal(graph.results[5], graph.parameters[3]);
});

test("what does not depend on the input has gradient zero; stopGradient makes it so", () => {
  assert.deepEqual(
    run((x, y) => grad((_x: F64, z: F64) => reduceSum(z) as F64)(x!, y!), vector(1, 2), vector(3)),
    [[0, 0]],
  );
  const fn = (x: F64): F64 => mul(x, stopGradient(mul(x, x))) as F64;
  assert.equal(
    runScalar((x) => grad(fn)(x!), scalar(3)),
    9,
  );
});

test("a gradient is in the tangent dtype of its tensor", () => {
  const { graph } = trace("dtypes", (x: Tensor) => grad((y: Tensor) => reduceSum(cast(y, "f32")))(x), [
    tensorType("bf16", [3]),
  ]);
  assert.deepEqual(graph.results[0]!.type, { dtype: "f32", shape: [3] });
});

test("symbolic zeros: nothing is built for what is not differentiated", () => {
  const slope = (x: Tensor, y: Tensor): Tensor => grad((z: Tensor) => reduceSum(add(mul(z, y), exp(sin(y))) as F64))(x);
  const { graph } = trace("zeros", slope, [tensorType("f64", [3]), tensorType("f64", [3])]);
  const ops = topologicalOrder(graph.results).map((node) => node.op.name);
  assert.ok(!ops.includes("exp") && !ops.includes("cos"));
  assert.ok(!topologicalOrder(graph.results).includes(graph.parameters[0]!.node));
});

test("deep graphs neither overflow the stack nor take quadratic time", () => {
  const chain = (x: F64): F64 => {
    let y = x;
    for (let i = 0; i < 5000; i++) y = add(sin(y), x) as F64;
    return reduceSum(y) as F64;
  };
  const { graph } = trace("chain", (x: Tensor) => grad(chain)(x as F64), [tensorType("f64", [2])]);
  assert.ok(topologicalOrder(graph.results).length > 10000);
});

function thrown(body: () => unknown): unknown {
  try {
    body();
  } catch (error) {
    return error;
  }
  return undefined;
}

test("errors name the problem, the leaf and the way out", () => {
  inTrace(() => {
    const x = parameter("x", tensorType("f32", [2]));
    const index = parameter("index", tensorType("i32", [2]));
    const vectorValued = thrown(() => grad((y: Tensor) => y)(x));
    assert.ok(vectorValued instanceof NotDifferentiableError);
    assert.match(vectorValued.message, /does not return a scalar[^]*f32\[2\][^]*vjp/);
    const integers = thrown(() => grad((p: { a: Tensor; b: Tensor }) => reduceSum(p.a as never))({ a: x, b: index }));
    assert.ok(integers instanceof NotDifferentiableError);
    assert.match(integers.message, /grad: an input of dtype i32[^]*where: +b/);
    const { pullback } = vjp((p: { a: Tensor }) => ({ out: p.a }))({ a: x });
    const wrongTree = thrown(() => pullback({ other: x } as never));
    assert.ok(wrongTree instanceof TreeMismatchError);
    assert.match(wrongTree.message, /where: +out[^]*expected: out: f32\[2\][^]*got: +other: f32\[2\]/);
    const wrongShape = thrown(() => pullback({ out: splat(1, [3]) } as never));
    assert.match(String(wrongShape), /expected: out: f32\[2\][^]*got: +out: f32\[3\]/);
    const tangents = thrown(() => jvp((y: Tensor) => y)([x], [] as never));
    assert.match(String(tangents), /tree of tangents[^]*where: +0[^]*got: +no leaf/);
  });
});

test("an op without a transpose is named with the way from the output", () => {
  const crooked: OpDef = {
    name: "crooked",
    summary: "y = x, of which only the jvp is known",
    infer: (inputs) => [inputs[0]!],
    evaluate: (inputs) => [inputs[0]!],
    derivative: { kind: "rules", jvp: (_node, [dx]) => emit(crooked, [dx!], {}) },
    lowering: { kind: "alias" },
    sample: () => ({ inputs: [{ dtype: "f32", shape: [1] }], attrs: {} }),
  };
  inTrace(() => {
    const x = parameter("x", tensorType("f32", [2]));
    const error = thrown(() => grad((y: Tensor) => reduceSum(mul(emit(crooked, [y], {})[0]!, y) as never))(x));
    assert.ok(error instanceof NotDifferentiableError);
    assert.equal(error.op, "crooked");
    assert.match(
      error.message,
      /crooked has no reverse-mode derivative[^]*where: +.*reduce_sum <- add <- mul <- crooked/,
    );
  });
});

// Every op of the registry, compiled to wasm and run, against the reference interpreter on random shapes; and random
// graphs of ops that fuse, because a fused loop is only right when all of its parts are.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Graph, HostTensor, OpDef, Tensor } from "@fidelity/core";
import {
  OPS,
  add,
  broadcastTo,
  emit,
  exp,
  formatType,
  hostValues,
  inTrace,
  interpret,
  max,
  mul,
  parameter,
  reduceMax,
  reduceSum,
  reshape,
  sub,
  tanh,
} from "@fidelity/core";
import {
  SAMPLED_OPS,
  drawCase,
  graphOf,
  randomHost,
  randomInputs,
  relativeError,
  seededRandom,
} from "@fidelity/core/testing";
import { buildDerivatives } from "@fidelity/core/testing/derivatives";
import { runCompiled } from "./testing.ts";

/** Relative to the largest magnitude of a result. */
const TOLERANCE = 1e-5;

/** Gradients divide by values near zero (log, division), where float32 has fewer digits left. */
const GRADIENT_TOLERANCE = 1e-4;

function assertClose(
  name: string,
  actual: readonly HostTensor[],
  expected: readonly HostTensor[],
  tolerance: number,
): void {
  expected.forEach((want, i) => {
    const error = relativeError(hostValues(actual[i]!), hostValues(want));
    assert.ok(error <= tolerance, `${name}: result ${i} differs by ${error}, more than ${tolerance}`);
  });
}

function checkValue(op: OpDef, seed: number): void {
  const opCase = drawCase(op, seed);
  const graph = graphOf(op, opCase.inputs, opCase.attrs);
  const inputs = randomInputs(opCase, seededRandom(seed));
  const joinsVectors = seed % 2 === 1;
  assertClose(
    `${op.name}(${opCase.inputs.map(formatType).join(", ")}), seed ${seed}`,
    runCompiled(graph, inputs, { joinsVectors }),
    interpret(graph, inputs),
    op.tolerance ?? TOLERANCE,
  );
}

for (const op of SAMPLED_OPS) {
  test(`${op.name} on wasm has the interpreter's values`, () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e9 }), (seed) => checkValue(op, seed)),
      { numRuns: 12, seed: 1 },
    );
  });
}

/** The graph of an op's backward pass, as training compiles it; composite ops come out as what they expand to. */
function checkGradient(op: OpDef, seed: number): void {
  const opCase = drawCase(op, seed);
  const { backward, floatInputs } = buildDerivatives(op, opCase);
  if (floatInputs.length === 0) return;
  const random = seededRandom(seed);
  const cotangents = backward.parameters.slice(opCase.inputs.length);
  const inputs = [...randomInputs(opCase, random), ...cotangents.map(({ type }) => randomHost(type, random))];
  const name = `gradient of ${op.name}(${opCase.inputs.map(formatType).join(", ")}), seed ${seed}`;
  assertClose(name, runCompiled(backward, inputs), interpret(backward, inputs), GRADIENT_TOLERANCE);
}

for (const op of SAMPLED_OPS.filter(({ derivative }) => derivative.kind !== "zero")) {
  test(`the gradient of ${op.name} on wasm is the interpreter's`, () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e9 }), (seed) => checkGradient(op, seed)),
      { numRuns: 8, seed: 1 },
    );
  });
}

/** Builds a random graph of fusible ops over [rows, columns] from a list of choices. */
function randomGraph(rows: number, columns: number, choices: readonly number[]): Graph {
  return inTrace(() => {
    const shape = [rows, columns];
    const parameters = [
      parameter("full", { dtype: "f32", shape }),
      parameter("row", { dtype: "f32", shape: [rows, 1] }),
      parameter("column", { dtype: "f32", shape: [columns] }),
      parameter("one", { dtype: "f32", shape: [] }),
    ] as Tensor<readonly number[], "f32">[];
    const full = parameters.map((tensor) => broadcastTo(tensor, shape));
    const pick = (choice: number): Tensor<readonly number[], "f32"> => full[choice % full.length]!;
    for (const choice of choices) {
      const a = pick(choice >> 4);
      const b = pick(choice >> 10);
      const made = [
        () => add(a, b),
        () => sub(a, b),
        () => mul(tanh(a), b),
        () => max(a, b),
        () => exp(tanh(a)),
        () => sub(a, reduceMax(a, [1], true)),
        () => mul(a, reduceSum(mul(a, b), [1], true)),
        () => add(a, reduceSum(tanh(a), [0], true)),
        () => add(reshape(reshape(tanh(a), [rows * columns]), shape), 1),
        () => mul(a, reshape(reduceSum(tanh(b)), [1, 1])),
      ][choice % 10]!();
      // Keeps magnitudes small, so that errors do not grow with depth.
      full.push(tanh(broadcastTo(made, shape)));
    }
    return {
      name: "random",
      parameters,
      results: [full[full.length - 1]!, full[full.length - 2]!, reduceSum(full[full.length - 3]!, [1])],
    };
  });
}

test("random graphs of ops that fuse have the interpreter's values", () => {
  const property = fc.property(
    fc.integer({ min: 1, max: 9 }),
    fc.integer({ min: 1, max: 70 }),
    fc.array(fc.integer({ min: 0, max: 65535 }), { minLength: 3, maxLength: 14 }),
    fc.integer({ min: 1, max: 1e6 }),
    (rows, columns, choices, seed) => {
      const graph = randomGraph(rows, columns, choices);
      const random = seededRandom(seed);
      const inputs = graph.parameters.map(({ type }) => randomHost(type, random, [-1, 1]));
      assertClose("random graph", runCompiled(graph, inputs), interpret(graph, inputs), 2e-4);
    },
  );
  fc.assert(property, { numRuns: 60, seed: 1 });
});

test("a donated result is written over its parameter, whoever else reads it", () => {
  const graph = inTrace((): Graph => {
    const x = parameter("x", { dtype: "f32", shape: [40, 30] }) as Tensor<readonly number[], "f32">;
    const y = parameter("y", { dtype: "f32", shape: [40, 30] }) as Tensor<readonly number[], "f32">;
    const product = emit(OPS.matmul, [x, y], { transposeA: true, transposeB: false })[0]! as Tensor<
      readonly number[],
      "f32"
    >;
    const total = reduceSum(mul(product, product));
    // The second reads what the first overwrites, and the third is the other's old value.
    return { name: "donated", parameters: [x, y], results: [mul(add(x, y), total), y, add(sub(x, y), reduceMax(x))] };
  });
  const random = seededRandom(5);
  const inputs = graph.parameters.map(({ type }) => randomHost(type, random));
  const expected = interpret(graph, inputs);
  for (const donations of [
    [{ parameter: 0, result: 0 }],
    [{ parameter: 0, result: 2 }],
    [
      { parameter: 0, result: 1 },
      { parameter: 1, result: 0 },
    ],
  ]) {
    assertClose(JSON.stringify(donations), runCompiled(graph, inputs, { donations }), expected, TOLERANCE);
  }
});

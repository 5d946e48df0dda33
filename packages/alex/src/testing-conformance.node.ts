// The cases by which compiled programs are compared with the interpreter, for every target: each op of the registry and
// its backward pass on random shapes, and random graphs of ops, because a fused loop is only right when all its parts
// are.

import assert from "node:assert/strict";
import type { CompileOptions, Graph, HostTensor, OpDef, Tensor } from "@fidelity/core";
import {
  OPS,
  add,
  broadcastTo,
  emit,
  exp,
  formatType,
  gather,
  hostValues,
  inTrace,
  interpret,
  matmul,
  max,
  mul,
  parameter,
  reduceMax,
  reduceSum,
  reshape,
  scan,
  softmax,
  sub,
  tanh,
  transpose,
} from "@fidelity/core";
import { drawCase, graphOf, randomHost, randomInputs, relativeError, seededRandom } from "@fidelity/core/testing";
import { buildDerivatives } from "@fidelity/core/testing/derivatives";

/** Relative to the largest magnitude of a result. */
const TOLERANCE = 1e-5;

/** Gradients divide by values near zero (log, division), where float32 has fewer digits left. */
const GRADIENT_TOLERANCE = 1e-4;

/** Errors of a chain of ops add up. */
const GRAPH_TOLERANCE = 2e-4;

export interface ConformanceCase {
  readonly name: string;
  readonly graph: Graph;
  readonly inputs: readonly HostTensor[];
  readonly tolerance: number;
  readonly options?: CompileOptions;
}

/** Fails when a target's results differ from the interpreter's. */
export function assertConforms(
  { name, graph, inputs, tolerance }: ConformanceCase,
  results: readonly HostTensor[],
): void {
  interpret(graph, inputs).forEach((want, i) => {
    const error = relativeError(hostValues(results[i]!), hostValues(want));
    assert.ok(error <= tolerance, `${name}: result ${i} differs by ${error}, more than ${tolerance}`);
  });
}

/** A random instance of an op. */
export function valueCase(op: OpDef, seed: number): ConformanceCase {
  const opCase = drawCase(op, seed);
  return {
    name: `${op.name}(${opCase.inputs.map(formatType).join(", ")}), seed ${seed}`,
    graph: graphOf(op, opCase.inputs, opCase.attrs),
    inputs: randomInputs(opCase, seededRandom(seed)),
    tolerance: op.tolerance ?? TOLERANCE,
  };
}

/** The graph of an op's backward pass, as training compiles it; composite ops come out as what they expand to. */
export function gradientCase(op: OpDef, seed: number): ConformanceCase | undefined {
  const opCase = drawCase(op, seed);
  const { backward, floatInputs } = buildDerivatives(op, opCase);
  if (floatInputs.length === 0) return undefined;
  const random = seededRandom(seed);
  const cotangents = backward.parameters.slice(opCase.inputs.length);
  return {
    name: `gradient of ${op.name}(${opCase.inputs.map(formatType).join(", ")}), seed ${seed}`,
    graph: backward,
    inputs: [...randomInputs(opCase, random), ...cotangents.map(({ type }) => randomHost(type, random))],
    tolerance: GRADIENT_TOLERANCE,
  };
}

/** A random graph over [rows, columns]; see `randomGraph`. */
export function graphCase(rows: number, columns: number, choices: readonly number[], seed: number): ConformanceCase {
  const graph = randomGraph(rows, columns, choices);
  const random = seededRandom(seed);
  const inputs = graph.parameters.map(({ type }) =>
    type.dtype === "i32" ? randomHost(type, random, [0, rows - 1]) : randomHost(type, random, [-1, 1]),
  );
  return { name: `random graph [${rows}, ${columns}] ${choices.join()}`, graph, inputs, tolerance: GRAPH_TOLERANCE };
}

type Float = Tensor<readonly number[], "f32">;

/**
 * Builds a random graph over [rows, columns] from a list of choices: elementwise ops, reductions, broadcasts, products,
 * rows picked by number, softmax and a scan over the rows.
 */
export function randomGraph(rows: number, columns: number, choices: readonly number[]): Graph {
  return inTrace(() => {
    const shape = [rows, columns];
    const ids = parameter("ids", { dtype: "i32", shape: [rows] }) as Tensor<readonly number[], "i32">;
    const floats = [
      parameter("full", { dtype: "f32", shape }),
      parameter("row", { dtype: "f32", shape: [rows, 1] }),
      parameter("column", { dtype: "f32", shape: [columns] }),
      parameter("one", { dtype: "f32", shape: [] }),
    ] as Float[];
    const full = floats.map((tensor) => broadcastTo(tensor, shape));
    const pick = (choice: number): Float => full[choice % full.length]!;
    for (const choice of choices) {
      const made = RANDOM_OPS[choice % RANDOM_OPS.length]!(pick(choice >> 4), pick(choice >> 10), shape, ids);
      // Keeps magnitudes small, so that errors do not grow with depth.
      full.push(tanh(broadcastTo(made as Float, shape)));
    }
    const results = [full[full.length - 1]!, full[full.length - 2]!, reduceSum(full[full.length - 3]!, [1])];
    return { name: "random", parameters: [ids, ...floats], results };
  });
}

type RandomOp = (a: Float, b: Float, shape: readonly number[], ids: Tensor<readonly number[], "i32">) => Tensor;

const RANDOM_OPS: readonly RandomOp[] = [
  (a, b) => add(a, b),
  (a, b) => sub(a, b),
  (a, b) => mul(tanh(a), b),
  (a, b) => max(a, b),
  (a) => exp(tanh(a)),
  (a) => sub(a, reduceMax(a, [1], true)),
  (a, b) => mul(a, reduceSum(mul(a, b), [1], true)),
  (a) => add(a, reduceSum(tanh(a), [0], true)),
  (a, _b, shape) => add(reshape(reshape(tanh(a), [shape[0]! * shape[1]!]), shape), 1),
  (a, b) => mul(a, reshape(reduceSum(tanh(b)), [1, 1])),
  (a, b) => matmul(mul(matmul(a, transpose(b, [1, 0])), 1 / a.shape[1]!), b),
  (a, b, _shape, ids) => add(gather(a, ids), b),
  (a) => softmax(a),
  (a, b) => {
    const step = (carry: Float, x: Float) => {
      const next = tanh(add(mul(carry, 0.5), x));
      return { carry: next, y: next };
    };
    return scan(step as never, reduceMax(b, [0]), a).ys as Tensor;
  },
];

/** A graph whose results take over parameters that others still read, with each way of donating. */
export function donationCases(): ConformanceCase[] {
  const graph = inTrace((): Graph => {
    const x = parameter("x", { dtype: "f32", shape: [40, 30] }) as Float;
    const y = parameter("y", { dtype: "f32", shape: [40, 30] }) as Float;
    const product = emit(OPS.matmul, [x, y], { transposeA: true, transposeB: false })[0]! as Float;
    const total = reduceSum(mul(product, product));
    // The second reads what the first overwrites, and the third is the other's old value.
    return { name: "donated", parameters: [x, y], results: [mul(add(x, y), total), y, add(sub(x, y), reduceMax(x))] };
  });
  const random = seededRandom(5);
  const inputs = graph.parameters.map(({ type }) => randomHost(type, random));
  const ways = [
    [{ parameter: 0, result: 0 }],
    [{ parameter: 0, result: 2 }],
    [
      { parameter: 0, result: 1 },
      { parameter: 1, result: 0 },
    ],
  ];
  return ways.map((donations) => ({
    name: JSON.stringify(donations),
    graph,
    inputs,
    tolerance: TOLERANCE,
    options: { donations },
  }));
}

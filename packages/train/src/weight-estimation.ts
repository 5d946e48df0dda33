// How a gradient estimator of furnace takes part in training: as a rewriting of the loss. Every `ternarize` in it gives
// way to what the estimator makes of the master, so that models know nothing of estimators. What an estimator learns
// beside the masters, one factor of the scale for each, are leaves of the step's parameters after those of the model;
// they are saved with the state of the optimiser and gone when the model is finished.

import { add, dequantize, emit, floor, matmul, reshape, slice, sub, topologicalOrder } from "@fidelity/core";
import type { Node, Tensor } from "@fidelity/core";
import type { Estimator, Master } from "@fidelity/furnace";
import { findEstimator } from "@fidelity/furnace";
import { namedParameters, randomPurpose, RandomStream } from "@fidelity/models";
import type { Model, ParameterSpec } from "@fidelity/models";
import { OPTIMIZER_PREFIX } from "@fidelity/run/node";
import type { Shape } from "@fidelity/units";
import { invariant } from "@fidelity/units";

type Float = Tensor<Shape, "f32">;

/** A ternary matrix of a model. */
export interface TernaryMatrix {
  /** Its path among the parameters. */
  readonly path: string;
  /** Its place among all leaves of the parameters. */
  readonly leaf: number;
  readonly outputs: number;
  readonly inputs: number;
  /** The mean magnitude of its first values. */
  readonly firstMagnitude: number;
}

/** An estimator on the ternary matrices of a model. */
export interface Estimation {
  readonly estimator: Estimator;
  /** The model with what the estimator learns beside its parameters. */
  readonly model: Model;
  readonly matrices: readonly TernaryMatrix[];
  /** Random numbers of a step: rows and columns of the noise of each matrix, one after the other. */
  readonly noiseLength: number;
}

/** What the estimator of a name needs for a model. Names are those of `ESTIMATORS`. */
export function estimationOf(model: Model, name: string): Estimation {
  const estimator = findEstimator(name);
  invariant(estimator !== undefined, `no estimator is called ${name}`);
  const matrices = namedParameters(model.parameters).flatMap(({ path, leaf: spec }, leaf): TernaryMatrix[] => {
    if (spec.role !== "ternary") return [];
    const [outputs, inputs] = spec.shape as readonly [number, number];
    return [{ path, leaf, outputs, inputs, firstMagnitude: meanMagnitude(spec) }];
  });
  const lengths = matrices.map(({ outputs, inputs }) => (estimator.noiseCount ?? 0) * (outputs + inputs));
  return {
    estimator,
    model: estimator.learnsScale === true ? withScales(model, matrices.length) : model,
    matrices,
    noiseLength: lengths.reduce((sum, length) => sum + length, 0),
  };
}

/** Of a normal distribution around 0. */
function meanMagnitude({ init }: ParameterSpec): number {
  invariant(init.kind === "normal", "first values of ternary weights are normal");
  return init.std * Math.sqrt(2 / Math.PI);
}

function withScales(model: Model, count: number): Model {
  const scale: ParameterSpec = { dtype: "f32", shape: [], init: { kind: "ones" }, role: "norm" };
  const group = OPTIMIZER_PREFIX.slice(0, -1);
  const parameters = { ...model.parameters, [group]: { scales: Array.from({ length: count }, () => scale) } };
  return { ...model, parameters };
}

/** What a step gives an estimator beside the parameters. */
export interface EstimationInputs {
  /** The leaves of the step's parameters, in order. */
  readonly leaves: readonly Tensor[];
  readonly progress: Tensor;
  /** f32 [noiseLength], uniform from 0 to 1; undefined when no noise is needed. */
  readonly noise: Tensor | undefined;
}

/** `root`, the loss of the model, with estimated weights in place of ternary ones. Call it inside a trace. */
export function estimateWeights<T extends Tensor>(root: T, estimation: Estimation, inputs: EstimationInputs): T {
  const byLeaf = new Map(estimation.matrices.map((matrix, i) => [inputs.leaves[matrix.leaf], i]));
  const biases = new Map<Tensor, Float>();
  const rewritten = new Map<Tensor, Tensor>();
  for (const node of topologicalOrder([root])) {
    const given = node.inputs.map((input) => rewritten.get(input) ?? input);
    const index = node.op.name === "ternarize" ? byLeaf.get(node.inputs[0]) : undefined;
    if (index !== undefined) {
      const { weight, bias } = estimation.estimator.estimate({
        ...masterOf(estimation, inputs.leaves, index),
        progress: inputs.progress as Float,
        noise: inputs.noise === undefined ? [] : noiseOf(estimation, inputs.noise as Float, index),
        depth: index / Math.max(1, estimation.matrices.length - 1),
      });
      rewritten.set(node.results[0], weight);
      if (bias !== undefined) biases.set(weight, bias);
    } else if (node.op.name === "ternary_linear") {
      rewritten.set(node.results[0], product(node, given, biases.get(given[1])));
    } else if (given.some((input, i) => input !== node.inputs[i])) {
      const results = emit(node.op, given, node.attrs);
      node.results.forEach((result, i) => rewritten.set(result, results[i]));
    }
  }
  return (rewritten.get(root) ?? root) as T;
}

/** The master of matrix number `index` among the leaves of the parameters. */
export function masterOf({ matrices, estimator }: Estimation, leaves: readonly Tensor[], index: number): Master {
  const { leaf, firstMagnitude } = matrices[index];
  const first = leaves.length - matrices.length;
  const scale = estimator.learnsScale === true ? (leaves[first + index] as Float) : undefined;
  return { weight: leaves[leaf] as Float, scale, firstMagnitude };
}

/** `node`, a ternary_linear, with other inputs: activations [..., k], a weight [n, k] that may be float32. */
function product(node: Node, [x, weight]: readonly Tensor[], bias: Float | undefined): Tensor {
  const y =
    weight.dtype === "f32"
      ? matmul(dequantize(x as Tensor<Shape, "q8">), weight as Float, { transposeB: true })
      : emit(node.op, [x, weight], node.attrs)[0];
  return bias === undefined ? y : add(y as Float, bias);
}

/**
 * The noise of matrix number `index`: entry (o, i) is the fraction of r_o + c_i, with uniform r and c. Every entry is
 * uniform and any two of them are independent, for outputs + inputs random numbers instead of outputs x inputs.
 */
function noiseOf({ matrices, estimator }: Estimation, noise: Float, index: number): Float[] {
  const count = estimator.noiseCount ?? 0;
  const { outputs, inputs } = matrices[index];
  let at = matrices.slice(0, index).reduce((sum, other) => sum + count * (other.outputs + other.inputs), 0);
  const take = (length: number, shape: readonly number[]): Float => {
    at += length;
    return reshape(slice(noise, [at - length], [at]) as Float, shape) as Float;
  };
  return Array.from({ length: count }, () => {
    const sum = add(take(outputs, [outputs, 1]), take(inputs, [1, inputs])) as Float;
    return sub(sum, floor(sum)) as Float;
  });
}

/** Writes the random numbers of a step, which depend on seed and step alone. */
export function fillNoise(seed: number, step: number, out: Float32Array): void {
  new RandomStream(seed, step, randomPurpose.estimation).fillUniform(out);
}

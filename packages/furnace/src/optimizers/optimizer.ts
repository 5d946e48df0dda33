// What optimisers have in common: a pure function from parameters, gradients and state to new parameters and state,
// built into the graph, so that a training step is one compiled program that updates its buffers in place.

import { flattenTree, formatType, isFloat, isTensor, isTensorType, mapTree, ShapeMismatchError } from "@fidelity/core";
import type { FloatDtype, Tensor, TensorType } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { Tangent } from "../tangent.ts";
import { matchTangents, withLeaves } from "../tangent.ts";

/** Trees like the parameters, by name: `first` and `second` for AdamW. All of them start as zeros. */
export type OptimizerState<T> = { readonly [moment: string]: T };

/** What changes from step to step, as inputs of the program: scalars of dtype f32 (or f64 in f64 graphs). */
export interface StepInputs {
  readonly learningRate: Tensor;
  /** Number of this step, counted from 1. */
  readonly step: Tensor;
}

export interface Optimizer {
  /** The types of the state for parameters of these types, as trees. */
  init<T>(types: T): OptimizerState<T>;
  /**
   * Builds one step. Parameters are float tensors (f32, f64); gradients and state are trees of the same structure and
   * types, or a `TreeMismatchError` names the leaf.
   */
  update<P>(
    params: P,
    grads: Tangent<P>,
    state: OptimizerState<P>,
    inputs: StepInputs,
  ): { params: P; state: OptimizerState<P> };
}

/** One tensor of parameters with all that belongs to it. */
export interface LeafUpdate {
  readonly path: string;
  readonly value: Tensor<Shape, FloatDtype>;
  readonly grad: Tensor<Shape, FloatDtype>;
  readonly moments: readonly Tensor<Shape, FloatDtype>[];
}

/** An optimiser that treats one tensor at a time; `update` gives the new value and the new moments in order. */
export function leafwise(
  name: string,
  moments: readonly string[],
  start: (inputs: StepInputs) => (leaf: LeafUpdate) => readonly [value: Tensor, ...moments: Tensor[]],
): Optimizer {
  return {
    init<T>(types: T) {
      return Object.fromEntries(
        moments.map((moment) => [moment, mapTree(types, isTensorType, requireFloat(name)) as T]),
      );
    },
    update<P>(params: P, grads: Tangent<P>, state: OptimizerState<P>, inputs: StepInputs) {
      const leaves = flattenTree(params, isTensor);
      leaves.forEach(({ leaf, path }) => requireFloat(name)(leaf.type, path));
      const slopes = matchTangents(`${name}: the tree of gradients`, grads, leaves);
      const trees = moments.map((moment) => matchTangents(`${name}: the state ${moment}`, state[moment] ?? [], leaves));
      const step = start(inputs);
      const updated = leaves.map(({ path, leaf }, i) => {
        const all = [leaf, slopes[i]!, ...trees.map((tree) => tree[i]!)] as Tensor<Shape, FloatDtype>[];
        const [value, grad, ...own] = all;
        return step({ path, value: value!, grad: grad!, moments: own });
      });
      const tree = (at: number): P =>
        withLeaves(
          params,
          updated.map((tensors) => tensors[at]!),
        );
      return { params: tree(0), state: Object.fromEntries(moments.map((moment, i) => [moment, tree(i + 1)])) };
    },
  };
}

function requireFloat(name: string): (type: TensorType, path: string) => TensorType {
  return (type, path) => {
    if (isFloat(type.dtype)) return type;
    const problem = `cannot update ${path || "a parameter"} of type ${formatType(type)}`;
    throw new ShapeMismatchError(name, problem, [type], "train float32 parameters, and quantise in the forward pass");
  };
}

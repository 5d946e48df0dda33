// What optimisers have in common: a pure function from parameters, gradients and state to new parameters and state,
// built into the graph, so that a training step is one compiled program that updates its buffers in place.

import { flattenTree, formatType, isFloat, isTensor, isTensorType, mapTree, ShapeMismatchError } from "@fidelity/core";
import type { FloatDtype, Tensor, TensorType } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { Float } from "../gradients/gradient.ts";
import type { Gradients } from "../gradients/gradients.ts";
import { matchGradients } from "../gradients/gradients.ts";
import { materialise } from "../gradients/materialise.ts";
import type { Tangent } from "../tangent.ts";
import { matchTangents, withLeaves } from "../tangent.ts";
import type { RowsMode } from "./variants.ts";
import { updateVariant } from "./variants.ts";

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
   * types, or a `TreeMismatchError` names the leaf. Gradients are tensors (`grad`) or variants (`gradients`), which
   * elementwise optimisers never make whole where that pays.
   */
  update<P>(
    params: P,
    grads: Tangent<P> | Gradients<P>,
    state: OptimizerState<P>,
    inputs: StepInputs,
  ): { params: P; state: OptimizerState<P> };
}

/** One tensor of parameters with all that belongs to it. */
export interface LeafUpdate {
  readonly path: string;
  /** The shape of the whole parameter: `value` may be some of its rows. */
  readonly shape: readonly number[];
  readonly value: Tensor<Shape, FloatDtype>;
  readonly grad: Tensor<Shape, FloatDtype>;
  readonly moments: readonly Tensor<Shape, FloatDtype>[];
}

/** Gives the new value and the new moments in order. */
export type LeafStep = (leaf: LeafUpdate) => readonly [value: Tensor, ...moments: Tensor[]];

/** What `leafwise` may know of an optimiser. */
export interface LeafwiseOptions {
  /** The step treats each element by itself, so that it may be given some of the rows of a matrix; false by default. */
  readonly elementwise?: boolean;
  /** How elementwise optimisers take sparse gradients; "exact" by default. */
  readonly rows?: RowsMode;
}

/** An optimiser that treats one tensor at a time. */
export function leafwise(
  name: string,
  moments: readonly string[],
  start: (inputs: StepInputs) => LeafStep,
  { elementwise = false, rows = "exact" }: LeafwiseOptions = {},
): Optimizer {
  return {
    init<T>(types: T) {
      return Object.fromEntries(
        moments.map((moment) => [moment, mapTree(types, isTensorType, requireFloat(name)) as T]),
      );
    },
    update<P>(params: P, grads: Tangent<P> | Gradients<P>, state: OptimizerState<P>, inputs: StepInputs) {
      const leaves = flattenTree(params, isTensor);
      leaves.forEach(({ leaf, path }) => requireFloat(name)(leaf.type, path));
      const slopes = matchGradients(`${name}: the tree of gradients`, grads, leaves);
      const trees = moments.map((moment) => matchTangents(`${name}: the state ${moment}`, state[moment] ?? [], leaves));
      const step = start(inputs);
      const updated = leaves.map(({ path, leaf }, i) => {
        const [value, ...own] = [leaf, ...trees.map((tree) => tree[i]!)] as [Float, ...Float[]];
        const known = { path, shape: leaf.shape, value, moments: own };
        const gradient = slopes[i]!;
        if (isTensor(gradient)) return step({ ...known, grad: gradient as Float });
        if (!elementwise) return step({ ...known, grad: materialise(gradient) });
        return updateVariant(step, { ...known, gradient }, rows);
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

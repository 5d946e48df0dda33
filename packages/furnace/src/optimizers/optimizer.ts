// What optimisers have in common: a pure function from parameters, gradients and state to new parameters and state,
// built into the graph, so that a training step is one compiled program that updates its buffers in place.

import { flattenTree, formatType, isFloat, isTensor, isTensorType, mapTree, sameType } from "@fidelity/core";
import { ShapeMismatchError, TreeMismatchError } from "@fidelity/core";
import type { FloatDtype, NamedLeaf, Tensor, TensorType } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { Float } from "../gradients/gradient.ts";
import type { Gradients } from "../gradients/gradients.ts";
import { matchGradients } from "../gradients/gradients.ts";
import { materialise } from "../gradients/materialise.ts";
import type { Tangent } from "../tangent.ts";
import { withLeaves } from "../tangent.ts";
import type { RowsMode } from "./variants.ts";
import { updateVariant } from "./variants.ts";

/**
 * Trees like the parameters, by name: `first` and `second` for AdamW. A leaf may have another type than its parameter,
 * as a factor has. All of them start as zeros.
 */
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
  /** The weights to evaluate and to keep, where these are not the parameters that gradients are taken at. */
  averaged?<P>(params: P, state: OptimizerState<P>): P;
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

/** The type of a moment for a parameter; a scalar stands for none. */
export type MomentType = (parameter: TensorType) => TensorType;

/** A moment of the parameter's own type, by its name alone, or one of another type. */
export type MomentSpec = string | { readonly name: string; readonly type: MomentType };

/** An optimiser that treats one tensor at a time. */
export function leafwise(
  name: string,
  momentSpecs: readonly MomentSpec[],
  start: (inputs: StepInputs) => LeafStep,
  { elementwise = false, rows = "exact" }: LeafwiseOptions = {},
): Optimizer {
  const specs = momentSpecs.map((spec) => (typeof spec === "string" ? { name: spec, type: sameAsParameter } : spec));
  const moments = specs.map((spec) => spec.name);
  return {
    init<T>(types: T) {
      const own = ({ type }: (typeof specs)[number]): T =>
        mapTree(types, isTensorType, (parameter, path) => type(requireFloat(name)(parameter, path))) as T;
      return Object.fromEntries(specs.map((spec) => [spec.name, own(spec)]));
    },
    update<P>(params: P, grads: Tangent<P> | Gradients<P>, state: OptimizerState<P>, inputs: StepInputs) {
      const leaves = flattenTree(params, isTensor);
      leaves.forEach(({ leaf, path }) => requireFloat(name)(leaf.type, path));
      const slopes = matchGradients(`${name}: the tree of gradients`, grads, leaves);
      const trees = specs.map((spec) => matchMoments(name, spec, state[spec.name] ?? [], leaves));
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

const sameAsParameter: MomentType = (parameter) => parameter;

/** The leaves of a moment, each of the type that the optimiser gives it. */
function matchMoments(
  optimizer: string,
  { name, type }: { readonly name: string; readonly type: MomentType },
  tree: unknown,
  parameters: readonly NamedLeaf<Tensor>[],
): Tensor[] {
  const found = flattenTree(tree, isTensor);
  parameters.forEach(({ path, leaf }, i) => {
    const wanted = type(leaf.type);
    const given = found[i];
    if (found.length === parameters.length && given?.path === path && sameType(given.leaf.type, wanted)) return;
    throw new TreeMismatchError(`${optimizer}: the state ${name} does not fit the parameters`, {
      where: path || "its root",
      expected: `${path}: ${formatType(wanted)}`,
      got: given === undefined ? `${found.length} leaves` : `${given.path}: ${formatType(given.leaf.type)}`,
      hint: "make the state from the types that init gives, as zeros",
    });
  });
  return found.map(({ leaf }) => leaf);
}

function requireFloat(name: string): (type: TensorType, path: string) => TensorType {
  return (type, path) => {
    if (isFloat(type.dtype)) return type;
    const problem = `cannot update ${path || "a parameter"} of type ${formatType(type)}`;
    throw new ShapeMismatchError(name, problem, [type], "train float32 parameters, and quantise in the forward pass");
  };
}

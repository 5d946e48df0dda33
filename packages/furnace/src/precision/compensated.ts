// Optimisers whose parameters are stored in few bits: bf16, f16 or f32. A step is computed in a wider dtype (float32
// for the halves, float64 for float32) and rounded to the parameter's own. What rounding leaves is lost by `rounded`,
// which stops learning once steps are below half a unit in the last place of the parameter; `compensated` keeps it in
// a second tensor of the same dtype and adds it back before the next step (Kahan, "Pracniques: further remarks on
// reducing truncation errors", CACM 8, 1965; for training in bf16: Zamirai et al., "Revisiting BFloat16 Training",
// 2020, arXiv 2010.06192). Parameter and compensation together hold about twice the digits.
//
// Kahan's own loop subtracts (p + y) - p in working precision. Here the sum is there in a wider dtype, so the
// compensation is the difference from it, which is exact but for its own rounding to the narrow dtype.

import { add, cast, emitOne, flattenTree, isHalf, isTensor, isTensorType, mapTree, OPS } from "@fidelity/core";
import { formatType, sameType, ShapeMismatchError, TreeMismatchError } from "@fidelity/core";
import type { Dtype, FloatDtype, Tensor, TensorType } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { Optimizer, OptimizerState } from "../optimizers/optimizer.ts";
import type { Tangent } from "../tangent.ts";
import { withLeaves } from "../tangent.ts";

/** Steps of `optimizer` rounded to the dtype of the parameters; moments are in float32. */
export function rounded(optimizer: Optimizer): Optimizer {
  return narrow("rounded", optimizer, false);
}

/**
 * Steps of `optimizer` rounded to the dtype of the parameters, with what was lost added to the next step. State: that
 * of `optimizer`, its moments in float32, and `compensation`, like the parameters.
 */
export function compensated(optimizer: Optimizer): Optimizer {
  return narrow("compensated", optimizer, true);
}

function narrow(name: string, optimizer: Optimizer, isCompensated: boolean): Optimizer {
  return {
    init<T>(types: T): OptimizerState<T> {
      const moments = mapTree(types, isTensorType, ({ dtype, shape }, path) => {
        wideDtype(name, { dtype, shape }, path);
        return { dtype: "f32", shape };
      }) as T;
      return { ...optimizer.init(moments), ...(isCompensated && { compensation: types }) };
    },
    update<P>(params: P, grads: unknown, state: OptimizerState<P>, inputs: Parameters<Optimizer["update"]>[3]) {
      const leaves = flattenTree(params, isTensor);
      const { compensation, ...moments } = state;
      const lost = isCompensated
        ? matchLeaves(
            name,
            leaves.map(({ leaf }) => leaf),
            compensation,
          )
        : [];
      const wide = leaves.map(({ leaf, path }, i) => {
        const value = cast(leaf, wideDtype(name, leaf.type, path));
        return isCompensated ? add(value, cast(lost[i]!, value.dtype) as never) : value;
      }) as Tensor<Shape, FloatDtype>[];
      const dtypes = wide.map(({ dtype }) => dtype);
      const widened = <T>(tree: T): T => castLeaves(tree, dtypes);
      const step = optimizer.update(
        withLeaves(params, wide),
        widened(grads) as Tangent<P>,
        Object.fromEntries(Object.entries(moments).map(([key, tree]) => [key, widened(tree)])) as OptimizerState<P>,
        inputs,
      );
      const next = flattenTree(step.params, isTensor).map(({ leaf }) => leaf);
      const stored = next.map((leaf, i) => cast(leaf, leaves[i]!.leaf.dtype) as Tensor);
      const rest = next.map((leaf, i) => {
        const back = cast(stored[i]!, dtypes[i]!);
        return cast(emitOne(OPS.sub, [leaf, back], {}), leaves[i]!.leaf.dtype) as Tensor;
      });
      const single = leaves.map(() => "f32" as const);
      const kept = Object.entries(step.state).map(([key, tree]) => [key, castLeaves(tree, single)]);
      return {
        params: withLeaves(params, stored),
        state: {
          ...(Object.fromEntries(kept) as OptimizerState<P>),
          ...(isCompensated && { compensation: withLeaves(params, rest) }),
        },
      };
    },
  };
}

/** The dtype in which a step on a parameter is computed. */
function wideDtype(name: string, type: TensorType, path: string): FloatDtype {
  if (isHalf(type.dtype)) return "f32";
  if (type.dtype === "f32") return "f64";
  const problem = `has nothing to gain for ${path || "a parameter"} of type ${formatType(type)}`;
  throw new ShapeMismatchError(name, problem, [type], "use the optimiser as it is, or store parameters in f32 or bf16");
}

/** The tree with its leaves, in order, in these dtypes. */
function castLeaves<T>(tree: T, dtypes: readonly Dtype[]): T {
  let next = 0;
  return mapTree(tree, isTensor, (leaf) => cast(leaf, dtypes[next++]!)) as T;
}

function matchLeaves(name: string, params: readonly Tensor[], tree: unknown): Tensor[] {
  const found = flattenTree(tree ?? [], isTensor).map(({ leaf }) => leaf);
  const fits = found.length === params.length && found.every((leaf, i) => sameType(leaf.type, params[i]!.type));
  if (fits) return found;
  throw new TreeMismatchError(`${name}: the state compensation is not like the parameters`, {
    expected: params.map(({ type }) => formatType(type)).join(", "),
    got: found.map(({ type }) => formatType(type)).join(", ") || "no tensors",
    hint: "make the state from the types that init gives, as zeros",
  });
}

// vmap: a function of one example as a function of many. The function is traced once, for one example; each op of its
// graph is then replaced by its form for many (core/src/derive/batch_rules.ts).

import {
  BatchError,
  batchTensors,
  everyExample,
  formatType,
  isPacked,
  isTensor,
  mapTree,
  moveAxis,
  parameter,
  TreeMismatchError,
} from "@fidelity/core";
import type { Dtype, NamedLeaf, Shape, Tensor } from "@fidelity/core";
import { leavesOf, withLeaves } from "./tangent.ts";

/**
 * Which axis of a tensor counts the examples (negative axes count from the end), `null` where all examples share it.
 * For a tree: one for all of its leaves, or a tree of them that may end early.
 */
export type Axes = number | null | readonly Axes[] | { readonly [key: string]: Axes };

export interface VmapOptions {
  /** One entry an argument, or one for all; 0 where absent. */
  readonly in?: Axes;
  /** Where the examples lie in the results; 0 where absent. Not `null`: shared results are repeated. */
  readonly out?: Axes;
}

/** A tree with a leading axis given to each tensor. */
export type Examples<T> =
  T extends Tensor<infer S, infer D>
    ? Tensor<readonly [number, ...S], D>
    : T extends readonly unknown[] | { readonly [key: string]: unknown }
      ? { [K in keyof T]: Examples<T[K]> }
      : T;

/** A tree whose tensors have shapes that the types do not follow. */
export type Unshaped<T> =
  T extends Tensor<Shape, infer D extends Dtype>
    ? Tensor<readonly number[], D>
    : T extends readonly unknown[] | { readonly [key: string]: unknown }
      ? { [K in keyof T]: Unshaped<T[K]> }
      : T;

/**
 * `fn` over many examples: arguments and results have one more axis, the first one unless `options` say otherwise.
 * Tensors that `fn` takes from outside are shared by all examples. What does not depend on the examples is computed
 * once. Nests with itself and with derivatives in any order. An argument whose axes are all `null` may be anything.
 *
 * Throws `BatchError` where sizes differ or an op has no form for many examples, and `TreeMismatchError` where axes do
 * not fit the tree.
 */
export function vmap<A extends readonly unknown[], R>(fn: (...args: A) => R): (...args: Examples<A>) => Examples<R>;
export function vmap<A extends readonly unknown[], R>(
  fn: (...args: A) => R,
  options: VmapOptions,
): (...args: Unshaped<A>) => Unshaped<R>;
export function vmap<A extends readonly unknown[], R>(
  fn: (...args: A) => R,
  options: VmapOptions = {},
): (...args: readonly unknown[]) => unknown {
  const { in: axesIn = 0, out: axesOut = 0 } = options;
  return (...args) => {
    const examples = new Map<Tensor, Tensor>();
    let size: { readonly count: number; readonly where: string } | undefined;
    const opened = args.map((arg, i) => {
      const axes = Array.isArray(axesIn) ? (axesIn as readonly Axes[])[i] : (axesIn as Axes);
      if (axes === undefined) throw misfit(`argument ${i}`, "an axis for every argument", "none");
      if (axes === null) return arg;
      return mapTree(arg, isTensor, (leaf, path) => {
        const where = path === "" ? `argument ${i}` : `argument ${i}, ${path}`;
        const axis = axisOf(axes, path, where);
        if (axis === null) return leaf;
        const at = checkedAxis(leaf, axis, where);
        const count = leaf.shape[at]!;
        size ??= { count, where };
        if (size.count !== count) {
          throw new BatchError("vmap: the arguments have different numbers of examples", {
            where,
            expected: `${size.count}, as ${size.where} has`,
            got: `${count} along axis ${at} of ${formatType(leaf.type)}`,
          });
        }
        const one = parameter(path, { dtype: leaf.dtype, shape: leaf.shape.toSpliced(at, 1) });
        examples.set(one, moveAxis(leaf, at, 0));
        return one;
      });
    });
    if (size === undefined || size.count === 0) {
      throw new BatchError("vmap: the number of examples is unknown or 0", {
        expected: "at least one tensor with an axis of examples that is not empty",
        hint: "call the function itself when all arguments are shared",
      });
    }
    const { count } = size;
    const results = leavesOf(fn(...(opened as unknown as A)));
    const batched = batchTensors(
      results.leaves.map(({ leaf }) => leaf),
      examples,
      count,
    );
    const placed = everyExample(batched, count).map((leaf, i) => placeResult(leaf, results.leaves[i]!, axesOut));
    return withLeaves(results.tree, placed);
  };
}

function placeResult(leaf: Tensor, { path }: NamedLeaf<Tensor>, axes: Axes): Tensor {
  const where = path === "" ? "the result" : `the result, ${path}`;
  const axis = axisOf(axes, path, where);
  if (axis === null) throw misfit(where, "an axis for the examples", "null");
  return moveAxis(leaf, 0, checkedAxis(leaf, axis, where));
}

/** The entry for the leaf at `path`: the tree of axes may end before the tree of tensors does. */
function axisOf(axes: Axes, path: string, where: string): number | null {
  let at: unknown = axes;
  for (const key of path === "" ? [] : path.split(".")) {
    if (typeof at === "number" || at === null) break;
    at = Object.hasOwn(at as object, key) ? (at as Record<string, unknown>)[key] : undefined;
    if (at === undefined) throw misfit(where, "an axis or null", "none");
  }
  if (typeof at === "number" || at === null) return at;
  throw misfit(where, "an axis or null", "a tree of them that goes on below this leaf");
}

function checkedAxis(leaf: Tensor, axis: number, where: string): number {
  const at = axis < 0 ? leaf.rank + axis : axis;
  if (!Number.isInteger(at) || at < 0 || at >= leaf.rank) {
    throw misfit(where, `an axis of ${formatType(leaf.type)}`, String(axis));
  }
  if (isPacked(leaf.dtype) && (leaf.dtype !== "q8" || at !== 0)) {
    throw new BatchError("vmap: a packed matrix cannot hold examples", {
      where,
      got: formatType(leaf.type),
      hint: "share it: give null as its axis",
    });
  }
  return at;
}

function misfit(where: string, expected: string, got: string): TreeMismatchError {
  return new TreeMismatchError("vmap: the axes do not fit the tree", { where, expected, got });
}

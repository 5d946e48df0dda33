// The types and trees of derivatives: a tangent or cotangent of a tree of tensors is the same tree, with each leaf in
// the dtype in which its derivatives live (f32 for the quantised dtypes).

import {
  flattenTree,
  formatType,
  isTensor,
  mapTree,
  NotDifferentiableError,
  parameter,
  sameType,
  tangentType,
  TreeMismatchError,
  zerosLike,
} from "@fidelity/core";
import type { BlockDtype, Dtype, MaybeTensor, NamedLeaf, Tensor, TensorType } from "@fidelity/core";

/** The dtype of derivatives of a tensor of dtype `D`. */
export type TangentDtype<D extends Dtype> = D extends "f64"
  ? "f64"
  : D extends BlockDtype | "i32" | "bool"
    ? never
    : "f32";

/** The tree of derivatives of `T`. */
export type Tangent<T> =
  T extends Tensor<infer S, infer D>
    ? Tensor<S, TangentDtype<D>>
    : T extends readonly unknown[] | { readonly [key: string]: unknown }
      ? { [K in keyof T]: Tangent<T[K]> }
      : T;

/** A tree of tensors with its leaves in order. */
export interface Leaves<T> {
  readonly tree: T;
  readonly leaves: readonly NamedLeaf<Tensor>[];
}

export function leavesOf<T>(tree: T): Leaves<T> {
  return { tree, leaves: flattenTree(tree, isTensor) };
}

/** The tree with its leaves, in order, replaced. */
export function withLeaves<T>(tree: T, leaves: readonly Tensor[]): T {
  let next = 0;
  return mapTree(tree, isTensor, () => leaves[next++]!) as T;
}

/** Throws `NotDifferentiableError`, naming the leaf, unless all leaves are of dtypes that have derivatives. */
export function requireDifferentiable(what: string, leaves: readonly NamedLeaf<Tensor>[], hint: string): void {
  for (const { path, leaf } of leaves) {
    if (tangentType(leaf.type) !== undefined) continue;
    throw new NotDifferentiableError(`${what} of dtype ${leaf.dtype} has no derivative`, {
      where: path || "its root",
      expected: "f32, f64, bf16, f16, q8 or ternary",
      got: formatType(leaf.type),
      hint,
    });
  }
}

/** Fresh parameters in place of the leaves: a derivative of its own never meets another one's inputs. */
export function placeholders<T>(tree: T): { tree: T; parameters: Tensor[] } {
  const parameters: Tensor[] = [];
  const opened = mapTree(tree, isTensor, (leaf, path) => {
    const made = parameter(path, leaf.type);
    parameters.push(made);
    return made;
  }) as T;
  return { tree: opened, parameters };
}

/** Fresh parameters for tangents of tensors that have derivatives. */
export function tangentParameters(tensors: readonly Tensor[]): Tensor[] {
  return tensors.map((tensor) => parameter("tangent", tangentType(tensor.type)!));
}

/** The leaves of a tree of derivatives. Throws `TreeMismatchError`, naming the leaf, where they do not fit `of`. */
export function matchTangents(what: string, tree: unknown, of: readonly NamedLeaf<Tensor>[]): Tensor[] {
  const given = flattenTree(tree, isTensor);
  matchTypes(
    what,
    given.map(({ path, leaf }) => ({ path, type: leaf.type })),
    of,
  );
  return given.map(({ leaf }) => leaf);
}

/** Throws `TreeMismatchError`, naming the leaf, unless these are the paths and types of derivatives of `of`. */
export function matchTypes(
  what: string,
  given: readonly { readonly path: string; readonly type: TensorType }[],
  of: readonly NamedLeaf<Tensor>[],
): void {
  const places = Math.max(given.length, of.length);
  for (let i = 0; i < places; i++) {
    const expected = of[i] && tangentType(of[i]!.leaf.type);
    const got = given[i]?.type;
    const samePath = given[i]?.path === of[i]?.path;
    if (samePath && expected !== undefined && got !== undefined && sameType(expected, got)) continue;
    throw new TreeMismatchError(`${what} does not fit what it belongs to`, {
      where: (of[i] ?? given[i])!.path || "its root",
      expected: describe(of[i]?.path, expected),
      got: describe(given[i]?.path, got),
    });
  }
}

function describe(path: string | undefined, type: TensorType | undefined): string {
  if (path === undefined || type === undefined) return "no leaf";
  return path === "" ? formatType(type) : `${path}: ${formatType(type)}`;
}

/** Derivatives with the symbolic zeros made into tensors of zeros. */
export function instantiate(derivatives: readonly MaybeTensor[], of: readonly Tensor[]): Tensor[] {
  return derivatives.map((derivative, i) => derivative ?? zerosLike(of[i]!, tangentType(of[i]!.type)!.dtype));
}

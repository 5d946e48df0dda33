// Gradients of scalar functions with what is known of their structure: `gradients` is `valueAndGrad` whose leaves are
// variants (gradient.ts). The forward pass and linearisation are the same; the transposition holds cotangents in the
// form in which they arise (chain.ts). All of it happens while the graph is traced: the backward program that comes out
// is made for the variants that this function has, and chooses nothing when it runs.

import { flattenTree, isTensor, mapTree, tangentType, TreeMismatchError } from "@fidelity/core";
import type { NamedLeaf, Tensor, TensorType } from "@fidelity/core";
import type { TangentDtype } from "../tangent.ts";
import { matchTypes } from "../tangent.ts";
import { differentiateScalar } from "../vjp.ts";
import type { GradOptions } from "../vjp.ts";
import { addGradients, settle } from "./arithmetic.ts";
import type { Flowing, Gradient } from "./gradient.ts";
import { isGradient, zero } from "./gradient.ts";
import { materialise } from "./materialise.ts";
import { castVotes } from "./ternary.ts";
import type { Votes } from "./ternary.ts";

/** The tree of gradients of `T`: each leaf is one of the variants. */
export type Gradients<T> =
  T extends Tensor<infer S, infer D>
    ? Gradient<S, TangentDtype<D>>
    : T extends readonly unknown[] | { readonly [key: string]: unknown }
      ? { [K in keyof T]: Gradients<T[K]> }
      : T;

/** What one parameter may say of its gradient. */
export interface GradientsOptions<N extends number, Aux extends boolean> extends GradOptions<N, Aux> {
  /** The votes of the parameters whose gradients are to be `Ternary`, by path and type; none by default. */
  readonly ternary?: (path: string, type: TensorType) => Votes | undefined;
}

/** The value of a function and its gradients with respect to one argument. */
export interface ValueAndGradients<V, P> {
  readonly value: V;
  readonly gradients: Gradients<P>;
}

/**
 * The function that gives the scalar `fn` together with its gradients with respect to one argument: a tree whose leaves
 * are variants. `materialise` makes tensors of them, `addGradients` adds them, `clipByGlobalNorm` and the optimisers
 * take them as they are. Parameters that are used within `scan` and custom rules get dense gradients.
 * Throws what `valueAndGrad` throws.
 */
export function gradients<A extends readonly unknown[], V extends Tensor, N extends number = 0>(
  fn: (...args: A) => V,
  options?: GradientsOptions<N, false>,
): (...args: A) => ValueAndGradients<V, A[N]>;
export function gradients<A extends readonly unknown[], V extends Tensor, X, N extends number = 0>(
  fn: (...args: A) => readonly [V, X],
  options: GradientsOptions<N, true> & { readonly aux: true },
): (...args: A) => ValueAndGradients<V, A[N]> & { readonly aux: X };
export function gradients<A extends readonly unknown[], V extends Tensor, X, N extends number>(
  fn: (...args: A) => V | readonly [V, X],
  options: GradientsOptions<N, boolean> = {},
): (...args: A) => ValueAndGradients<V, A[N]> & { aux?: X } {
  return (...args) => {
    const { value, aux, inputs, pullVariants } = differentiateScalar("gradients", fn, args, options);
    const flowing = pullVariants();
    const leaves = inputs.map(({ leaf, path }, i) => leafGradient(leaf, path, flowing[i], options.ternary));
    const tree = replaceGradients(args[options.argument ?? 0], leaves) as Gradients<A[N]>;
    return options.aux ? { value, gradients: tree, aux } : { value, gradients: tree };
  };
}

function leafGradient(
  leaf: Tensor,
  path: string,
  flowing: Flowing | undefined,
  ternary: GradientsOptions<number, boolean>["ternary"],
): Gradient {
  if (flowing === undefined) return zero(tangentType(leaf.type)!);
  const votes = ternary?.(path, leaf.type);
  return votes === undefined ? settle(flowing) : castVotes(flowing, votes);
}

/** The tree with the tensors in it, in order, replaced by gradients. */
function replaceGradients(tree: unknown, leaves: readonly Gradient[]): unknown {
  let next = 0;
  return mapTree(tree, isTensor, () => leaves[next++]!);
}

/** The leaves of a tree of gradients: variants and tensors, which count as dense. */
export function gradientLeaves(tree: unknown): NamedLeaf<Gradient | Tensor>[] {
  return flattenTree(tree, isGradientLeaf);
}

export function isGradientLeaf(value: unknown): value is Gradient | Tensor {
  return isTensor(value) || isGradient(value);
}

/** The leaves of a tree of gradients. Throws `TreeMismatchError`, naming the leaf, where they do not fit `of`. */
export function matchGradients(
  what: string,
  tree: unknown,
  of: readonly NamedLeaf<Tensor>[],
): readonly (Gradient | Tensor)[] {
  const given = gradientLeaves(tree);
  const shown = given.map(({ path, leaf }) => ({ path, type: leaf.type }));
  matchTypes(what, shown, of);
  return given.map(({ leaf }) => leaf);
}

/** A tree of gradients as tensors. */
export type Materialised<G> =
  G extends Gradient<infer S, infer D>
    ? Tensor<S, D>
    : G extends Tensor
      ? G
      : G extends readonly unknown[] | { readonly [key: string]: unknown }
        ? { [K in keyof G]: Materialised<G[K]> }
        : G;

/** A tree of gradients as the tree of tensors that `valueAndGrad` gives. */
export function materialiseTree<G>(tree: G): Materialised<G> {
  return mapTree(tree, isGradientLeaf, (leaf) => (isTensor(leaf) ? leaf : materialise(leaf))) as Materialised<G>;
}

/** Sums of gradients, leaf by leaf: how batches that are too large for one pass are accumulated. */
export function addGradientTrees<G>(a: G, b: G): G {
  const others = gradientLeaves(b);
  let next = 0;
  const sum = mapTree(a, isGradientLeaf, (leaf, path) => {
    const other = others[next++];
    if (isGradient(leaf) && other?.path === path && isGradient(other.leaf)) return addGradients(leaf, other.leaf);
    throw new TreeMismatchError("two trees of gradients differ", { where: path, expected: "a gradient in both" });
  });
  return sum as G;
}

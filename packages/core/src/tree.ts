// Trees: plain objects and arrays with leaves of one kind. Parameters, state and optimiser moments are trees; their
// leaves are named by paths such as `blocks.0.mixer.forget.weight`, which are also the names in a model file.

import { FidelityError } from "@fidelity/units";

/** Nested objects and arrays whose leaves are `L`. */
export type Tree<L> = L | readonly Tree<L>[] | { readonly [key: string]: Tree<L> };

/** The same tree with other leaves. */
export type MapTree<T, From, To> = T extends From
  ? To
  : T extends readonly unknown[] | { readonly [key: string]: unknown }
    ? { [K in keyof T]: MapTree<T[K], From, To> }
    : T;

/** Two trees that should have the same leaves do not. */
export class TreeMismatchError extends FidelityError {}

/** Tells leaves from inner nodes: leaves are class instances or whatever `isLeaf` says. */
export type LeafTest<L> = (value: unknown) => value is L;

/** A leaf with the path that leads to it. */
export interface NamedLeaf<L> {
  readonly path: string;
  readonly leaf: L;
}

/** The leaves in a fixed order: arrays by index, objects by their own key order. */
export function flattenTree<L>(tree: unknown, isLeaf: LeafTest<L>): NamedLeaf<L>[] {
  const leaves: NamedLeaf<L>[] = [];
  collectLeaves(tree, isLeaf, "", leaves);
  return leaves;
}

function collectLeaves<L>(tree: unknown, isLeaf: LeafTest<L>, path: string, leaves: NamedLeaf<L>[]): void {
  if (isLeaf(tree)) {
    leaves.push({ path, leaf: tree });
    return;
  }
  if (typeof tree !== "object" || tree === null) {
    throw new TreeMismatchError(`a tree holds ${String(tree)}`, {
      where: path || "its root",
      expected: "a tensor, an array or an object",
    });
  }
  for (const key of Object.keys(tree)) {
    const child = (tree as Readonly<Record<string, unknown>>)[key];
    collectLeaves(child, isLeaf, path === "" ? key : `${path}.${key}`, leaves);
  }
}

/** A tree of the same structure, each leaf replaced by what `map` gives for it. */
export function mapTree<L, M, T>(
  tree: T,
  isLeaf: LeafTest<L>,
  map: (leaf: L, path: string) => M,
  path = "",
): MapTree<T, L, M> {
  if (isLeaf(tree)) return map(tree, path) as MapTree<T, L, M>;
  const inner = (child: unknown, key: string): unknown =>
    mapTree(child, isLeaf, map, path === "" ? key : `${path}.${key}`);
  if (Array.isArray(tree)) return tree.map((child, i) => inner(child, String(i))) as MapTree<T, L, M>;
  if (typeof tree !== "object" || tree === null) {
    throw new TreeMismatchError(`a tree holds ${String(tree)}`, {
      where: path || "its root",
      expected: "a tensor, an array or an object",
    });
  }
  const nodes = tree as Readonly<Record<string, unknown>>;
  return Object.fromEntries(Object.keys(nodes).map((key) => [key, inner(nodes[key], key)])) as MapTree<T, L, M>;
}

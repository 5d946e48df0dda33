// Transposition: the backward pass. A graph that is linear in some tensors is walked from its results to them; each
// linear op hands the cotangents of its results to its inputs (`transpose` of the op), and cotangents that meet add up.

import { invariant } from "@fidelity/units";
import type { Node, Substitution, Tensor, TensorType } from "../graph.ts";
import { emit, formatType, sameType, topologicalOrder } from "../graph.ts";
import type { MaybeTensor } from "../op.ts";
import { add } from "../ops/add.ts";
import { NotDifferentiableError, trailTo } from "./errors.ts";
import { dependents, expandNode } from "./linearize.ts";

/**
 * How cotangents are held while a graph is transposed. Tensors are one way; furnace's gradient variants, which keep
 * what is known of a cotangent's structure, are another.
 */
export interface Cotangents<C> {
  typeOf(cotangent: C): TensorType;
  add(a: C, b: C): C;
  /**
   * What a linear node hands to its inputs, those marked in `linear`. At least one of `received` is given. `plain` is
   * the op's own rule, on tensors.
   */
  transpose(
    node: Node,
    received: readonly (C | undefined)[],
    linear: readonly boolean[],
    plain: (received: readonly MaybeTensor[]) => readonly MaybeTensor[],
  ): readonly (C | undefined)[];
  /** The tensors that a cotangent holds, in a fixed order; `withParts` puts others in their place. */
  partsOf(cotangent: C): readonly Tensor[];
  withParts(cotangent: C, parts: readonly Tensor[]): C;
  /** What a cotangent comes to where all that meets in it has met. */
  settle(cotangent: C): C;
}

/** Cotangents that are tensors. */
export const TENSORS: Cotangents<Tensor> = {
  typeOf: (cotangent) => cotangent.type,
  add: (a, b) => add(a, b),
  transpose: (_node, received, _linear, plain) => plain(received),
  partsOf: (cotangent) => [cotangent],
  withParts: (_cotangent, [part]) => part!,
  settle: (cotangent) => cotangent,
};

/**
 * The cotangents of `wrt` from the `cotangents` of `roots`, which must be linear in `wrt` (as `linearize` builds them).
 * `undefined` stands for zero on both sides. Throws `NotDifferentiableError` at an op that has no transpose.
 */
export function transpose(
  roots: readonly MaybeTensor[],
  wrt: readonly Tensor[],
  cotangents: readonly MaybeTensor[],
): MaybeTensor[] {
  return transposeWith(TENSORS, roots, wrt, cotangents);
}

/** `transpose` with cotangents held in another way. */
export function transposeWith<C>(
  held: Cotangents<C>,
  roots: readonly MaybeTensor[],
  wrt: readonly Tensor[],
  cotangents: readonly (C | undefined)[],
): (C | undefined)[] {
  const live = roots.flatMap((root, i) => (root !== undefined && cotangents[i] !== undefined ? [i] : []));
  const linear = expandLinear(
    live.map((i) => roots[i]!),
    wrt,
  );
  const sums = new Map<Tensor, C>();
  const accumulate = (tensor: Tensor, cotangent: C): void => {
    const sum = sums.get(tensor);
    sums.set(tensor, sum === undefined ? cotangent : held.add(sum, cotangent));
  };
  live.forEach((i, at) => accumulate(linear.roots[at]!, cotangents[i]!));

  const sources = new Set(wrt.map((tensor) => tensor.node));
  for (const node of linear.order.toReversed()) {
    if (sources.has(node) || !linear.nodes.has(node)) continue;
    const received = node.results.map((result) => sums.get(result));
    if (received.every((cotangent) => cotangent === undefined)) continue;
    const isLinear = node.inputs.map((input) => linear.nodes.has(input.node));
    const plain = (tensors: readonly MaybeTensor[]): readonly MaybeTensor[] =>
      transposeNode(node, tensors, isLinear, linear.roots);
    const { derivative } = node.op;
    const handed =
      derivative.kind === "rules" && derivative.transposeBody !== undefined
        ? derivative.transposeBody(held, node, received, node.attrs)
        : held.transpose(node, received, isLinear, plain);
    node.inputs.forEach((input, i) => {
      const cotangent = isLinear[i] ? handed[i] : undefined;
      if (cotangent === undefined) return;
      const type = held.typeOf(cotangent);
      if (!sameType(type, input.type))
        invariant(false, `${node.op.name}: the cotangent of ${formatType(input.type)} came out as ${formatType(type)}`);
      accumulate(input, cotangent);
    });
  }
  return wrt.map((tensor) => sums.get(tensor));
}

function transposeNode(
  node: Node,
  cotangents: readonly MaybeTensor[],
  isLinear: readonly boolean[],
  roots: readonly Tensor[],
): readonly MaybeTensor[] {
  const { derivative, name } = node.op;
  if (derivative.kind === "rules" && derivative.transpose !== undefined) {
    return derivative.transpose(node, cotangents, isLinear, node.attrs);
  }
  throw new NotDifferentiableError(`${name} has no reverse-mode derivative`, {
    op: name,
    where: trailTo(node, roots),
    expected: "an op with a transpose rule in the linear part of the function",
    hint:
      (derivative.kind === "rules" ? derivative.reverseHint : undefined) ??
      "use stopGradient on its input, customVjp around it, or forward mode (jvp)",
  });
}

/** A linear graph in which no op is left that is differentiated through its expansion. */
function expandLinear(
  roots: readonly Tensor[],
  wrt: readonly Tensor[],
): { roots: readonly Tensor[]; order: readonly Node[]; nodes: Set<Node> } {
  const order = topologicalOrder(roots);
  const nodes = dependents(order, wrt);
  const expands = (node: Node): boolean => nodes.has(node) && node.op.derivative.kind === "expand";
  if (!order.some(expands)) return { roots, order, nodes };
  const map: Substitution = new Map();
  for (const node of order) {
    const inputs = node.inputs.map((input) => map.get(input) ?? input);
    const changed = inputs.some((input, i) => input !== node.inputs[i]);
    if (!changed && !expands(node)) continue;
    const results = expands(node) ? expandNode(node, inputs) : emit(node.op, inputs, node.attrs);
    node.results.forEach((result, i) => map.set(result, results[i]!));
  }
  // An expansion may hold further ops of this kind.
  return expandLinear(
    roots.map((root) => map.get(root) ?? root),
    wrt,
  );
}

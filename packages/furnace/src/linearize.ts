// The derivative of a function at a point as a function of its own: forward mode split in two, so that many directions
// share one evaluation (Radul, Paszke, Frostig, Johnson, Maclaurin, "You Only Linearize Once", POPL 2023).

import {
  batchTensors,
  everyExample,
  keepCarries,
  linearize as linearizeGraph,
  requireForwardMode,
  substitute,
} from "@fidelity/core";
import type { MaybeTensor, NamedLeaf, Substitution, Tensor } from "@fidelity/core";
import type { Tangent } from "./tangent.ts";
import {
  instantiate,
  leavesOf,
  matchTangents,
  placeholders,
  requireDifferentiable,
  tangentParameters,
  withLeaves,
} from "./tangent.ts";

/** What `linearize` gives. */
export interface Linearized<A, R> {
  readonly value: R;
  /** Takes tangents of the arguments (one tree an argument) to those of the value: J v. Call it in the same trace. */
  linear(...tangents: Tangent<A> & readonly unknown[]): Tangent<R>;
}

/**
 * The function that gives `fn` at the primals, and its derivative there as a linear function of tangents. Throws as
 * `jvp` does.
 */
export function linearize<A extends readonly unknown[], R>(fn: (...args: A) => R): (...primals: A) => Linearized<A, R> {
  return (...primals) => {
    const point = linearizeAt("linearize", fn, primals);
    return {
      value: point.value,
      linear(...tangents) {
        const given = matchTangents("linearize: the tree of tangents", tangents, point.inputs);
        return withLeaves(point.value, point.push(given)) as Tangent<R>;
      },
    };
  };
}

/** A function at a point: its value, and its derivative over leaves. */
export interface LinearPoint<R> {
  readonly value: R;
  readonly inputs: readonly NamedLeaf<Tensor>[];
  readonly results: readonly NamedLeaf<Tensor>[];
  /** Tangents of the results' leaves from those of the inputs' leaves. */
  push(tangents: readonly Tensor[]): Tensor[];
  /** The same over `size` directions at once, along a leading axis on both sides. */
  pushMany(tangents: readonly Tensor[], size: number): Tensor[];
}

export function linearizeAt<A extends readonly unknown[], R>(
  name: string,
  fn: (...args: A) => R,
  primals: A,
): LinearPoint<R> {
  const inputs = leavesOf(primals);
  requireDifferentiable(`${name}: an input`, inputs.leaves, "close over it instead of passing it");
  const opened = placeholders(primals);
  const value = leavesOf(fn(...opened.tree));
  requireDifferentiable(`${name}: a result`, value.leaves, "return only what is to be differentiated");
  const { parameters } = opened;
  const roots = keepCarries(
    value.leaves.map(({ leaf }) => leaf),
    parameters,
  );
  const tangents = tangentParameters(parameters);
  const derivatives = linearizeGraph(roots, parameters, tangents);
  requireForwardMode(derivatives);
  const map: Substitution = new Map(parameters.map((parameter, i) => [parameter, inputs.leaves[i]!.leaf]));
  const results = substitute(roots, map);
  const atPoint: MaybeTensor[] = derivatives.map((derivative) => derivative && substitute([derivative], map)[0]!);
  const filled = instantiate(atPoint, roots);
  return {
    value: withLeaves(value.tree, results),
    inputs: inputs.leaves,
    results: leavesOf(withLeaves(value.tree, results)).leaves,
    push: (given) => substitute(filled, new Map(tangents.map((tangent, i) => [tangent, given[i]!]))),
    pushMany: (given, size) =>
      everyExample(batchTensors(filled, new Map(tangents.map((tangent, i) => [tangent, given[i]!])), size), size),
  };
}

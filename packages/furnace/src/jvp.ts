// Forward mode: the derivative of a function along a direction, built beside its value.

import { keepCarries, linearize, requireForwardMode, substitute } from "@fidelity/core";
import type { Substitution } from "@fidelity/core";
import type { Tangent } from "./tangent.ts";
import { instantiate, leavesOf, matchTangents, placeholders, requireDifferentiable, withLeaves } from "./tangent.ts";

/** What `jvp` gives. */
export interface JvpResult<R> {
  readonly value: R;
  /** The derivative of `value` along the tangents: J v. */
  readonly tangent: Tangent<R>;
}

/**
 * The function that gives `fn` at `primals` together with its derivative along `tangents`, which are a tree like the
 * primals with leaves in their tangent dtypes. Works inside a trace, and nests with itself and with `grad` and `vjp`.
 * Throws `NotDifferentiableError` for integer leaves (close over those instead) and for functions made by `customVjp`,
 * and `TreeMismatchError` for tangents that do not fit.
 */
export function jvp<A extends readonly unknown[], R>(
  fn: (...args: A) => R,
): (primals: readonly [...A], tangents: Tangent<A>) => JvpResult<R> {
  return (primals, tangents) => {
    const inputs = leavesOf(primals);
    requireDifferentiable("jvp: an input", inputs.leaves, "close over it instead of passing it");
    const directions = matchTangents("jvp: the tree of tangents", tangents, inputs.leaves);
    const opened = placeholders(primals);
    const value = leavesOf(fn(...(opened.tree as unknown as A)));
    requireDifferentiable("jvp: a result", value.leaves, "return only what is to be differentiated");
    const roots = keepCarries(
      value.leaves.map(({ leaf }) => leaf),
      opened.parameters,
    );
    const derivatives = linearize(roots, opened.parameters, directions);
    requireForwardMode(derivatives);
    const map: Substitution = new Map(opened.parameters.map((parameter, i) => [parameter, inputs.leaves[i]!.leaf]));
    const results = substitute([...roots, ...instantiate(derivatives, roots)], map);
    return {
      value: withLeaves(value.tree, results.slice(0, roots.length)),
      tangent: withLeaves(value.tree, results.slice(roots.length)) as Tangent<R>,
    };
  };
}

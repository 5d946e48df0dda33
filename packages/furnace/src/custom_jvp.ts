// The typed front of functions with a forward derivative of their author's.

import { applyCustomJvp } from "@fidelity/core";
import type { Tangent } from "./tangent.ts";

/**
 * `fn`, differentiated by `rule` instead of by what it is made of: the tangent of its value (a tree like it) from its
 * arguments and their tangents, zeros where there are none. The rule must be linear in the tangents; reverse mode
 * transposes it, so that all of `jvp`, `vjp`, `grad` and `vmap` work through it, nested too. Neither function may use
 * tensors from outside; numbers and other settings they may. An integer result is a `NotDifferentiableError`.
 */
export function customJvp<A extends readonly unknown[], R>(
  fn: (...args: A) => R,
  rule: (primals: A, tangents: Tangent<A>) => Tangent<R>,
): (...args: A) => R {
  return (...args) => applyCustomJvp(fn, rule, args);
}

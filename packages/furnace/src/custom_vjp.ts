// The typed front of functions with a derivative of their author's.

import { applyCustomVjp } from "@fidelity/core";
import type { Tangent } from "./tangent.ts";

/** How a function is differentiated in reverse mode. */
export interface CustomVjpRules<A extends readonly unknown[], R, Residuals> {
  /** The value again, and a tree of tensors that `backward` needs. */
  forward(...args: A): { readonly value: R; readonly residuals: Residuals };
  /** One tree of cotangents for each argument, in tangent dtypes; `undefined` for an argument that gets none. */
  backward(residuals: Residuals, cotangents: Tangent<R>): { readonly [K in keyof A]: Tangent<A[K]> | undefined };
  /** The tangent of the value, for forward mode; without it, forward mode is refused by name. */
  jvp?(primals: A, tangents: Tangent<A>): Tangent<R>;
}

/**
 * `fn`, differentiated in reverse mode by `rules` instead of by what it is made of. Arguments and results are trees of
 * tensors. None of the functions may use tensors from outside; numbers and other settings they may. Forward mode over
 * it is a `NotDifferentiableError` unless `rules` know it, and so is an integer result; `backward` itself can be
 * differentiated.
 */
export function customVjp<A extends readonly unknown[], R, Residuals>(
  fn: (...args: A) => R,
  rules: CustomVjpRules<A, R, Residuals>,
): (...args: A) => R {
  return (...args) => applyCustomVjp(fn, rules, args);
}

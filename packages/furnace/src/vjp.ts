// Reverse mode as linearisation and transposition: `fn` is traced at fresh parameters, its derivative is built as a
// graph that is linear in tangents of those (forward mode), and that linear graph is transposed into the one that takes
// cotangents of the results to cotangents of the inputs. Only then are the parameters replaced by the actual inputs,
// which is what keeps nested derivatives apart.

import {
  batchTensors,
  everyExample,
  formatType,
  isTensor,
  keepCarries,
  linearize,
  NotDifferentiableError,
  splat,
  substitute,
  tangentType,
  transposeLinear,
  transposeWith,
} from "@fidelity/core";
import type { FloatDtype, NamedLeaf, Substitution, Tensor } from "@fidelity/core";
import { VARIANTS } from "./gradients/chain.ts";
import type { Flowing } from "./gradients/gradient.ts";
import { dense, partsOf, withParts } from "./gradients/gradient.ts";
import type { Slope } from "./quantity.ts";
import type { Leaves, Tangent } from "./tangent.ts";
import {
  instantiate,
  leavesOf,
  matchTangents,
  placeholders,
  requireDifferentiable,
  tangentParameters,
  withLeaves,
} from "./tangent.ts";

/** What `vjp` gives. */
export interface VjpResult<A, R> {
  readonly value: R;
  /** Takes cotangents of `value` to those of the inputs (one tree an argument): J^T v. Call it in the same trace. */
  pullback(cotangents: Tangent<R>): Tangent<A>;
}

/**
 * The function that gives `fn` and the transpose of its derivative at the primals. All leaves of arguments and result
 * must be of dtypes that have derivatives: close over integers instead.
 */
export function vjp<A extends readonly unknown[], R>(fn: (...args: A) => R): (...primals: A) => VjpResult<A, R> {
  return (...primals) => {
    const reverse = reverseMode("vjp", (args: A) => ({ value: fn(...args), aux: [] }), primals);
    return {
      value: reverse.value,
      pullback(cotangents) {
        const given = matchTangents("vjp: the tree of cotangents", cotangents, reverse.results);
        return withLeaves(primals, reverse.pullback(given)) as unknown as Tangent<A>;
      },
    };
  };
}

/** The value of a function and its gradient with respect to one argument. */
export interface ValueAndGrad<V, G> {
  readonly value: V;
  readonly grad: Slope<V, G>;
}

/** ... and what else the function computed. */
export interface ValueGradAux<V, G, X> extends ValueAndGrad<V, G> {
  readonly aux: X;
}

/** Which argument to differentiate, and whether the function returns `[value, aux]`. */
export interface GradOptions<N extends number, Aux extends boolean> {
  /** Index of the argument; 0 by default. Others may hold integers, or anything else. */
  readonly argument?: N;
  /** The function returns `[value, aux]`; `aux` is a tree of tensors that is not differentiated. */
  readonly aux?: Aux;
}

/**
 * The function that gives the scalar `fn` together with its gradient with respect to one argument, a tree of tensors.
 * Throws `NotDifferentiableError` when the value is no scalar, or the argument holds integers.
 */
export function valueAndGrad<A extends readonly unknown[], V extends Tensor, N extends number = 0>(
  fn: (...args: A) => V,
  options?: GradOptions<N, false>,
): (...args: A) => ValueAndGrad<V, A[N]>;
export function valueAndGrad<A extends readonly unknown[], V extends Tensor, X, N extends number = 0>(
  fn: (...args: A) => readonly [V, X],
  options: GradOptions<N, true> & { readonly aux: true },
): (...args: A) => ValueGradAux<V, A[N], X>;
export function valueAndGrad<A extends readonly unknown[], V extends Tensor, X, N extends number>(
  fn: (...args: A) => V | readonly [V, X],
  options: GradOptions<N, boolean> = {},
): (...args: A) => ValueAndGrad<V, A[N]> & { aux?: X } {
  return (...args) => {
    const { value, aux, pull } = differentiateScalar("grad", fn, args, options);
    const grad = withLeaves(args[options.argument ?? 0], pull()) as Slope<V, A[N]>;
    return options.aux ? { value, grad, aux } : { value, grad };
  };
}

/** A scalar function at a point, in reverse mode, before anybody has said what form its gradients are to have. */
export interface ScalarPoint<V, X> {
  readonly value: V;
  readonly aux: X;
  /** The leaves of the argument. */
  readonly inputs: readonly NamedLeaf<Tensor>[];
  /** The gradient of each leaf, as a tensor. */
  pull(): Tensor[];
  /** The gradient of each leaf in the form in which it arises; nothing where it is zero. */
  pullVariants(): (Flowing | undefined)[];
}

/** What `valueAndGrad` and `gradients` are made of. */
export function differentiateScalar<A extends readonly unknown[], V extends Tensor, X>(
  name: string,
  fn: (...args: A) => V | readonly [V, X],
  args: A,
  { argument = 0, aux = false }: GradOptions<number, boolean>,
): ScalarPoint<V, X> {
  const of = (primal: unknown): { value: V; aux: X | readonly [] } => {
    const result = fn(...(args.toSpliced(argument, 1, primal) as unknown as A));
    if (!aux) return { value: result as V, aux: [] };
    const [value, rest] = result as readonly [V, X];
    return { value, aux: rest };
  };
  const reverse = reverseMode(name, of, args[argument]);
  const { value } = reverse;
  if (!isTensor(value) || value.rank !== 0) throw nonScalar(name, value);
  const one = splat(1, [], tangentType(value.type)!.dtype as FloatDtype);
  return {
    value,
    aux: reverse.aux as X,
    inputs: leavesOf(args[argument]).leaves,
    pull: () => reverse.pullback([one]),
    pullVariants: () => reverse.pullVariants([one]),
  };
}

/** The gradient of the scalar function `fn` with respect to its first argument, a tree of tensors. */
export function grad<A extends readonly unknown[], V extends Tensor>(
  fn: (...args: A) => V,
): (...args: A) => Slope<V, A[0]> {
  const both = valueAndGrad<A, V>(fn);
  return (...args) => both(...args).grad;
}

/** A function at a point in reverse mode, over leaves. */
export interface ReversePoint<R> {
  readonly value: R;
  readonly results: Leaves<R>["leaves"];
  /** Cotangents of the primal's leaves from `size` cotangents of the results' leaves at once, along a leading axis. */
  pull(cotangents: readonly Tensor[], size: number): Tensor[];
}

/** What `jacrev` is made of. */
export function pullMany<P, R>(name: string, fn: (primal: P) => R, primal: P): ReversePoint<R> {
  const { value, results, pullback } = reverseMode(name, (at: P) => ({ value: fn(at), aux: [] }), primal);
  return {
    value,
    results,
    pull(cotangents, size) {
      const one = tangentParameters(results.map(({ leaf }) => leaf));
      return everyExample(
        batchTensors(pullback(one), new Map(one.map((from, i) => [from, cotangents[i]!])), size),
        size,
      );
    },
  };
}

interface ReverseMode<R, X> {
  readonly value: R;
  readonly aux: X;
  /** The leaves of `value`. */
  readonly results: Leaves<R>["leaves"];
  /** Cotangents of the primal's leaves from those of the results. */
  pullback(cotangents: readonly Tensor[]): Tensor[];
  /** The same in the variants in which they arise; nothing where they are zero. */
  pullVariants(cotangents: readonly Tensor[]): (Flowing | undefined)[];
}

function reverseMode<P, R, X>(name: string, fn: (primal: P) => { value: R; aux: X }, primal: P): ReverseMode<R, X> {
  const inputs = leavesOf(primal);
  requireDifferentiable(`${name}: an input`, inputs.leaves, "close over it, or pass it as another argument");
  const { tree, parameters } = placeholders(primal);
  const traced = fn(tree);
  const value = leavesOf(traced.value);
  const aux = leavesOf(traced.aux);
  requireDifferentiable(`${name}: a result`, value.leaves, "return it beside the value, with { aux: true }");

  const kept = keepCarries(
    [...value.leaves, ...aux.leaves].map(({ leaf }) => leaf),
    parameters,
  );
  const roots = kept.slice(0, value.leaves.length);
  const tangents = tangentParameters(parameters);
  const derivatives = linearize(roots, parameters, tangents);
  const map: Substitution = new Map(parameters.map((parameter, i) => [parameter, inputs.leaves[i]!.leaf]));
  const results = substitute(kept, map);
  return {
    value: withLeaves(traced.value, results.slice(0, roots.length)),
    aux: withLeaves(traced.aux, results.slice(roots.length)),
    results: value.leaves,
    pullback: (cotangents) =>
      substitute(instantiate(transposeLinear(derivatives, tangents, cotangents), parameters), map),
    pullVariants(cotangents) {
      const variants = transposeWith(VARIANTS, derivatives, tangents, cotangents.map(dense));
      // All at once: each substitution walks all that its roots depend on.
      const parts = variants.map((variant) => (variant === undefined ? [] : partsOf(variant)));
      const actual = substitute(parts.flat(), map);
      let next = 0;
      return variants.map(
        (variant, i) => variant && withParts(variant, actual.slice(next, (next += parts[i]!.length))),
      );
    },
  };
}

function nonScalar(name: string, value: unknown): NotDifferentiableError {
  return new NotDifferentiableError(`${name}: the function does not return a scalar`, {
    expected: "one tensor of shape []",
    got: isTensor(value) ? formatType(value.type) : "a tree of tensors",
    hint: "take the sum or the mean, or use vjp for results that are no scalars",
  });
}

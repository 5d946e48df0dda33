// Jacobians and Hessians. The derivative is built once as a graph that is linear in one direction; batching that graph
// over a basis gives all columns (forward mode) or all rows (reverse mode) as one program, in which the value and what
// else does not depend on the direction is computed once.

import {
  add,
  cast,
  eq,
  formatType,
  iota,
  isTensor,
  mapTree,
  moveAxis,
  NotDifferentiableError,
  reshape,
  sliceAxis,
  tangentType,
} from "@fidelity/core";
import type { Dtype, NamedLeaf, Shape, Tensor } from "@fidelity/core";
import { jvp } from "./jvp.ts";
import { linearizeAt } from "./linearize.ts";
import type { Tangent, TangentDtype } from "./tangent.ts";
import { leavesOf, withLeaves } from "./tangent.ts";
import { grad, pullMany } from "./vjp.ts";

/** The derivatives of a result of shape `S` in all leaves of `P`: each has the result's axes, then the leaf's. */
type Rows<S extends Shape, P> =
  P extends Tensor<infer Q, infer D extends Dtype>
    ? Tensor<readonly [...S, ...Q], TangentDtype<D>>
    : P extends readonly unknown[] | { readonly [key: string]: unknown }
      ? { [K in keyof P]: Rows<S, P[K]> }
      : P;

/** The derivatives of all leaves of `R` in all leaves of `P`: the tree `R`, with a tree `P` in each of its leaves. */
export type Jacobian<R, P> =
  R extends Tensor<infer S>
    ? Rows<S, P>
    : R extends readonly unknown[] | { readonly [key: string]: unknown }
      ? { [K in keyof R]: Jacobian<R[K], P> }
      : R;

/** The type of `Jacobian` for a tree that has a `Jacobian` of it as leaves: second derivatives of a scalar. */
export type Hessian<P> = Jacobian<Tangent<P>, P>;

/** Which argument to differentiate. */
export interface JacobianOptions<N extends number> {
  /** Index of the argument; 0 by default. Others may hold integers, or anything else. */
  readonly argument?: N;
}

/**
 * The function that gives the Jacobian of `fn` with respect to one argument, column by column in forward mode: the mode
 * for more results than inputs. For trees, the tree of the results with the tree of the argument in each of its leaves;
 * a tensor of the Jacobian has the axes of the result, then those of the input. All leaves are of one dtype.
 */
export function jacfwd<A extends readonly unknown[], R, N extends number = 0>(
  fn: (...args: A) => R,
  options: JacobianOptions<N> = {},
): (...args: A) => Jacobian<R, A[N]> {
  const argument = options.argument ?? 0;
  return (...args) => {
    const of = (primal: A[N]): R => fn(...(args.toSpliced(argument, 1, primal) as unknown as A));
    const point = linearizeAt("jacfwd", of, [args[argument] as A[N]]);
    const total = sizeOf(point.inputs);
    const columns = point.pushMany(basis(point.inputs, "jacfwd"), total);
    const blocks = columns.map((column) => splitAxis(moveAxis(column, 0, column.rank - 1), "last", point.inputs));
    return nest(point.value, args[argument], blocks) as Jacobian<R, A[N]>;
  };
}

/**
 * The same row by row in reverse mode: the mode for more inputs than results. Works through `customVjp`.
 */
export function jacrev<A extends readonly unknown[], R, N extends number = 0>(
  fn: (...args: A) => R,
  options: JacobianOptions<N> = {},
): (...args: A) => Jacobian<R, A[N]> {
  const argument = options.argument ?? 0;
  return (...args) => {
    const of = (primal: A[N]): R => fn(...(args.toSpliced(argument, 1, primal) as unknown as A));
    const point = pullMany("jacrev", of, args[argument] as A[N]);
    const total = sizeOf(point.results);
    const rows = point.pull(basis(point.results, "jacrev"), total);
    const inputs = leavesOf(args[argument]).leaves;
    const byResult = rows.map((row) => splitAxis(row, 0, point.results));
    const blocks = point.results.map((_result, i) => inputs.map((_input, at) => byResult[at]![i]!));
    return nest(point.value, args[argument], blocks) as Jacobian<R, A[N]>;
  };
}

/**
 * The function that gives the matrix of second derivatives of the scalar `fn` with respect to one argument: for trees,
 * the tree of the argument with such a tree in each of its leaves. Forward mode over reverse mode.
 */
export function hessian<A extends readonly unknown[], V extends Tensor, N extends number = 0>(
  fn: (...args: A) => V,
  options: JacobianOptions<N> = {},
): (...args: A) => Hessian<A[N]> {
  const argument = options.argument ?? 0;
  return (...args) => {
    const slope = (primal: A[N]): Tangent<A[N]> => {
      const at = (moved: A[N]): V => fn(...(args.toSpliced(argument, 1, moved) as unknown as A));
      return grad(at)(primal) as Tangent<A[N]>;
    };
    return jacfwd(slope)(args[argument] as A[N]) as Hessian<A[N]>;
  };
}

/**
 * The function that gives the product of the Hessian of the scalar `fn` with `vector`, a tree like the first argument,
 * at about the cost of two gradients and without making the Hessian (Pearlmutter, Neural Computation 6, 1994).
 */
export function hvp<A extends readonly unknown[], V extends Tensor>(
  fn: (...args: A) => V,
): (primals: readonly [...A], vector: Tangent<A[0]>) => Tangent<A[0]> {
  return ([first, ...rest], vector) => {
    const slope = (primal: unknown): Tangent<A[0]> => grad(fn)(...([primal, ...rest] as unknown as A)) as Tangent<A[0]>;
    return jvp(slope)([first], [vector] as never).tangent as Tangent<A[0]>;
  };
}

function sizeOf(leaves: readonly NamedLeaf<Tensor>[]): number {
  return leaves.reduce((sum, { leaf }) => sum + count(leaf), 0);
}

function count(leaf: Tensor): number {
  return leaf.shape.reduce((product, dim) => product * dim, 1);
}

/** Directions along each element of all leaves in turn: [elements of all leaves, ...leaf] for each leaf. */
function basis(leaves: readonly NamedLeaf<Tensor>[], name: string): Tensor[] {
  const total = sizeOf(leaves);
  const dtypes = leaves.map(({ leaf }) => tangentType(leaf.type)!.dtype);
  const other = leaves.find((_leaf, i) => dtypes[i] !== dtypes[0]);
  if (other !== undefined) {
    throw new NotDifferentiableError(`${name}: leaves have derivatives of different dtypes`, {
      where: other.path,
      expected: dtypes[0]!,
      got: formatType(other.leaf.type),
      hint: "cast them to one dtype",
    });
  }
  let start = 0;
  return leaves.map(({ leaf }) => {
    const size = count(leaf);
    const columns = iota([total, size]) as Tensor<Shape, "i32">;
    const rows = reshape(iota([total]) as Tensor<Shape, "i32">, [total, 1]);
    const unit = cast(eq(rows, add(columns, start)) as Tensor, dtypes[0]!);
    start += size;
    return reshape(unit, [total, ...leaf.shape]);
  });
}

/** Parts of the axis, one for each leaf, with the leaf's axes in the place of it. */
function splitAxis(x: Tensor, axis: 0 | "last", leaves: readonly NamedLeaf<Tensor>[]): Tensor[] {
  let start = 0;
  return leaves.map(({ leaf }) => {
    const from = start;
    start += count(leaf);
    const part = sliceAxis(x, axis === 0 ? 0 : -1, from, start);
    const shape = axis === 0 ? [...leaf.shape, ...x.shape.slice(1)] : [...x.shape.slice(0, -1), ...leaf.shape];
    return reshape(part, shape);
  });
}

/** The tree of results with a tree like the argument in each leaf. */
function nest(value: unknown, argument: unknown, blocks: readonly (readonly Tensor[])[]): unknown {
  let next = 0;
  return mapTree(value, isTensor, () => withLeaves(argument, blocks[next++]!));
}

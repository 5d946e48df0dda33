// What the two Jacobi methods have in common: the angle of a rotation, columns that are rotated, put in order and given
// a sign. Each exists for the reference, in plain numbers, and for kernels.
//
// The rotation that makes two numbers orthogonal follows Golub and Van Loan, "Matrix Computations", section 8.5: with
// z = (b - a) / 2g, the smaller root of t^2 + 2 z t - 1 is t = sign(z) / (|z| + sqrt(1 + z^2)).

import type { LoopValue } from "../../loop/ir.ts";
import type { KernelMatrix, MatrixKernel } from "./kernel.ts";

/** Sweeps over all pairs. Convergence is quadratic; pairs that are done are skipped. */
export const JACOBI_SWEEPS = 16;

/** Relative size below which the products of a pair do no more to its numbers, for the reference and for f64. */
export const NEGLIGIBLE = 1e-17;
export const NEGLIGIBLE_F32 = 1e-9;

/** Cosine and sine of the rotation for the symmetric pair a, b with the product g, which is not 0. */
export function rotation(a: number, b: number, g: number): [cos: number, sin: number] {
  const z = (b - a) / (2 * g);
  const t = (z < 0 ? -1 : 1) / (Math.abs(z) + Math.sqrt(1 + z * z));
  const cos = 1 / Math.sqrt(1 + t * t);
  return [cos, t * cos];
}

/** The same in a kernel. */
export function kernelRotation(
  { k, number }: MatrixKernel,
  a: LoopValue,
  b: LoopValue,
  g: LoopValue,
): [cos: LoopValue, sin: LoopValue] {
  const one = number(1);
  const root = (x: LoopValue): LoopValue => k.unary("sqrt", k.add(one, k.mul(x, x)));
  const z = k.div(k.sub(b, a), k.mul(number(2), g));
  const sign = k.select(k.compare("lt", z, number(0)), number(-1), one);
  const t = k.div(sign, k.add(k.unary("abs", z), root(z)));
  const cos = k.div(one, root(t));
  return [cos, k.mul(t, cos)];
}

/** x[:, p], x[:, q] = cos x[:, p] - sin x[:, q], sin x[:, p] + cos x[:, q]. */
export function rotateColumns(x: Float64Array, columns: number, p: number, q: number, cos: number, sin: number): void {
  for (let at = 0; at < x.length; at += columns) {
    const [a, b] = [x[at + p]!, x[at + q]!];
    x[at + p] = cos * a - sin * b;
    x[at + q] = sin * a + cos * b;
  }
}

/** The same in a kernel, for a matrix of `rows` rows. */
export function rotateKernelColumns(
  { k }: MatrixKernel,
  x: KernelMatrix,
  rows: number,
  [p, q]: readonly [LoopValue, LoopValue],
  [cos, sin]: readonly [LoopValue, LoopValue],
): void {
  k.loop(0, rows, 1, (i) => {
    const [a, b] = [x.load(i, p), x.load(i, q)];
    x.store(k.sub(k.mul(cos, a), k.mul(sin, b)), i, p);
    x.store(k.add(k.mul(sin, a), k.mul(cos, b)), i, q);
  });
}

/** Sorts `values` and, with them, the columns of some matrices, which each have as many. */
export function sortColumns(values: Float64Array, matrices: readonly Float64Array[], descending: boolean): void {
  const n = values.length;
  const exchange = (x: Float64Array, at: number, i: number, j: number): void => {
    [x[at + i], x[at + j]] = [x[at + j]!, x[at + i]!];
  };
  for (let i = 0; i < n; i++) {
    let first = i;
    for (let j = i + 1; j < n; j++)
      if (descending ? values[j]! > values[first]! : values[j]! < values[first]!) first = j;
    exchange(values, 0, i, first);
    for (const x of matrices) for (let at = 0; at < x.length; at += n) exchange(x, at, i, first);
  }
}

/** The same in a kernel; `values` has one row. */
export function sortKernelColumns(
  { k }: MatrixKernel,
  values: KernelMatrix,
  n: number,
  matrices: readonly { readonly matrix: KernelMatrix; readonly rows: number }[],
  descending: boolean,
): void {
  const zero = k.index(0);
  const exchange = (x: KernelMatrix, row: LoopValue, i: LoopValue, j: LoopValue): void => {
    const [a, b] = [x.load(row, i), x.load(row, j)];
    x.store(b, row, i);
    x.store(a, row, j);
  };
  k.loop(0, n, 1, (i) => {
    const [first] = k.for(k.add(i, k.index(1)), n, 1, [i, values.load(zero, i)], (j, [best, bound]) => {
      const value = values.load(zero, j);
      const isFirst = k.compare(descending ? "gt" : "lt", value, bound!);
      return [k.select(isFirst, j, best!), k.select(isFirst, value, bound!)];
    });
    exchange(values, zero, i, first!);
    for (const { matrix, rows } of matrices) k.loop(0, rows, 1, (row) => exchange(matrix, row, i, first!));
  });
}

/** Turns columns so that the largest number of each column of `x` is positive; those of `others` with them. */
export function signColumns(x: Float64Array, columns: number, others: readonly Float64Array[]): void {
  for (let j = 0; j < columns; j++) {
    let largest = 0;
    for (let at = j; at < x.length; at += columns) if (Math.abs(x[at]!) > Math.abs(largest)) largest = x[at]!;
    if (largest >= 0) continue;
    for (const matrix of [x, ...others]) for (let at = j; at < matrix.length; at += columns) matrix[at] = -matrix[at]!;
  }
}

/** The same in a kernel. */
export function signKernelColumns(
  { k, number }: MatrixKernel,
  columns: number,
  matrices: readonly { readonly matrix: KernelMatrix; readonly rows: number }[],
): void {
  const [{ matrix: x, rows }] = matrices as [{ matrix: KernelMatrix; rows: number }];
  k.loop(0, columns, 1, (j) => {
    const [largest] = k.for(0, rows, 1, [number(0)], (i, [best]) => {
      const value = x.load(i, j);
      return [k.select(k.compare("gt", k.unary("abs", value), k.unary("abs", best!)), value, best!)];
    });
    k.if(k.compare("lt", largest!, number(0)), () => {
      for (const { matrix, rows: count } of matrices) {
        k.loop(0, count, 1, (i) => matrix.store(k.unary("neg", matrix.load(i, j)), i, j));
      }
      return [];
    });
  });
}

/** Visits all pairs p < q of columns in a kernel, `JACOBI_SWEEPS` times. */
export function sweepPairs({ k }: MatrixKernel, n: number, visit: (p: LoopValue, q: LoopValue) => void): void {
  k.loop(0, JACOBI_SWEEPS, 1, () => {
    k.loop(0, n - 1, 1, (p) => k.loop(k.add(p, k.index(1)), n, 1, (q) => visit(p, q)));
  });
}

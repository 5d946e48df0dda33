// Core's front end for tensors whose shapes and dtypes are only known from a file: the same ops without the types that
// check shapes at compile time. Shapes are checked when the graph is built, as always.

import { broadcastShapes, broadcastTo, cast, emitOne, isFloat, OPS, reshape, slice, splat } from "@fidelity/core";
import type { Attrs, Dtype, OpName, Tensor } from "@fidelity/core";

/** Applies an op to inputs of the shapes that it wants. */
export function apply(op: OpName, inputs: readonly Tensor[], attrs: Attrs = {}): Tensor {
  return emitOne(OPS[op], inputs, attrs);
}

/** An elementwise op on two tensors that broadcast together, or on one and a number. */
export function binary(op: OpName, a: Tensor | number, b: Tensor | number): Tensor {
  const like = typeof a === "number" ? (b as Tensor) : a;
  const [x, y] = [a, b].map((value) => (typeof value === "number" ? splat(value, like.shape, like.dtype) : value));
  const shape = broadcastShapes(op, [x, y]);
  return apply(op, [broadcastTo(x, shape), broadcastTo(y, shape)]);
}

export const add = (a: Tensor | number, b: Tensor | number): Tensor => binary("add", a, b);
export const sub = (a: Tensor | number, b: Tensor | number): Tensor => binary("sub", a, b);
export const mul = (a: Tensor | number, b: Tensor | number): Tensor => binary("mul", a, b);
export const div = (a: Tensor | number, b: Tensor | number): Tensor => binary("div", a, b);

/** `a` where the mask holds, else `b`; all broadcast together. */
export function where(mask: Tensor, a: Tensor, b: Tensor): Tensor {
  const shape = broadcastShapes("select", [mask, a, b]);
  return apply("select", [broadcastTo(mask, shape), broadcastTo(a, shape), broadcastTo(b, shape)]);
}

export function transposed(x: Tensor, permutation: readonly number[]): Tensor {
  if (permutation.every((from, to) => from === to)) return x;
  return apply("transpose", [x], { permutation });
}

/** `x` with `axis` moved to where `to` is among the axes of the result. */
export function moveAxis(x: Tensor, axis: number, to: number): Tensor {
  const others = x.shape.map((_dim, i) => i).filter((i) => i !== axis);
  return transposed(x, others.toSpliced(to, 0, axis));
}

/** Indices from `start` up to and without `stop` of one axis. */
export function sliceOf(x: Tensor, axis: number, start: number, stop: number): Tensor {
  return slice(
    x,
    x.shape.map((_dim, i) => (i === axis ? start : 0)),
    x.shape.map((dim, i) => (i === axis ? stop : dim)),
  );
}

/** Elements `ids` (not negative) of one axis: the axis becomes the axes of `ids`. */
export function take(x: Tensor, axis: number, ids: Tensor): Tensor {
  const front = moveAxis(x, axis, 0);
  const rest = front.shape.slice(1);
  const columns = rest.reduce((product, dim) => product * dim, 1);
  const taken = apply("gather", [reshape(front, [front.shape[0], columns]), ids]);
  const whole = reshape(taken, [...ids.shape, ...rest]);
  const axes = whole.shape.map((_dim, i) => i);
  const order = [...axes.slice(ids.rank, ids.rank + axis), ...axes.slice(0, ids.rank), ...axes.slice(ids.rank + axis)];
  return transposed(whole, order);
}

/** The product of matrices with batch axes that broadcast together, as NumPy's matmul has it; no rank below 2. */
export function product(a: Tensor, b: Tensor, { transposeA = false, transposeB = false } = {}): Tensor {
  const attrs = { transposeA, transposeB };
  if (a.rank === 2 && b.rank === 2) return apply("matmul", [a, b], attrs);
  if (b.rank === 2 && !transposeA) {
    const rows = a.shape.slice(0, -1);
    const inner = a.shape[a.rank - 1];
    const flat = reshape(a, [rows.reduce((count, dim) => count * dim, 1), inner]);
    const y = apply("matmul", [flat, b], attrs);
    return reshape(y, [...rows, y.shape[1]]);
  }
  const batch = broadcastDims(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const spread = (x: Tensor): Tensor => broadcastTo(x, [...batch, ...x.shape.slice(-2)]);
  return apply("matmul", [spread(a), spread(b)], attrs);
}

/** The common shape of two by NumPy's rule; where there is none, what is larger, which the op will then refuse. */
export function broadcastDims(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const [x, y] = [a[axis - rank + a.length] ?? 1, b[axis - rank + b.length] ?? 1];
    return x === 1 ? y : y === 1 ? x : Math.max(x, y);
  });
}

/** Computes in float64 where `x` holds integers, and gives integers again. Exact below 2^53. */
export function inFloats(x: Tensor, compute: (x: Tensor) => Tensor): Tensor {
  return isFloat(x.dtype) ? compute(x) : cast(compute(cast(x, "f64")), "i32");
}

/** `x` in a dtype that core computes with, bools included. */
export function castTo(x: Tensor, dtype: Dtype): Tensor {
  if (dtype !== "bool") return cast(x, dtype);
  return x.dtype === "bool" ? x : apply("logical_not", [binary("eq", x, 0)]);
}

/** Row and column numbers of matrices [rows, columns], i32. */
export function matrixIndices(rows: number, columns: number): { row: Tensor; column: Tensor } {
  const count = apply("iota", [], { shape: [rows], dtype: "i32" });
  const row = broadcastTo(reshape(count, [rows, 1]), [rows, columns]);
  return { row, column: apply("iota", [], { shape: [rows, columns], dtype: "i32" }) };
}
